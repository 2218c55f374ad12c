//! RCP as bytes: requests are encoded before the clock starts, answers are counted by their headers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::workload::{EVENT, context, id, machine};

const HEADER_BYTES: usize = 18;
const RESPONSE: &str = r#"{"type":"response""#;
const OK: &[u8] = br#""status":"ok""#;
/// The status stands in the first bytes of an answer.
const STATUS_WITHIN: usize = 160;

/// A whole frame around a payload.
pub fn frame(payload: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len());
    bytes.extend_from_slice(b"RCPX\x00\x01\x00\x01\x00\x00");
    bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(payload.as_bytes()).to_be_bytes());
    bytes.extend_from_slice(payload.as_bytes());
    bytes
}

/// The payload of the first whole frame and where that frame ends.
pub fn first_frame(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, String> {
    if bytes.len() < HEADER_BYTES {
        return Ok(None);
    }
    if &bytes[..4] != b"RCPX" {
        return Err(format!("no frame: {}", bytes[..HEADER_BYTES].escape_ascii()));
    }
    let extension = usize::from(u16::from_be_bytes([bytes[8], bytes[9]]));
    let payload = u32::from_be_bytes([bytes[10], bytes[11], bytes[12], bytes[13]]) as usize;
    let begin = HEADER_BYTES + extension;
    Ok(bytes.get(begin..begin + payload).map(|text| (text, begin + payload)))
}

/// A request with an id of fixed length.
pub fn request(number: usize, op: &str, params: &str) -> Vec<u8> {
    frame(&format!(r#"{{"type":"request","id":"{number:08}","op":"{op}","params":{params}}}"#))
}

/// An event for one instance.
pub fn apply(i: usize, payload: &str) -> Vec<u8> {
    let params = format!(r#"{{"instance_id":"{}","event":"{EVENT}","payload":{payload}}}"#, id(i));
    request(i, "APPLY_EVENT", &params)
}

/// Reads one instance.
pub fn get(i: usize) -> Vec<u8> {
    request(i, "GET_INSTANCE", &format!(r#"{{"instance_id":"{}"}}"#, id(i)))
}

/// The same, of a node that may be behind who takes the writes.
pub fn get_anywhere(i: usize) -> Vec<u8> {
    let id = id(i);
    frame(&format!(
        r#"{{"type":"request","id":"{i:08}","op":"GET_INSTANCE","read":"any","params":{{"instance_id":"{id}"}}}}"#
    ))
}

/// Creates one instance.
pub fn create(i: usize) -> Vec<u8> {
    let (id, ctx) = (id(i), context(i));
    let params =
        format!(r#"{{"instance_id":"{id}","machine":"order","version":1,"initial_ctx":{ctx}}}"#);
    request(i, "CREATE_INSTANCE", &params)
}

/// An answer to [`apply`], as large as a server's, for the null server.
pub fn answer(i: usize) -> Vec<u8> {
    let ctx = context(i);
    frame(&format!(
        r#"{{"type":"response","id":"{i:08}","status":"ok","result":{{"from_state":"created","to_state":"packed","ctx":{ctx},"wal_offset":1099511627776,"applied":true}}}}"#
    ))
}

/// An answer to [`get`], as large as a server's, for the null server.
pub fn got(i: usize) -> Vec<u8> {
    let ctx = context(i);
    frame(&format!(
        r#"{{"type":"response","id":"{i:08}","status":"ok","result":{{"machine":"order","version":1,"state":"packed","ctx":{ctx},"last_wal_offset":1099511627776}}}}"#
    ))
}

/// Counts answers; an answer that does not say ok is an error.
#[derive(Debug, Clone, Default)]
pub struct Scanner {
    /// Where the status was last: answers of one kind have it at one place.
    hint: usize,
    /// The sum of the offsets in the answers, when asked for.
    offsets: Option<u64>,
}

impl Scanner {
    pub fn with_offsets() -> Scanner {
        Scanner { hint: 0, offsets: Some(0) }
    }

    pub fn offsets(&self) -> u64 {
        self.offsets.unwrap_or_default()
    }

    pub fn scan(&mut self, bytes: &[u8], answers: &mut usize) -> Result<usize, String> {
        let mut at = 0;
        while let Some((payload, end)) = first_frame(&bytes[at..])? {
            // What is told of nodes and of how far a log has come answers nothing.
            if !payload.starts_with(RESPONSE.as_bytes()) {
                at += end;
                continue;
            }
            if payload.get(self.hint..self.hint + OK.len()) != Some(OK) {
                let head = &payload[..payload.len().min(STATUS_WITHIN)];
                self.hint = memchr::memmem::find(head, OK)
                    .ok_or_else(|| String::from_utf8_lossy(payload).into_owned())?;
            }
            if let Some(sum) = &mut self.offsets {
                let offset = wal_offset(payload).ok_or("an answer without an offset")?;
                *sum = sum.wrapping_add(offset);
            }
            *answers += 1;
            at += end;
        }
        Ok(at)
    }
}

/// The log offset that an answer or an event names.
pub fn wal_offset(payload: &[u8]) -> Option<u64> {
    number(payload, "\"wal_offset\":")
}

/// The number behind `key`, its first occurrence.
pub fn number(payload: &[u8], key: &str) -> Option<u64> {
    let at = memchr::memmem::find(payload, key.as_bytes())? + key.len();
    let digits = payload[at..].iter().take_while(|byte| byte.is_ascii_digit());
    let (value, count) = digits.fold((0u64, 0), |(value, count), digit| {
        (value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')), count + 1)
    });
    (count > 0).then_some(value)
}

/// A connection that asks one thing after the other.
#[derive(Debug)]
pub struct Session {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Session {
    /// Connects and says hello.
    pub fn open(address: SocketAddr) -> std::io::Result<Session> {
        Session::with_features(address, "[]")
    }

    /// The same, asking for these features.
    pub fn with_features(address: SocketAddr, features: &str) -> std::io::Result<Session> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let mut session = Session { stream, received: Vec::new() };
        let hello =
            format!(r#"{{"protocol_version":1,"client_name":"bench","features":{features}}}"#);
        session.try_call("HELLO", &hello)?;
        Ok(session)
    }

    /// The next message of the server.
    pub fn receive(&mut self) -> std::io::Result<String> {
        loop {
            let frame = first_frame(&self.received).map_err(std::io::Error::other)?;
            if let Some((payload, end)) = frame {
                let text = String::from_utf8_lossy(payload).into_owned();
                self.received.drain(..end);
                return Ok(text);
            }
            let mut piece = [0; 16 << 10];
            let count = self.stream.read(&mut piece)?;
            if count == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            self.received.extend_from_slice(&piece[..count]);
        }
    }

    /// The answer's payload, which must be ok.
    pub fn call(&mut self, op: &str, params: &str) -> String {
        let answer = self.try_call(op, params).unwrap();
        assert!(answer.contains(r#""status":"ok""#), "{op} {params}: {answer}");
        answer
    }

    pub fn try_call(&mut self, op: &str, params: &str) -> std::io::Result<String> {
        self.stream.write_all(&request(0, op, params))?;
        loop {
            let message = self.receive()?;
            if message.starts_with(RESPONSE) {
                return Ok(message);
            }
        }
    }

    pub fn put_machine(&mut self) {
        assert!(self.try_put_machine());
    }

    /// Whether the server takes it.
    pub fn try_put_machine(&mut self) -> bool {
        let definition = machine();
        let params =
            format!(r#"{{"machine":"order","version":1,"definition":{}}}"#, definition.as_str());
        let answer = self.try_call("PUT_MACHINE", &params);
        answer.is_ok_and(|answer| answer.contains(r#""status":"ok""#))
    }

    /// What the log took so far: bytes written.
    pub fn log_bytes(&mut self) -> u64 {
        let stats = self.call("WAL_STATS", "{}");
        number(stats.as_bytes(), "\"bytes_written\":").unwrap()
    }

    /// The socket; nothing may be left unread.
    pub fn into_stream(self) -> TcpStream {
        assert!(self.received.is_empty());
        self.stream
    }
}
