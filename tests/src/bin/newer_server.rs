//! A server of the future, for tests of clients: it speaks the extended dialect and says more than
//! anybody knows today, as `tests/newer/answers.json` has it, until standard input ends. With the argument `older` it
//! is a server of the past: it tells no more than 0.3.0 did, as `tests/older/answers.json` has it.
//!
//! Prints `{"listening": "127.0.0.1:PORT"}`. Members that are not known stand in every answer, behind
//! the result too; there are kinds of events and entries, reasons, codes and features of its own. It lacks the
//! feature `batch`, and knows none of the operations that the file does not name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use rstmdb_protocol::frame::{self, Decoded, PAYLOAD_BYTES_MAX, WireMode};
use rstmdb_protocol::message::WireRequest;
use serde_json::value::RawValue;
use serde_json::{Value, json};

fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    println!("{}", json!({"listening": listener.local_addr().unwrap().to_string()}));
    std::io::stdout().flush().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // The client went away.
            std::thread::spawn(move || converse(stream));
        }
    });
    // An error is an end too.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// What is answered, by the name of the operation, with that of the event where there is one.
type Script<'a> = BTreeMap<&'a str, &'a RawValue>;

fn converse(mut stream: TcpStream) -> std::io::Result<()> {
    let answers = match std::env::args().nth(1).as_deref() {
        Some("older") => include_str!("../../older/answers.json"),
        _ => include_str!("../../newer/answers.json"),
    };
    let script: Script<'_> = serde_json::from_str(answers)?;
    let (mut buffer, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        while let Ok(Decoded::Message { payload, consumed }) =
            frame::decode(&buffer, PAYLOAD_BYTES_MAX)
        {
            let request = WireRequest::parse(payload).expect("a request");
            let mut out = Vec::new();
            for message in answer(&script, &request) {
                frame::write(&mut out, WireMode::Frames, |out| {
                    out.extend_from_slice(message.as_bytes());
                });
            }
            stream.write_all(&out)?;
            buffer.drain(..consumed);
        }
        match stream.read(&mut piece)? {
            0 => return Ok(()),
            count => buffer.extend_from_slice(&piece[..count]),
        }
    }
}

/// The answer to a request, and behind that to a watch its events.
fn answer(script: &Script<'_>, request: &WireRequest<'_>) -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct Failure<'a> {
        #[serde(borrow)]
        error: Option<&'a RawValue>,
    }
    let params: Value = serde_json::from_str(request.params_text()).expect("parameters");
    let op = match params["event"].as_str() {
        Some(event) => format!("{} {event}", request.op),
        None => request.op.to_string(),
    };
    let outcome = match script.get(&*op).map(|said| said.get()) {
        None => {
            let context = json!({"field": "op"});
            let details =
                json!({"kind": "invalid", "reason": "invalid_request", "context": context});
            let message = format!("op {op:?} is not known");
            let error = json!({"code": "BAD_REQUEST", "message": message, "details": details});
            format!(r#""error","error":{error}"#)
        }
        Some(said) => match serde_json::from_str::<Failure<'_>>(said).unwrap().error {
            Some(error) => format!(r#""error","error":{error}"#),
            None => format!(r#""ok","result":{said}"#),
        },
    };
    let id = json!(request.id);
    let mut messages = vec![format!(
        r#"{{"type":"response","id":{id},"status":{outcome},"meta":{{"leader":true}}}}"#
    )];
    if op.starts_with("WATCH") {
        let events: Vec<&RawValue> = serde_json::from_str(script["watched"].get()).unwrap();
        messages.extend(events.into_iter().map(RawValue::to_string));
        // No two subscriptions of a connection have the same id.
        let own = format!(r#""sub-{}""#, request.id);
        messages.iter_mut().for_each(|message| *message = message.replace(r#""sub""#, &own));
    }
    messages
}
