//! A client that shows the wire: it sends any bytes and reads one message at a time.
//!
//! Every frame it reads is held to what published clients demand: version 1, the checksum flag alone,
//! no header extension. Nothing waits longer than [`PATIENCE`], and only a hanging test that long.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rstmdb_protocol::frame::{self, Decoded, HEADER_BYTES, PAYLOAD_BYTES_MAX, WireMode};
use rstmdb_protocol::message;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::{Value, json};

/// After this a test counts as hanging.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until a condition holds that other threads or processes bring about.
pub fn await_condition(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain until {what}");
        // Nobody unparks; this gives the others the processor.
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// What a connection runs over.
trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// A socket that several may hold, with one descriptor.
struct Shared(Arc<TcpStream>);

impl Read for Shared {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        (&*self.0).read(buffer)
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// One connection.
pub struct Wire {
    stream: Box<dyn Stream>,
    socket: Arc<TcpStream>,
    /// How requests are written and messages expected.
    pub mode: WireMode,
    received: Vec<u8>,
    taken: usize,
    events: VecDeque<Value>,
    next_id: u64,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Wire {
    /// Connects without saying anything.
    pub fn connect(address: SocketAddr) -> Wire {
        let socket = Arc::new(dial(address));
        Wire::over(Box::new(Shared(socket.clone())), socket)
    }

    /// Connects with TLS. A handshake that fails shows when something is sent or read.
    pub fn connect_tls(address: SocketAddr, config: Arc<ClientConfig>, name: &str) -> Wire {
        let socket = Arc::new(dial(address));
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let tls = ClientConnection::new(config, name).unwrap();
        let stream = StreamOwned::new(tls, Shared(socket.clone()));
        Wire::over(Box::new(stream), socket)
    }

    fn over(stream: Box<dyn Stream>, socket: Arc<TcpStream>) -> Wire {
        Wire {
            stream,
            socket,
            mode: WireMode::Frames,
            received: Vec::new(),
            taken: 0,
            events: VecDeque::new(),
            next_id: 1,
        }
    }

    /// Connects and says hello, asking for these features.
    pub fn hello(address: SocketAddr, features: &[&str]) -> Wire {
        let mut wire = Wire::connect(address);
        let params = json!({ "protocol_version": 1, "client_name": "wire", "features": features });
        wire.call("HELLO", params).unwrap();
        wire
    }

    /// Connects and agrees on lines.
    pub fn lines(address: SocketAddr) -> Wire {
        let mut wire = Wire::connect(address);
        let params = json!({ "protocol_version": 1, "wire_modes": ["jsonl"] });
        wire.send("hello", "HELLO", &params);
        wire.mode = WireMode::Lines;
        assert_eq!(wire.receive().unwrap()["result"]["wire_mode"], "jsonl");
        wire
    }

    /// The socket, to shut it down, say.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Sends bytes; fails when the server does not take them.
    pub fn try_send_bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Sends bytes.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.try_send_bytes(bytes).unwrap();
    }

    /// Sends a request.
    pub fn send(&mut self, id: &str, op: &str, params: &Value) {
        let bytes = request(self.mode, id, op, params);
        self.send_bytes(&bytes);
    }

    /// Sends a request under an id of its own, which is returned.
    pub fn ask(&mut self, op: &str, params: &Value) -> String {
        let id = format!("wire-{}", self.next_id);
        self.next_id += 1;
        self.send(&id, op, params);
        id
    }

    /// Asks and waits for the answer; events on the way are kept for [`Wire::event`]. The error is the
    /// error object.
    pub fn call(&mut self, op: &str, params: Value) -> Result<Value, Value> {
        let id = self.ask(op, &params);
        let answer = self.answer();
        assert_eq!(answer["id"], *id, "{answer}");
        outcome(answer)
    }

    /// The next answer; events on the way are kept.
    pub fn answer(&mut self) -> Value {
        loop {
            let message = self.receive().expect("the connection ended before the answer");
            match message["type"].as_str() {
                Some("response") => return message,
                _ => self.events.push_back(message),
            }
        }
    }

    /// The next event of a subscription, or its end.
    pub fn event(&mut self) -> Value {
        if let Some(event) = self.events.pop_front() {
            return event;
        }
        let message = self.receive().expect("the connection ended before the event");
        assert_ne!(message["type"], "response", "{message}");
        message
    }

    /// Events that have come before the answer to a ping, which is sent now.
    pub fn events_until_pong(&mut self) -> Vec<Value> {
        self.call("PING", json!({})).unwrap();
        self.events.drain(..).collect()
    }

    /// Events that came with answers and were kept.
    pub fn take_events(&mut self) -> Vec<Value> {
        self.events.drain(..).collect()
    }

    /// How far a subscription has come, the next time that it is told; events on the way are kept.
    pub fn progress(&mut self) -> Value {
        loop {
            let message = self.next_message().unwrap().expect("the connection ended");
            match message["type"].as_str() {
                Some("progress") => return message,
                _ => self.events.push_back(message),
            }
        }
    }

    /// The next message that is no progress, which comes when it pleases; None when the server closed the
    /// connection in good order.
    pub fn receive(&mut self) -> Option<Value> {
        self.try_receive().unwrap()
    }

    /// As [`Wire::receive`]; an error when the connection broke.
    pub fn try_receive(&mut self) -> std::io::Result<Option<Value>> {
        loop {
            let message = self.next_message()?;
            if message.as_ref().is_none_or(|message| message["type"] != "progress") {
                return Ok(message);
            }
        }
    }

    fn next_message(&mut self) -> std::io::Result<Option<Value>> {
        loop {
            if let Some(message) = self.parse() {
                return Ok(Some(message));
            }
            let mut piece = vec![0; 64 << 10];
            match self.stream.read(&mut piece) {
                Ok(0) => {
                    let rest = self.received.get(self.taken..).unwrap_or_default();
                    assert!(rest.is_empty(), "the connection ended within a message: {rest:?}");
                    return Ok(None);
                }
                Ok(bytes) => {
                    self.received.drain(..std::mem::take(&mut self.taken));
                    self.received.extend_from_slice(&piece[..bytes]);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    let patient = error.kind() != ErrorKind::WouldBlock;
                    assert!(patient, "the server said nothing for {PATIENCE:?}");
                    return Err(error);
                }
            }
        }
    }

    fn parse(&mut self) -> Option<Value> {
        let unread = &self.received[self.taken..];
        let decoded = match self.mode {
            WireMode::Frames => {
                let decoded = frame::decode(unread, PAYLOAD_BYTES_MAX).unwrap();
                if matches!(decoded, Decoded::Message { .. }) {
                    assert_eq!(unread[..10], *b"RCPX\0\x01\0\x01\0\0", "an unusual header");
                }
                decoded
            }
            WireMode::Lines => frame::decode_line(unread, 0, PAYLOAD_BYTES_MAX).unwrap(),
        };
        match decoded {
            Decoded::Message { payload, consumed } => {
                let message = serde_json::from_slice(payload).unwrap();
                self.taken += consumed;
                Some(message)
            }
            Decoded::Incomplete { .. } => None,
        }
    }

    /// Waits until the server has closed the connection, by an end or, where bytes it did not read
    /// were on their way, by a reset. What it says before is returned.
    pub fn await_close(&mut self) -> Vec<Value> {
        let mut said: Vec<Value> = self.events.drain(..).collect();
        loop {
            match self.try_receive() {
                Ok(Some(message)) => said.push(message),
                Ok(None) => return said,
                Err(error) => {
                    let gone = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
                    let gone = gone.contains(&error.kind()) || is_tls_end(&error);
                    assert!(gone, "{error}");
                    return said;
                }
            }
        }
    }
}

/// The end of a TLS stream without a goodbye, or an alert.
fn is_tls_end(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData)
}

fn dial(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// A request as bytes.
pub fn request(mode: WireMode, id: &str, op: &str, params: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    message::request(&mut bytes, mode, id, op, &params.to_string());
    bytes
}

/// A frame with any payload.
pub fn frame_of(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::write(&mut bytes, WireMode::Frames, |out| out.extend_from_slice(payload));
    bytes
}

/// A frame header that announces a payload, which does not follow.
pub fn header_for(payload_bytes: u32) -> [u8; HEADER_BYTES] {
    let mut header = *b"RCPX\0\x01\0\x01\0\0\0\0\0\0\0\0\0\0";
    header[10..14].copy_from_slice(&payload_bytes.to_be_bytes());
    header
}

/// The result of an answer, or its error; the envelope is checked.
pub fn outcome(answer: Value) -> Result<Value, Value> {
    assert_eq!(answer["type"], "response", "{answer}");
    let Value::Object(mut members) = answer else { panic!("{answer}") };
    match members["status"].as_str() {
        Some("ok") => Ok(members.remove("result").expect("a result")),
        Some("error") => Err(members.remove("error").expect("an error")),
        _ => panic!("{members:?}"),
    }
}
