//! etcd: a key for each instance, by gRPC, which is HTTP/2 with protocol buffers.
//!
//! A transition is a bare put of a context: no state is checked, nothing merged, and the answer holds no value.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::workload::{context, id};

const FRAME_BYTES: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
/// Of headers and data: the last of the stream. Of settings: they are acknowledged.
const LAST: u8 = 1;
const HEADERS_WHOLE: u8 = 4;
const WINDOW: u32 = (1 << 31) - 1;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A member of a message of protocol buffers: its number, and bytes.
fn member(number: u8, value: &[u8]) -> Vec<u8> {
    assert!(value.len() < 128);
    [&[(number << 3) | 2, value.len() as u8][..], value].concat()
}

/// The headers of a call, none of which is remembered by who reads them.
fn headers(method: &str) -> Vec<u8> {
    let text = |of: &str| [&[of.len() as u8][..], of.as_bytes()].concat();
    [
        // POST, http; then :path, :authority, content-type and te by their numbers or names.
        vec![0x83, 0x86, 0x04],
        text(&format!("/etcdserverpb.KV/{method}")),
        vec![0x01],
        text("etcd"),
        vec![0x0f, 0x10],
        text("application/grpc"),
        vec![0x00],
        text("te"),
        text("trailers"),
    ]
    .concat()
}

fn call(method: &str, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let message = [&[0u8][..], &length[..], message].concat();
    let headers = frame(HEADERS, HEADERS_WHOLE, 0, &headers(method));
    [headers, frame(DATA, LAST, 0, &message)].concat()
}

/// Where a call has the number of its stream: twice.
pub fn stream_places(method: &str) -> [usize; 2] {
    [5, FRAME_BYTES + headers(method).len() + 5]
}

pub const PUT: &str = "Put";
pub const RANGE: &str = "Range";

/// Puts a context.
pub fn put(i: usize) -> Vec<u8> {
    call(PUT, &[member(1, id(i).as_bytes()), member(2, context(i).as_bytes())].concat())
}

/// Reads one; also what is behind the newest, when asked for.
pub fn get(i: usize, is_local: bool) -> Vec<u8> {
    let serializable = if is_local { vec![7 << 3, 1] } else { Vec::new() };
    call(RANGE, &[member(1, id(i).as_bytes()), serializable].concat())
}

/// A connection that is ready for calls, with windows that no run fills.
pub fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    let window = [&[0u8, 4][..], &WINDOW.to_be_bytes()[..]].concat();
    let hello = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(SETTINGS, 0, 0, &window),
        frame(WINDOW_UPDATE, 0, 0, &(WINDOW - 65_535).to_be_bytes()),
        frame(SETTINGS, LAST, 0, &[]),
    ];
    stream.write_all(&hello.concat())?;
    Ok(stream)
}

/// Whether the member at an address leads its group.
pub fn leads(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address)?;
    let request = "POST /v3/maintenance/status HTTP/1.1\r\nhost: etcd\r\nconnection: close\r\n\
                   content-length: 2\r\n\r\n{}";
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let word = |name: &str| {
        let (_, rest) = answer.split_once(&format!("\"{name}\":\""))?;
        rest.split('"').next().filter(|id| *id != "0").map(str::to_owned)
    };
    Ok(word("leader").is_some_and(|leader| word("member_id") == Some(leader)))
}

/// Counts calls that ended; each must have brought a message before its end.
#[derive(Debug, Clone, Default)]
pub struct Scanner {
    messages: usize,
    ends: usize,
}

impl Scanner {
    pub fn scan(&mut self, bytes: &[u8], answers: &mut usize) -> Result<usize, String> {
        let mut at = 0;
        while let Some(head) = bytes.get(at..at + FRAME_BYTES) {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let Some(payload) = bytes.get(at + FRAME_BYTES..at + FRAME_BYTES + length) else {
                break;
            };
            match (head[3], head[4]) {
                (DATA, _) => self.messages += 1,
                (HEADERS, flags) if flags & LAST != 0 => {
                    self.ends += 1;
                    *answers += 1;
                }
                (RESET | GOAWAY, _) => return Err(payload.escape_ascii().to_string()),
                _ => {}
            }
            if self.ends > self.messages {
                return Err(format!("a call failed: {}", payload.escape_ascii()));
            }
            at += FRAME_BYTES + length;
        }
        Ok(at)
    }
}
