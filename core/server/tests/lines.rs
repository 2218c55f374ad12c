//! What a transport needs: here, lines of JSON over a pipe. It parses, makes three calls and prints.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use rstmdb_engine::{Engine, Location, Options};
use rstmdb_protocol::WireCommand;
use rstmdb_server::calls::{Caller, Calls, Events};
use rstmdb_server::config::Config;
use rstmdb_server::live::LiveSettings;
use rstmdb_server::metrics::Metrics;
use rstmdb_types::error::reason;
use rstmdb_types::operation::Place;
use rstmdb_types::{Error, Operation, Request, Result};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, split};

/// Reads `{"op": …, "params": …}` and carries it out. With a watch come its events.
async fn answer(caller: &mut Caller, line: &str) -> Result<(Value, Option<Events>)> {
    let invalid = |what: &str| Error::invalid(reason::INVALID_REQUEST, what);
    let line: Value = serde_json::from_str(line).map_err(|error| invalid(&error.to_string()))?;
    let name = line["op"].as_str().unwrap_or_default();
    let operation = Operation::from_name(name).ok_or_else(|| invalid("op is not known"))?;
    let live = caller.calls().settings().load();
    caller.admit(WireCommand::Database(operation), &live)?;
    drop(live);
    let request = Request::deserialize(operation, &line["params"]);
    let request = request.map_err(|error| invalid(&error.to_string()))?;
    let (outcome, events) = if operation.place() == Place::Stream {
        let (outcome, events) = caller.stream(request).await?;
        (outcome, Some(events))
    } else {
        (caller.execute(request).await?, None)
    };
    Ok((serde_json::to_value(outcome).unwrap(), events))
}

/// Serves a pipe until its other end is closed. At most one watch at a time.
async fn serve(calls: Arc<Calls>, pipe: impl AsyncRead + AsyncWrite) {
    let mut caller = Caller::new(&calls);
    let (reading, mut writing) = split(pipe);
    let mut lines = BufReader::new(reading).lines();
    let mut watch: Option<Events> = None;
    loop {
        let said = tokio::select! {
            line = lines.next_line() => match line.unwrap() {
                Some(line) => match answer(&mut caller, &line).await {
                    Ok((result, events)) => {
                        watch = events.or(watch);
                        json!({ "result": result })
                    }
                    Err(error) => json!({ "error": error }),
                },
                None => return,
            },
            event = async { watch.as_mut().unwrap().next().await }, if watch.is_some() => {
                match event {
                    Ok(event) => json!({ "event": event }),
                    Err(error) => {
                        let resume_offset = watch.take().unwrap().resume_offset();
                        json!({ "end": error, "resume_offset": resume_offset })
                    }
                }
            },
        };
        writing.write_all(format!("{said}\n").as_bytes()).await.unwrap();
    }
}

/// A database with a machine behind a door.
fn door(config: &Config) -> Arc<Calls> {
    let settings = Arc::new(LiveSettings::new(config).unwrap());
    Arc::new(Calls::new(settings, Arc::new(Metrics::new().unwrap())))
}

fn database() -> Arc<Engine> {
    Arc::new(Engine::open(Location::memory(), Options::default()).unwrap())
}

#[tokio::test]
async fn a_transport_is_parsing_three_calls_and_printing() {
    let mut config = Config::default();
    config.network.requests_per_second = 1;
    config.network.request_burst = 6;
    let calls = door(&config);
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let serving = tokio::spawn(serve(calls.clone(), theirs));
    let (reading, mut writing) = split(ours);
    let mut lines = BufReader::new(reading).lines();
    let mut say = async |op: &str, params: Value| {
        let line = json!({ "op": op, "params": params });
        writing.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    };
    let mut hear =
        async || serde_json::from_str::<Value>(&lines.next_line().await.unwrap().unwrap()).unwrap();

    say("PING", json!({})).await;
    assert_eq!(hear().await["error"]["reason"], "reopening");
    calls.install(database());
    let definition = json!({"states": ["a", "b"], "initial": "a",
        "transitions": [{"from": "a", "event": "E", "to": "b"}]});
    say("PUT_MACHINE", json!({"machine": "m", "version": 1, "definition": definition})).await;
    assert_eq!(hear().await["result"]["created"], true);
    say("CREATE_INSTANCE", json!({"instance_id": "i", "machine": "m", "version": 1})).await;
    assert_eq!(hear().await["result"]["state"], "a");
    say("WATCH_ALL", json!({})).await;
    assert!(hear().await["result"]["subscription_id"].is_string());
    say("APPLY_EVENT", json!({"instance_id": "i", "event": "E"})).await;
    let (first, second) = (hear().await, hear().await);
    let (answer, event) = if first["event"].is_null() { (first, second) } else { (second, first) };
    assert_eq!(answer["result"]["to_state"], "b");
    assert_eq!(event["event"]["wal_offset"], 3);

    // Another database takes its place: the watch ends, and the session goes on.
    calls.install(database());
    let end = hear().await;
    assert_eq!((&end["end"]["reason"], &end["resume_offset"]), (&json!("reopening"), &json!(4)));
    say("GET_INSTANCE", json!({"instance_id": "i"})).await;
    assert_eq!(hear().await["error"]["code"], "INSTANCE_NOT_FOUND");
    say("GET_INSTANCE", json!({"instance_id": "i"})).await;
    assert_eq!(hear().await["error"]["code"], "RATE_LIMITED");
    say("SING", json!({})).await;
    assert_eq!(hear().await["error"]["message"], "op is not known");
    drop(lines);
    drop(writing);
    serving.await.unwrap();

    let text = calls.metrics().render(None).unwrap();
    for line in [
        "rstmdb_requests_total{operation=\"APPLY_EVENT\"} 1",
        "rstmdb_requests_total{operation=\"GET_INSTANCE\"} 2",
        "rstmdb_errors_total{code=\"RATE_LIMITED\"} 1",
        "rstmdb_events_forwarded_total{type=\"all\"} 1",
        "rstmdb_subscriptions_active{type=\"all\"} 0",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}
