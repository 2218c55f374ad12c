//! The types of settings that are neither numbers nor switches.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// An address to listen on or to connect to: `host:port`, the host a name or an IP address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(String);

impl Address {
    /// A port of this machine, reached from it alone.
    pub fn local(port: u16) -> Address {
        Address(format!("127.0.0.1:{port}"))
    }

    /// As it was written; `tokio::net::TcpListener::bind` takes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        let wanted =
            || format!("{text:?} is not an address; use host:port, such as 127.0.0.1:7401");
        let (host, port) = text.rsplit_once(':').ok_or_else(wanted)?;
        port.parse::<u16>().map_err(|_| wanted())?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        let name = !host.is_empty() && host.chars().all(plain);
        if name || text.parse::<SocketAddr>().is_ok() {
            Ok(Address(text.to_owned()))
        } else {
            Err(wanted())
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that no message, log or screen shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

macro_rules! choices {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $choice_doc:literal])+ $(#[$default:ident])? $choice:ident = $text:literal,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub enum $name {
            $($(#[doc = $choice_doc])+ $(#[$default])? $choice,)+
        }

        impl $name {
            /// Every spelling.
            pub const TEXTS: &'static [&'static str] = &[$($text),+];
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<$name, String> {
                match text.to_ascii_lowercase().as_str() {
                    $($text => Ok($name::$choice),)+
                    _ => Err(format!("{text:?} is not one of {}", $name::TEXTS.join(", "))),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $($name::$choice => $text,)+ })
            }
        }
    };
}

choices! {
    /// How log lines look.
    LogFormat {
        /// Pretty on a terminal, JSON elsewhere.
        #[default]
        Auto = "auto",
        /// One JSON object a line.
        Json = "json",
        /// For people.
        Pretty = "pretty",
    }
}

choices! {
    /// What this server is to others.
    Role {
        /// Alone.
        #[default]
        Standalone = "standalone",
        /// Sends its log to replicas.
        Primary = "primary",
        /// Follows a primary.
        Replica = "replica",
    }
}

choices! {
    /// Whether a primary waits for its replicas.
    ReplicationMode {
        /// It does not.
        #[default]
        Async = "async",
        /// It does.
        Sync = "sync",
    }
}

choices! {
    /// What a member of a group is for.
    MemberRole {
        /// It votes, and may lead.
        #[default]
        Voter = "voter",
        /// It is read from.
        Learner = "learner",
    }
}

/// A place where addresses of other nodes are found. They are looked up again at each attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seed {
    /// An address of a node.
    At(Address),
    /// A name that has the addresses of several nodes, with their port.
    Dns(Address),
    /// A file with an address on each line.
    File(PathBuf),
}

impl FromStr for Seed {
    type Err = String;

    fn from_str(text: &str) -> Result<Seed, String> {
        let text = text.trim();
        if let Some(path) = text.strip_prefix("file:").filter(|path| !path.is_empty()) {
            return Ok(Seed::File(path.into()));
        }
        match text.strip_prefix("dns:") {
            Some(name) => name.parse().map(Seed::Dns),
            None => text.parse().map(Seed::At),
        }
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Seed::At(address) => address.fmt(f),
            Seed::Dns(address) => write!(f, "dns:{address}"),
            Seed::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

choices! {
    /// What comes of replicas that are missing.
    OnTimeout {
        /// They are waited for.
        #[default]
        Hold = "hold",
        /// It goes on without them.
        Degrade = "degrade",
    }
}

/// Something outside that is called: a command for the shell, or an address that gets a POST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outside {
    /// A line for `sh -c`; on Windows, for `cmd /C`.
    Command(String),
    /// An address.
    Url(HttpUrl),
}

impl FromStr for Outside {
    type Err = String;

    fn from_str(text: &str) -> Result<Outside, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err(
                "is empty; use a command, or an address that begins with http://".to_owned()
            );
        }
        match text.contains("://") && !text.contains(char::is_whitespace) {
            true => text.parse().map(Outside::Url),
            false => Ok(Outside::Command(text.to_owned())),
        }
    }
}

impl fmt::Display for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outside::Command(line) => f.write_str(line),
            Outside::Url(url) => url.fmt(f),
        }
    }
}

/// An address of plain HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpUrl {
    host: String,
    path: String,
}

impl HttpUrl {
    /// The host, and the port where it is named.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// What is asked for there.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where that is, `host:port`.
    pub fn address(&self) -> String {
        match self.host.parse::<Address>() {
            Ok(address) => address.to_string(),
            Err(_) => format!("{}:80", self.host),
        }
    }
}

impl FromStr for HttpUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<HttpUrl, String> {
        let Some(rest) = text.strip_prefix("http://") else {
            return Err(format!(
                "{text:?} is no address that begins with http://; for others use a command, such as curl --data @- URL"
            ));
        };
        let (host, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let with_port = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
        with_port.parse::<Address>().map_err(|_| {
            format!(
                "{text:?} is no address; use http://host:port/path, without a name and password"
            )
        })?;
        if path.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(format!("{text:?} has a space in its path; write %20"));
        }
        Ok(HttpUrl { host: host.to_owned(), path: path.to_owned() })
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.host, self.path)
    }
}
