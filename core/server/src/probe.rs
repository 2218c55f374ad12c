//! Asks a running server whether it serves, for a container's health check and the like.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use rstmdb_protocol::frame::{self, Decoded, PAYLOAD_BYTES_MAX, WireMode};
use rstmdb_protocol::message::{self, Incoming};
use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Operation, Result};

use crate::config::{Address, LoadedConfig};

/// How long the server may take for each step.
const PATIENCE: Duration = Duration::from_secs(3);
/// The most that is read of an answer.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Asks the server of this configuration; what it says of itself. An error when no client would be
/// served.
///
/// Where there are metrics it is asked for `/health/ready`, else by a `PING`, as it is where nobody chose the
/// address of metrics and another program has it. Of a listener with TLS it is then only known that it takes
/// connections.
pub fn probe(loaded: &LoadedConfig) -> Result<String> {
    let config = &loaded.config;
    let unhealthy = |address: &Address, what: &dyn std::fmt::Display| {
        let message = format!("the server at {address} does not serve: {what}");
        Error::new(ErrorCode::InternalError, message).with_reason(reason::IO)
    };
    let has_metrics = config.metrics.enabled
        && (loaded.is_chosen("metrics.bind_addr") || is_ours(&config.metrics.bind_addr));
    let (address, asked) = match (has_metrics, config.tls.enabled) {
        (true, _) => (&config.metrics.bind_addr, ready as fn(TcpStream) -> Asked),
        (false, true) => (&config.network.bind_addr, taken as fn(TcpStream) -> Asked),
        (false, false) => (&config.network.bind_addr, ping as fn(TcpStream) -> Asked),
    };
    let stream = connect(address).map_err(|error| unhealthy(address, &error))?;
    match asked(stream) {
        Ok(Ok(said)) => Ok(said),
        Ok(Err(said)) => Err(unhealthy(address, &said)),
        Err(error) => Err(unhealthy(address, &error)),
    }
}

/// Whether the health that is told there is a server's of ours.
fn is_ours(address: &Address) -> bool {
    let said = connect(address).and_then(ready);
    let is_told = |text: &str| {
        let told = serde_json::from_str::<serde_json::Value>(text);
        told.is_ok_and(|told| told.get("status").is_some())
    };
    matches!(said, Ok(Ok(said) | Err(said)) if is_told(&said))
}

/// What a server said: that it serves, or why it does not.
type Asked = std::io::Result<std::result::Result<String, String>>;

fn connect(address: &Address) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::other("the name has no address");
    for found in address.as_str().to_socket_addrs()? {
        match TcpStream::connect_timeout(&reachable(found), PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Who listens everywhere is reached on this machine.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

fn ready(mut stream: TcpStream) -> Asked {
    stream
        .write_all(b"GET /health/ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let is_ready = head.split(' ').nth(1) == Some("200");
    Ok(if is_ready { Ok(body.to_owned()) } else { Err(body.to_owned()) })
}

fn ping(mut stream: TcpStream) -> Asked {
    let mut bytes = Vec::new();
    message::request(&mut bytes, WireMode::Frames, "1", Operation::Ping.wire_name(), "{}");
    stream.write_all(&bytes)?;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match frame::decode(&answer, PAYLOAD_BYTES_MAX).map_err(std::io::Error::other)? {
            Decoded::Message { payload, .. } => {
                return Ok(match Incoming::parse(payload) {
                    Ok(Incoming::Response { outcome: Ok(_), .. }) => Ok("it answers".to_owned()),
                    Ok(Incoming::Response { outcome: Err(error), .. }) => Err(error.to_string()),
                    _ => Err("it says what is no answer".to_owned()),
                });
            }
            Decoded::Incomplete { .. } => match stream.read(&mut piece)? {
                0 => return Ok(Err("it closed the connection".to_owned())),
                read => answer.extend_from_slice(piece.get(..read).unwrap_or_default()),
            },
        }
    }
}

fn taken(_: TcpStream) -> Asked {
    Ok(Ok("it takes connections".to_owned()))
}
