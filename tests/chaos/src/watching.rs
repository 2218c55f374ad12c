//! A watcher on a machine, which follows everything for as long as a run lasts: this program, called again with a URL.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rstmdb::WatchAllRequest;
use rstmdb::blocking::Database;
use rstmdb_types::error::reason;
use serde_json::{Value, json};

use crate::world::World;

/// The word that this program is called with to watch.
pub const WORD: &str = "watch";

/// Prints every event of a database, one a line, and where the log no longer reached back.
pub fn watch(url: &str) {
    let database = Database::open(url).unwrap();
    let mut from = 1;
    loop {
        let request = WatchAllRequest { from_offset: Some(from), ..WatchAllRequest::default() };
        let opened = database.watch_all(request);
        let mut last = None;
        let ended = match opened {
            Err(error) => error,
            Ok((_, mut events)) => loop {
                match events.next_timeout(Duration::from_secs(1)) {
                    Ok(Some(event)) => {
                        last = Some(event.wal_offset);
                        say(&json!(event));
                    }
                    Ok(None) => {}
                    Err(error) => break error,
                }
            },
        };
        from = last.map_or(from, |last| last + 1);
        if ended.reason() == Some(reason::OFFSET_COMPACTED) {
            let first = ended.context().get("first_offset").and_then(Value::as_u64);
            let first = first.unwrap_or(from + 1);
            say(&json!({"gap": [from, first - 1]}));
            from = first;
        } else if ended.reason() == Some(reason::HISTORY_DIVERGED) {
            say(&json!({"diverged": ended.message()}));
        } else {
            // A watch that can't begin while nobody leads is begun again.
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }
}

/// Who does not listen any more ends this.
fn say(line: &Value) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{line}").is_err() {
        std::process::exit(0);
    }
}

/// The process, and what it has said.
#[derive(Debug)]
pub struct Watcher {
    child: Child,
    lines: Arc<Mutex<Vec<Value>>>,
    reader: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Starts one on a machine.
    pub fn start(world: &World, host: usize, url: &str) -> Watcher {
        let program = std::env::current_exe().unwrap().display().to_string();
        let mut command = world.command(host, &program, &[]);
        command.args([WORD, url]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let lines: Arc<Mutex<Vec<Value>>> = Arc::default();
        let kept = lines.clone();
        let reader = std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                // The last one may be cut off.
                if let Ok(value) = serde_json::from_str(&line) {
                    kept.lock().unwrap().push(value);
                }
            }
        });
        Watcher { child, lines, reader: Some(reader) }
    }

    /// Whether it has come to an offset.
    pub fn has_come_to(&self, offset: u64) -> bool {
        let lines = self.lines.lock().unwrap();
        lines.iter().rev().filter_map(|line| line["wal_offset"].as_u64()).next() >= Some(offset)
    }

    /// Ends it; all that it said.
    pub fn end(mut self) -> Vec<Value> {
        self.stop();
        std::mem::take(&mut *self.lines.lock().unwrap())
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.reader.take().map(JoinHandle::join);
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop();
    }
}
