//! Servers on request, for conformance runners of other languages.
//!
//! Each connection is one server: it is started, reopened and told the time by lines of JSON, and
//! ends with the connection. `tests/conformance/SPEC.md` lists the lines. Beside the host stands the
//! Rust side of a connection, [`HostedTarget`].

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rstmdb::blocking::{Database, Subscription};
use rstmdb_engine::storage::FileStorage;
use rstmdb_engine::{Engine, Location, Options};
use rstmdb_types::error::reason;
use rstmdb_types::options::{self, Half};
use rstmdb_types::{Error, InstanceEvent, Json, Operation, Result};
use serde_json::{Value, json};

use crate::clock::{START_MS, TestClock};
use crate::model::Settings;
use crate::server::TestServer;
use crate::target::{Target, options_of, watch};

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
    running: Option<Running>,
    directory: tempfile::TempDir,
}

struct Running {
    server: Option<TestServer>,
    location: Location,
    options: Options,
    clock: Arc<TestClock>,
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
                let running = Running::start(self.directory.path(), value)?;
                let url = running.url();
                self.running = Some(running);
                Ok(json!({"url": url}))
            }
            ("start", Some(_)) => Err("this connection has a server; open another one".to_owned()),
            (_, None) => Err("start comes first".to_owned()),
            ("reopen", Some(running)) => {
                running.reopen().map_err(|error| error.to_string())?;
                Ok(json!({"url": running.url()}))
            }
            ("advance_ms", Some(running)) => {
                let ms = value.as_i64().ok_or("advance_ms is an integer")?;
                running.clock.advance_ms(ms);
                Ok(json!({"ok": true}))
            }
            (other, _) => Err(format!("unknown line {other:?}: use start, reopen or advance_ms")),
        }
    }
}

impl Running {
    fn start(directory: &Path, options: &Value) -> std::result::Result<Running, String> {
        let (options, start_ms) = read_options(options)?;
        let clock = Arc::new(TestClock::at(start_ms));
        let location = Location {
            storage: Arc::new(FileStorage::new(directory.to_owned())),
            clock: clock.clone(),
            name: directory.display().to_string(),
            ..Location::memory()
        };
        let mut running = Running { server: None, location, options, clock };
        running.reopen().map_err(|error| error.to_string())?;
        Ok(running)
    }

    fn reopen(&mut self) -> Result<()> {
        if let Some(server) = self.server.take() {
            server.stop()?;
        }
        let engine = Engine::open(self.location.clone(), self.options.clone())?;
        self.server = Some(TestServer::start(Arc::new(engine), TestServer::config())?);
        Ok(())
    }

    fn url(&self) -> String {
        let address = self.server.as_ref().map(TestServer::address);
        address.map_or_else(String::new, |address| format!("rstmdb://{address}"))
    }
}

/// The engine's options and the time at the beginning, from the options that an embedded database is
/// opened with.
pub fn read_options(given: &Value) -> std::result::Result<(Options, i64), String> {
    let mut options = options_of(&Settings::default());
    let mut given = given.as_object().ok_or("options are an object")?.clone();
    let start_ms = match given.remove("manual_clock_ms") {
        Some(start) => start.as_i64().ok_or("manual_clock_ms is a number")?,
        None => START_MS,
    };
    options::read(&mut options, Half::Embedded, &given).map_err(|error| error.to_string())?;
    Ok((options, start_ms))
}

/// A database on a server of a host, through the remote facade.
#[derive(Debug)]
pub struct HostedTarget {
    // Watches end before the connection, and that before the server.
    watches: Vec<Subscription>,
    database: Database,
    lines: BufReader<TcpStream>,
}

impl HostedTarget {
    /// A new server of the host at an address.
    pub fn open(host: &str, options: &Value) -> Result<HostedTarget> {
        let stream = TcpStream::connect(host).map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let mut lines = BufReader::new(stream);
        let database = Database::open(&ask_url(&mut lines, json!({"start": options}))?)?;
        Ok(HostedTarget { watches: Vec::new(), database, lines })
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

fn ask_url(lines: &mut BufReader<TcpStream>, request: Value) -> Result<String> {
    Ok(ask(lines, request)?["url"].as_str().unwrap_or_default().to_owned())
}

impl Target for HostedTarget {
    fn call(&mut self, operation: Operation, request: &Json) -> Result<Json> {
        self.database.call(operation, request)
    }

    fn watch(&mut self, operation: Operation, request: &Json) -> Result<(usize, Json)> {
        let (subscription, result) = watch(&self.database, operation, request)?;
        self.watches.push(subscription);
        Ok((self.watches.len() - 1, result))
    }

    fn next_event(&mut self, watch: usize, timeout: Duration) -> Result<Option<InstanceEvent>> {
        self.watches[watch].next_timeout(timeout)
    }

    fn reopen(&mut self) -> Result<()> {
        self.watches.clear();
        self.database.close()?;
        let url = ask_url(&mut self.lines, json!({"reopen": true}))?;
        self.database = Database::open(&url)?;
        Ok(())
    }

    fn advance(&mut self, ms: i64) {
        ask(&mut self.lines, json!({"advance_ms": ms})).unwrap();
    }
}
