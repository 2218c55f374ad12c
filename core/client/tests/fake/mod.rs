//! A server that says what a test tells it to, for faults that no real server shows on request.
#![allow(dead_code)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use rstmdb_client::{Client, Endpoint, Options, Retry};
use rstmdb_protocol::frame::{self, Decoded, PAYLOAD_BYTES_MAX, WireMode};
use rstmdb_protocol::message::WireRequest;
use serde_json::{Value, json};

/// The features of a server of today.
pub const TODAY: [&str; 12] = [
    "idempotency",
    "batch",
    "wal_read",
    "watch",
    "history_id",
    "snapshots",
    "backup",
    "verify",
    "replicas",
    "cluster",
    "actions",
    "extended",
];

/// A listening socket.
pub struct Fake(TcpListener);

impl Fake {
    pub fn new() -> Fake {
        Fake(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint::new("127.0.0.1", self.0.local_addr().unwrap().port())
    }

    /// Options for a client of this server, quick to try again.
    pub fn options(&self) -> Options {
        options(&[self])
    }

    /// Accepts a connection and says nothing.
    pub fn accept(&self) -> Peer {
        Peer { stream: self.0.accept().unwrap().0, buffer: Vec::new() }
    }

    /// Accepts a connection and answers its hello as a server of today.
    pub fn greet(&self) -> Peer {
        self.greet_as("9.9.9", &TODAY)
    }

    /// Accepts a connection and answers its hello as the server of the older version 0.3.0.
    pub fn greet_as_old(&self) -> Peer {
        self.greet_as("0.3.0", &["idempotency", "batch"])
    }

    /// Accepts a connection and answers its hello with a version and features.
    pub fn greet_as(&self, version: &str, features: &[&str]) -> Peer {
        let mut peer = self.accept();
        let hello = peer.expect("HELLO");
        peer.ok(&hello, hello_result(version, features));
        peer
    }

    /// Accepts a connection and answers its hello as a server of today that tells of its nodes.
    pub fn greet_of(&self, cluster: &Value) -> Peer {
        let mut peer = self.accept();
        let hello = peer.expect("HELLO");
        let mut result = hello_result("9.9.9", &TODAY);
        result["cluster"] = cluster.clone();
        peer.ok(&hello, result);
        peer
    }

    /// A connected client and the server's end of its connection.
    pub fn connect(&self, options: Options) -> (Client, Peer) {
        std::thread::scope(|scope| {
            let peer = scope.spawn(|| self.greet());
            let client = Client::connect_blocking(options).unwrap();
            (client, peer.join().unwrap())
        })
    }

    /// The same with a server of version 0.3.0.
    pub fn connect_old(&self, options: Options) -> (Client, Peer) {
        std::thread::scope(|scope| {
            let peer = scope.spawn(|| self.greet_as_old());
            let client = Client::connect_blocking(options).unwrap();
            (client, peer.join().unwrap())
        })
    }
}

/// Options for a client of several servers.
pub fn options(fakes: &[&Fake]) -> Options {
    Options {
        endpoints: fakes.iter().map(|fake| fake.endpoint()).collect(),
        request_timeout: Duration::ZERO,
        retry: Retry {
            attempts: 3,
            backoff_min: Duration::from_millis(1),
            backoff_max: Duration::from_millis(1),
        },
        ..Options::default()
    }
}

pub fn hello_result(version: &str, features: &[&str]) -> Value {
    json!({
        "protocol_version": 1, "wire_mode": "binary_json", "server_name": "rstmdb",
        "server_version": version, "features": features,
    })
}

/// The server's end of a connection.
pub struct Peer {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Asked {
    pub id: String,
    pub op: String,
    pub params: Value,
    /// The whole message.
    pub message: Value,
}

impl Peer {
    /// The next request; none when the client ended the connection.
    pub fn next(&mut self) -> Option<Asked> {
        loop {
            let decoded = frame::decode(&self.buffer, PAYLOAD_BYTES_MAX).unwrap();
            if let Decoded::Message { payload, consumed } = decoded {
                let request = WireRequest::parse(payload).unwrap();
                let asked = Asked {
                    id: request.id.to_string(),
                    op: request.op.to_string(),
                    params: serde_json::from_str(request.params_text()).unwrap(),
                    message: serde_json::from_slice(payload).unwrap(),
                };
                self.buffer.drain(..consumed);
                return Some(asked);
            }
            let mut piece = [0; 4096];
            match self.stream.read(&mut piece) {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.buffer.extend_from_slice(&piece[..count]),
            }
        }
    }

    /// The next request, which must be this one.
    pub fn expect(&mut self, op: &str) -> Asked {
        let asked = self.next().unwrap_or_else(|| panic!("the client left, expected {op}"));
        assert_eq!(asked.op, op, "{asked:?}");
        asked
    }

    pub fn ok(&mut self, asked: &Asked, result: Value) {
        self.send(&answer(asked, result));
    }

    pub fn error(&mut self, asked: &Asked, code: &str, retryable: bool) {
        self.send(&json!({
            "type": "response", "id": asked.id, "status": "error",
            "error": {"code": code, "message": format!("it is {code}"), "retryable": retryable},
        }));
    }

    /// Refuses with a reason, and says where to go.
    pub fn refuse(&mut self, asked: &Asked, code: &str, reason: &str, address: Option<String>) {
        let context = address.map_or(json!({}), |address| json!({ "address": address }));
        self.send(&json!({
            "type": "response", "id": asked.id, "status": "error",
            "error": {
                "code": code, "message": format!("it is {reason}"), "retryable": reason != "replica",
                "details": {"kind": "unavailable", "reason": reason, "context": context},
            },
        }));
    }

    pub fn pong(&mut self) {
        let ping = self.expect("PING");
        self.ok(&ping, json!({"pong": true}));
    }

    /// An event of instance `a`.
    pub fn event(&mut self, subscription_id: &str, offset: u64) {
        self.event_of("a", subscription_id, offset);
    }

    pub fn event_of(&mut self, instance_id: &str, subscription_id: &str, offset: u64) {
        self.send(&json!({
            "type": "event", "subscription_id": subscription_id, "instance_id": instance_id,
            "machine": "m", "version": 1, "wal_offset": offset, "from_state": "s", "to_state": "s",
            "event": "E", "payload": {"offset": offset}, "ctx": {}, "timestamp": 7,
        }));
    }

    /// Sends a message in a frame.
    pub fn send(&mut self, message: &Value) {
        let bytes = framed(message);
        self.raw(&bytes);
    }

    /// Sends bytes. A client that has left already is not this function's business.
    pub fn raw(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Ends the connection.
    pub fn hang_up(self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

pub fn answer(asked: &Asked, result: Value) -> Value {
    json!({"type": "response", "id": asked.id, "status": "ok", "result": result})
}

pub fn framed(message: &Value) -> Vec<u8> {
    framed_text(&message.to_string())
}

/// A message whose members keep their order.
pub fn framed_text(message: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::write(&mut bytes, WireMode::Frames, |out| out.extend_from_slice(message.as_bytes()));
    bytes
}

/// What an apply is answered with.
pub fn applied(offset: u64) -> Value {
    json!({"from_state": "s", "to_state": "s", "ctx": {}, "wal_offset": offset, "applied": true})
}

/// What a read of instance `a` is answered with.
pub fn instance(offset: u64) -> Value {
    json!({
        "instance_id": "a", "machine": "m", "version": 1, "state": "s", "ctx": {},
        "last_wal_offset": offset, "created_at": 1, "updated_at": 2,
    })
}
