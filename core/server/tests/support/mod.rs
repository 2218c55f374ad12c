//! A server in a temporary folder, and the plainest of clients.
#![allow(dead_code, reason = "every test file uses its own part of this")]

pub mod gate;
#[cfg(unix)]
pub mod running;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use rstmdb_server::config::{Config, Sources};
use serde_json::Value;

/// A configuration on free ports of this machine, with more settings.
pub fn config(folder: &Path, settings: &[(&str, &str)]) -> Config {
    let data = folder.join("data");
    let fixed = [
        ("network.bind_addr", "127.0.0.1:0"),
        ("metrics.bind_addr", "127.0.0.1:0"),
        ("storage.data_dir", data.to_str().unwrap()),
    ];
    let overrides =
        fixed.iter().chain(settings).map(|(key, value)| ((*key).into(), (*value).into()));
    Config::load(&Sources { overrides: overrides.collect(), ..Sources::default() }).unwrap().config
}

/// A frame without a checksum.
pub fn frame(text: &str) -> Vec<u8> {
    let mut bytes = b"RCPX\x00\x01\x00\x00\x00\x00".to_vec();
    bytes.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// Reads one frame.
pub fn read_frame(stream: &mut impl Read) -> Value {
    let mut header = [0; 18];
    stream.read_exact(&mut header).unwrap();
    let length = u32::from_be_bytes(header[10..14].try_into().unwrap());
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

/// Asks and waits for the answer.
pub fn call(stream: &mut (impl Read + Write), op: &str, params: Value) -> Value {
    let request = serde_json::json!({"type": "request", "id": "1", "op": op, "params": params});
    stream.write_all(&frame(&request.to_string())).unwrap();
    read_frame(stream)
}

/// The head and the body of an answer over HTTP.
pub fn http(address: SocketAddr, method: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}
