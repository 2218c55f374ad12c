//! What fuzzing does with the bytes of clients: a connection that has them, on a database in memory.
//!
//! Whatever the bytes are, the connection ends, what it says are whole messages, no request fails
//! inside the server, and in which pieces the bytes come makes no difference. Nothing here is part of
//! the interface.

use std::sync::Arc;

use rstmdb_engine::{Engine, Location};
use rstmdb_protocol::frame::{self, Decoded, PAYLOAD_BYTES_MAX, WireMode};
use rstmdb_types::{CreateInstanceRequest, PutMachineRequest, WalStatsRequest};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;

use crate::calls::Calls;
use crate::config::Config;
use crate::live::LiveSettings;
use crate::metrics::Metrics;
use crate::rcp::{FrameMemory, Rcp, serve};
use crate::sessions::Sessions;
use crate::shutdown::Shutdown;

thread_local! {
    static RUNTIME: Runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
}

/// The stream of a connection. The first byte says in which pieces it comes, besides in one.
pub fn frames(data: &[u8]) {
    let Some((piece, stream)) = data.split_first() else { return };
    let whole = converse(stream, stream.len().max(1));
    let pieces = converse(stream, usize::from(*piece).max(1));
    assert_eq!(whole, pieces, "the pieces make a difference");
}

/// Requests, each in a frame of its own; lines separate them.
pub fn requests(data: &[u8]) {
    let mut stream = Vec::new();
    let lines = data.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    for line in lines {
        frame::write(&mut stream, WireMode::Frames, |out| out.extend_from_slice(line));
    }
    converse(&stream, stream.len().max(1));
}

/// Sends a stream in pieces to a new server; returns the id and the outcome of each answer.
fn converse(stream: &[u8], piece: usize) -> Vec<(String, String)> {
    let engine = Arc::new(database());
    let config = Config::default();
    let metrics = Arc::new(Metrics::new().unwrap());
    let settings = Arc::new(LiveSettings::new(&config).unwrap());
    let calls = Calls::new(settings.clone(), metrics.clone());
    calls.install(engine.clone());
    let rcp = Arc::new(Rcp {
        calls: Arc::new(calls),
        memory: FrameMemory::new(&config.network),
        audiences: Arc::default(),
        sessions: Arc::new(Sessions::new(settings)),
        relay: None,
        connections_max: usize::MAX,
        shutdown: Shutdown::default(),
    });
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    let said = RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let (server, client) = tokio::io::duplex(64 << 10);
            let (mut reading, mut writing) = tokio::io::split(client);
            let talk = async {
                for piece in stream.chunks(piece) {
                    // The server may have had enough.
                    if writing.write_all(piece).await.is_err() {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
                let _ = writing.shutdown().await;
            };
            let mut said = Vec::new();
            let listen = reading.read_to_end(&mut said);
            let (_, (), heard) = tokio::join!(serve(rcp, server, address), talk, listen);
            heard.unwrap();
            said
        })
    });
    let open = [true, false].map(|all| metrics.subscriptions(all).get());
    assert_eq!(open, [0, 0], "a subscription outlives its connection");
    engine.wal_stats(WalStatsRequest {}).wait().unwrap();
    engine.close().unwrap();
    messages(&said).iter().filter_map(answer).collect()
}

/// A database with a machine and an instance.
fn database() -> Engine {
    let engine = Engine::open(Location::memory(), Config::default().engine_options()).unwrap();
    let definition = json!({"states": ["a", "b"], "initial": "a", "transitions": [
        {"from": "a", "event": "E", "to": "b"},
        {"from": "b", "event": "E", "to": "a", "guard": "ctx.n >= 0"}]});
    engine.put_machine(PutMachineRequest::new("m", 1, definition)).wait().unwrap();
    let instance = CreateInstanceRequest::new("i", "m", 1);
    engine.create_instance(instance).wait().unwrap();
    engine
}

/// All that was said, frames and lines.
fn messages(mut said: &[u8]) -> Vec<Value> {
    let mut messages = Vec::new();
    while !said.is_empty() {
        let decoded = frame::decode_line(said, 0, PAYLOAD_BYTES_MAX).unwrap();
        let Decoded::Message { payload, consumed } = decoded else {
            panic!("half of a message at the end: {said:?}");
        };
        messages.push(serde_json::from_slice(payload).unwrap());
        said = &said[consumed..];
    }
    messages
}

/// The id and the outcome of an answer; none for events.
fn answer(message: &Value) -> Option<(String, String)> {
    if message["type"] != "response" {
        assert!(
            matches!(message["type"].as_str(), Some("event" | "progress" | "end")),
            "{message}"
        );
        assert!(message["subscription_id"].is_string(), "{message}");
        return None;
    }
    let outcome = match message["status"].as_str() {
        Some("ok") => {
            assert!(message["result"].is_object(), "{message}");
            "ok".to_owned()
        }
        _ => {
            let error = &message["error"];
            assert!(error["message"].is_string() && error["retryable"].is_boolean(), "{message}");
            assert_ne!(error["code"], "INTERNAL_ERROR", "{message}");
            error["code"].as_str().unwrap().to_owned()
        }
    };
    Some((message["id"].as_str().unwrap().to_owned(), outcome))
}
