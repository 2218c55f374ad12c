//! Servers on request, for conformance runners of other languages.
//!
//! Each connection is one server: it is started, reopened and told the time by lines of JSON, and
//! ends with the connection. `tests/conformance/SPEC.md` lists the lines. Beside the host stands the
//! Rust side of a connection, [`DatabaseTarget::hosted`].

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use rstmdb::blocking::Database;
use rstmdb_types::error::reason;
use rstmdb_types::{Error, Result};
use serde_json::{Value, json};

use crate::remote::Restarted;
use crate::server::TestServer;
use crate::target::{DatabaseTarget, Ground, read_options};

/// Serves connections for as long as the process lives; databases are kept below `root`.
pub fn serve(listener: TcpListener, root: &Path) {
    for stream in listener.incoming() {
        let (Ok(stream), root) = (stream, root.to_owned()) else { continue };
        std::thread::spawn(move || {
            // The runner went away; its server goes with the session.
            let _ = converse(&stream, &root);
        });
    }
}

/// Answers every line of a connection; the server ends with it.
fn converse(stream: &TcpStream, root: &Path) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut session = Session { directory: tempfile::tempdir_in(root)?, running: None };
    for line in BufReader::new(stream).lines() {
        let answer = session.answer(&line?);
        let answer = answer.unwrap_or_else(|fault| json!({"error": fault}));
        let mut out: &TcpStream = stream;
        out.write_all(format!("{answer}\n").as_bytes())?;
    }
    Ok(())
}

/// The server of one connection.
struct Session {
    // Declared first, so that the server is gone before its directory is removed.
    running: Option<Restarted>,
    directory: tempfile::TempDir,
}

impl Session {
    fn answer(&mut self, line: &str) -> std::result::Result<Value, String> {
        let request: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let members = request.as_object().filter(|members| members.len() == 1);
        let (name, value) = members
            .and_then(|members| members.iter().next())
            .ok_or("a line is an object with one member: start, reopen or advance_ms")?;
        match (name.as_str(), &mut self.running) {
            ("start", None) => {
                let (options, start_ms) = read_options(value)?;
                let directory = self.directory.path();
                let mut server = Restarted::new(directory, options, TestServer::config(), start_ms);
                let answer = start(&mut server)?;
                self.running = Some(server);
                Ok(answer)
            }
            ("start", Some(_)) => Err("this connection has a server; open another one".to_owned()),
            (_, None) => Err("start comes first".to_owned()),
            ("reopen", Some(running)) => start(running),
            ("advance_ms", Some(running)) => {
                let ms = value.as_i64().ok_or("advance_ms is an integer")?;
                running.advance(ms);
                Ok(json!({"ok": true}))
            }
            (other, _) => Err(format!("unknown line {other:?}: use start, reopen or advance_ms")),
        }
    }
}

fn start(server: &mut Restarted) -> std::result::Result<Value, String> {
    let address = server.start().map_err(|error| error.to_string())?;
    Ok(json!({"url": format!("rstmdb://{address}")}))
}

/// A server of a host, from this side of the connection.
#[derive(Debug)]
struct Hosted {
    lines: BufReader<TcpStream>,
    /// What starts it, until it is.
    start: Option<Value>,
}

impl DatabaseTarget {
    /// A database on a new server of the host at an address, through the remote facade.
    pub fn hosted(host: &str, options: &Value) -> Result<DatabaseTarget> {
        let stream = TcpStream::connect(host).map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let start = Some(json!({"start": options}));
        DatabaseTarget::on(Hosted { lines: BufReader::new(stream), start })
    }
}

impl Ground for Hosted {
    fn open(&mut self) -> Result<Database> {
        let request = self.start.take().unwrap_or_else(|| json!({"reopen": true}));
        let answer = ask(&mut self.lines, request)?;
        Database::open(answer["url"].as_str().unwrap_or_default())
    }

    fn advance(&mut self, ms: i64) {
        ask(&mut self.lines, json!({"advance_ms": ms})).unwrap();
    }
}

fn unreachable(error: std::io::Error) -> Error {
    Error::invalid(reason::INVALID_OPTION, format!("the host is not reached: {error}"))
}

fn ask(lines: &mut BufReader<TcpStream>, request: Value) -> Result<Value> {
    lines.get_mut().write_all(format!("{request}\n").as_bytes()).map_err(unreachable)?;
    let mut line = String::new();
    lines.read_line(&mut line).map_err(unreachable)?;
    let answer: Value = serde_json::from_str(&line).unwrap_or_default();
    match answer.get("error") {
        None if answer.is_object() => Ok(answer),
        _ => {
            Err(Error::invalid(reason::INVALID_OPTION, format!("{request}: the host says {line}")))
        }
    }
}
