//! Where a server is.

use std::fmt;

use rstmdb_protocol::DEFAULT_PORT;

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// A name or an address.
    pub host: String,
    /// The port, 7401 unless told otherwise.
    pub port: u16,
}

impl Endpoint {
    /// An endpoint of the given port.
    pub fn new(host: impl Into<String>, port: u16) -> Endpoint {
        Endpoint { host: host.into(), port }
    }

    /// Reads `HOST`, `HOST:PORT` or `[IPv6]:PORT`; none for anything else.
    pub fn parse(text: &str) -> Option<Endpoint> {
        let (host, port) = split(text).ok()?;
        Some(Endpoint::new(host, port))
    }
}

/// Host and port of a text, or what is wrong with it.
pub(crate) fn split(text: &str) -> Result<(&str, u16), &'static str> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("an unclosed bracket")?;
        match after.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if after.is_empty() => (host, None),
            None => return Err("text after a bracket"),
        }
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    if host.is_empty() {
        return Err("no host");
    }
    if host.contains(['/', '#', ' ']) {
        return Err("a path");
    }
    let port = match port {
        None => DEFAULT_PORT,
        Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or("a port out of range")?,
    };
    Ok((host, port))
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}
