//! The control socket: a place on this machine where the running server is asked to read its configuration
//! again, and answers how that went, which sessions are open, and to end one. A signal can only ask.
//!
//! A request is a line: `reload`, `sessions`, or `end` with a number; the answer is a line, `done` or `refused`, and
//! what there is to say. Systems without such sockets refuse the setting.

use std::path::Path;

use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Result};

/// The setting that names the socket.
pub const SETTING: &str = "server.control_socket";

/// The server's end. The socket goes when this does.
#[derive(Debug)]
pub struct Control {
    #[cfg(unix)]
    listener: tokio::net::UnixListener,
    #[cfg(unix)]
    path: std::path::PathBuf,
    /// Who is there and has not said yet what for.
    #[cfg(unix)]
    asking: Option<system::Asking>,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Read the configuration again.
    Reload,
    /// List the sessions that are open.
    Sessions,
    /// End the session of this number.
    End(u64),
}

impl Order {
    /// The order of a line.
    #[cfg(unix)]
    fn of(line: &str) -> Option<Order> {
        match line.split_once(' ') {
            None if line == "reload" => Some(Order::Reload),
            None if line == "sessions" => Some(Order::Sessions),
            Some(("end", number)) => number.parse().ok().map(Order::End),
            _ => None,
        }
    }
}

impl std::fmt::Display for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Order::Reload => f.write_str("reload"),
            Order::Sessions => f.write_str("sessions"),
            Order::End(number) => write!(f, "end {number}"),
        }
    }
}

/// Somebody who asked, and waits for the answer.
#[derive(Debug)]
pub struct ControlRequest {
    /// What for.
    pub order: Order,
    #[cfg(unix)]
    stream: tokio::net::UnixStream,
}

fn unusable(path: &Path, problem: impl std::fmt::Display) -> Error {
    let message = format!("the control socket {} ({SETTING}): {problem}", path.display());
    Error::new(ErrorCode::InternalError, message)
        .with_reason(reason::IO)
        .with("setting", SETTING)
        .with("path", path.display().to_string())
}

/// Gives the running server an order; what it says. An error when it refuses, or does not answer.
pub fn ask(path: &Path, order: Order) -> Result<String> {
    let answer = system::ask(path, order)?;
    match answer.split_once('\n') {
        Some(("done", said)) => Ok(said.to_owned()),
        Some(("refused", said)) => Err(Error::invalid(reason::INVALID_OPTION, said)),
        _ => Err(unusable(path, "the server stopped before it answered")),
    }
}

#[cfg(unix)]
mod system {
    use std::io::{ErrorKind, Read, Write};
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    use std::os::unix::net::UnixStream;
    use std::path::Path;
    use std::time::{Duration, Instant};

    use rstmdb_types::Result;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    use super::{Control, ControlRequest, Order, unusable};

    /// The longest request, in bytes.
    const REQUEST_BYTES_MAX: usize = 64;
    /// How long a client may take to say it, and to take its answer.
    const PATIENCE: Duration = Duration::from_secs(5);
    /// How long the server may take to read its configuration.
    const ANSWER_PATIENCE: Duration = Duration::from_secs(60);

    /// Somebody who is connected.
    #[derive(Debug)]
    pub(super) struct Asking {
        stream: tokio::net::UnixStream,
        said: Vec<u8>,
        since: Instant,
    }

    impl Control {
        /// Listens. Only the user of the server, and root, may connect.
        pub fn open(path: &Path) -> Result<Control> {
            let failed = |error: std::io::Error| unusable(path, error);
            remove_left_over(path)?;
            let listener = UnixListener::bind(path).map_err(failed)?;
            let control = Control { listener, path: path.to_owned(), asking: None };
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).map_err(failed)?;
            Ok(control)
        }

        /// Waits until somebody gives an order. Nobody is lost when this is dropped and called again.
        pub async fn next(&mut self) -> ControlRequest {
            loop {
                let Some(asking) = &mut self.asking else {
                    match self.listener.accept().await {
                        Ok((stream, _)) => {
                            self.asking =
                                Some(Asking { stream, said: Vec::new(), since: Instant::now() })
                        }
                        // Out of files, as a rule: others close theirs.
                        Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                    }
                    continue;
                };
                let left = PATIENCE.saturating_sub(asking.since.elapsed());
                let read = asking.stream.read_buf(&mut asking.said);
                let is_there = matches!(tokio::time::timeout(left, read).await, Ok(Ok(1..)));
                let is_whole = asking.said.ends_with(b"\n");
                if is_there && !is_whole && asking.said.len() < REQUEST_BYTES_MAX {
                    continue;
                }
                let Some(Asking { stream, said, .. }) = self.asking.take() else { continue };
                let line = std::str::from_utf8(&said).ok().and_then(|said| said.strip_suffix('\n'));
                match line.map(Order::of) {
                    Some(Some(order)) => return ControlRequest { order, stream },
                    // A newer program asks an older server. Who went away wants no answer.
                    Some(None) => {
                        let _ = stream.try_write(b"refused\nthis server does not know the request");
                    }
                    None => {}
                }
            }
        }
    }

    impl ControlRequest {
        /// Says how it went.
        pub async fn answer(mut self, outcome: std::result::Result<String, String>) {
            let (word, said) = match &outcome {
                Ok(said) => ("done", said),
                Err(said) => ("refused", said),
            };
            let answer = format!("{word}\n{said}");
            // Who went away wants no answer.
            let _ = tokio::time::timeout(PATIENCE, self.stream.write_all(answer.as_bytes())).await;
        }
    }

    impl Drop for Control {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    /// A server that was killed left its socket; one that runs answers there.
    fn remove_left_over(path: &Path) -> Result<()> {
        let is_socket = match std::fs::symlink_metadata(path) {
            Ok(metadata) => metadata.file_type().is_socket(),
            Err(_) => return Ok(()),
        };
        if !is_socket {
            return Err(unusable(path, "there is a file of that name; choose another path"));
        }
        match UnixStream::connect(path) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(|error| unusable(path, error))
            }
            _ => Err(unusable(path, "another server uses it; choose another path")),
        }
    }

    /// The answer of the running server, whole.
    pub(super) fn ask(path: &Path, order: Order) -> Result<String> {
        let mut answer = String::new();
        let asked = UnixStream::connect(path).and_then(|mut stream| {
            stream.set_write_timeout(Some(PATIENCE))?;
            stream.set_read_timeout(Some(ANSWER_PATIENCE))?;
            stream.write_all(format!("{order}\n").as_bytes())?;
            stream.read_to_string(&mut answer)
        });
        asked.map_err(|error| unusable(path, format!("{error}; does the server run?")))?;
        Ok(answer)
    }
}

#[cfg(not(unix))]
mod system {
    use std::path::Path;

    use rstmdb_types::Result;

    use super::{Control, ControlRequest, Order, unusable};

    impl Control {
        /// Refuses.
        pub fn open(path: &Path) -> Result<Control> {
            Err(unusable(path, "this system has none; leave the setting out"))
        }

        /// Never comes.
        pub async fn next(&mut self) -> ControlRequest {
            std::future::pending().await
        }
    }

    impl ControlRequest {
        /// Tells nobody.
        pub async fn answer(self, _outcome: std::result::Result<String, String>) {}
    }

    pub(super) fn ask(path: &Path, _order: Order) -> Result<String> {
        Err(unusable(path, "this system has none; restart the server instead"))
    }
}
