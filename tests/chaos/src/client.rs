//! A client in any language: the runner of its conformance suite, on a machine, answering steps one at a time.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use crate::world::{World, address};

/// How a language's runner is started.
#[derive(Debug, Clone)]
pub struct Language {
    /// Its name.
    pub name: String,
    /// The program and its arguments.
    pub command: Vec<String>,
}

/// A running client.
#[derive(Debug)]
pub struct Client {
    child: Child,
    steps: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// The URL of nodes, with parameters.
pub fn url(nodes: impl Iterator<Item = usize>, parameters: &str) -> String {
    let hosts: Vec<String> = nodes.map(address).collect();
    format!("rstmdb://{}?connect_timeout=1s&request_timeout=4s{parameters}", hosts.join(","))
}

impl Client {
    /// Starts one on a machine; it connects there.
    pub fn start(world: &World, host: usize, language: &Language, url: &str) -> Client {
        let environment =
            [("RSTMDB_URL", url.to_owned()), ("RSTMDB_LANGUAGE", language.name.clone())];
        let (program, arguments) = language.command.split_first().unwrap();
        let mut command = world.command(host, program, &environment);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        // With the processes that it starts.
        let mut child = command.process_group(0).spawn().unwrap();
        let steps = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Client { child, steps, answers }
    }

    /// The answer to a step. The error says that the client is gone.
    pub fn ask(&mut self, step: &Value) -> Result<Value, String> {
        let mut line = String::new();
        let asked = self.steps.write_all(format!("{step}\n").as_bytes());
        let read = asked.and_then(|()| self.answers.read_line(&mut line));
        match read {
            Ok(1..) => serde_json::from_str(&line).map_err(|error| format!("{error}: {line}")),
            other => Err(format!("{other:?}, {:?}", self.child.try_wait())),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let group = Pid::from_raw(self.child.id().cast_signed());
        let _ = group.map(|group| kill_process_group(group, Signal::KILL));
        let _ = self.child.wait();
    }
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It was done.
    Done(Value),
    /// The instance was not as the step wanted it.
    Refused,
    /// It did not happen: why.
    Nothing(String),
    /// Nobody knows.
    Unknown,
    /// Something that a group never answers to this.
    Odd(String),
}

impl Fate {
    /// Reads an answer.
    pub fn of(answer: Value) -> Fate {
        let error = &answer["error"];
        let word = |name: &str| error[name].as_str().unwrap_or_default();
        match (word("code"), word("reason"), word("kind")) {
            ("", ..) => Fate::Done(answer),
            ("GUARD_FAILED", ..) => Fate::Refused,
            (_, "outcome_unknown", _) | ("REPLICATION_TIMEOUT", ..) => Fate::Unknown,
            (code, reason, "unavailable") => Fate::Nothing(format!("{code} {reason}")),
            _ => Fate::Odd(answer.to_string()),
        }
    }
}

/// A pause between two looks at something that others bring about.
pub fn breath() {
    std::thread::park_timeout(Duration::from_millis(20));
}
