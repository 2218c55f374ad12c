//! Runs the binary in a temporary folder and makes its output the same every time.
#![allow(dead_code, reason = "every test file uses its own part of this")]

pub mod relay;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

pub const ORDER: &str = r#"{
    "states": ["created", "paid", "shipped", "cancelled"], "initial": "created",
    "final": ["shipped", "cancelled"],
    "transitions": [
        {"from": "created", "event": "PAY", "to": "paid", "guard": "payload.amount >= ctx.total"},
        {"from": "paid", "event": "SHIP", "to": "shipped"},
        {"from": ["created", "paid"], "event": "CANCEL", "to": "cancelled"}
    ]
}"#;

/// A folder with a database in `data`, or one for commands that talk to a server.
pub struct Place {
    pub folder: tempfile::TempDir,
    /// What says where the database is.
    pub environment: Vec<(String, String)>,
}

/// How a run of the binary ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Place {
    pub fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data").to_str().unwrap().to_owned();
        Place { folder, environment: vec![("RSTMDB_PATH".to_owned(), path)] }
    }

    /// A place whose commands talk to a server.
    pub fn on_server(address: impl ToString) -> Place {
        let place = Place::new();
        Place { environment: vec![("RSTMDB_SERVER".to_owned(), address.to_string())], ..place }
    }

    /// Sets a variable for the commands to come.
    pub fn set(&mut self, name: &str, value: impl ToString) {
        self.environment.push((name.to_owned(), value.to_string()));
    }

    /// A place with the machine `order` and three orders in different states.
    pub fn with_orders() -> Place {
        let place = Place::new();
        place.add_orders();
        place
    }

    /// Makes the machine `order` and three orders in different states.
    pub fn add_orders(&self) {
        let place = self;
        place.ok(&["put-machine", "-n", "order", "-v", "1", ORDER]);
        for (id, total) in [("o-1", 10), ("o-2", 20), ("o-3", 30)] {
            let ctx = format!("{{\"total\":{total}}}");
            place.ok(&["create-instance", "-m", "order", "-i", id, "-c", &ctx]);
        }
        for id in ["o-1", "o-2"] {
            place.ok(&["apply-event", "-i", id, "-e", "PAY", "-p", "{\"amount\":20}"]);
        }
        place.ok(&["apply-event", "-i", "o-1", "-e", "SHIP", "--event-id", "parcel-7"]);
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn file(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rstmdb-cli"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("RSTMDB_") {
                command.env_remove(name);
            }
        }
        command.env_remove("COLUMNS");
        command
            .args(arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("HOME", self.folder.path())
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.ran(self.command(arguments).output().unwrap())
    }

    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Ran {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        self.ran(child.wait_with_output().unwrap())
    }

    pub fn ran(&self, output: Output) -> Ran {
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: self.steady(&String::from_utf8(output.stdout).unwrap()),
            stderr: self.steady(&String::from_utf8(output.stderr).unwrap()),
        }
    }

    /// The output of a command that succeeds.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.stderr);
        ran.stdout
    }

    /// The result of a command that succeeds.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--output", "json"]).collect();
        serde_json::from_str(&self.ok(&arguments)).unwrap()
    }

    /// The error of a command that fails with this exit code.
    #[track_caller]
    pub fn error(&self, code: i32, arguments: &[&str]) -> Value {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--output", "json"]).collect();
        let ran = self.run(&arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "");
        serde_json::from_str(ran.stderr.lines().last().unwrap()).unwrap()
    }

    /// Replaces what differs between runs by something as long.
    fn steady(&self, text: &str) -> String {
        let mut text = text.replace(self.folder.path().to_str().unwrap(), "FOLDER");
        for (name, value) in &self.environment {
            if name == "RSTMDB_SERVER" {
                text = text.replace(value, "SERVER");
            }
        }
        let text = mask(&text, "0000-00-00T00:00:00.000Z", "2000-01-01T00:00:00.000Z");
        let text = mask(&text, "0000000000000", "1000000000000");
        let text = mask(&text, "hhhhhhhhhhhhhhhh", "aaaaaaaaaaaaaaaa");
        mask(&text, "hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh", "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa")
    }
}

/// Replaces what looks like `shape` (0 is a digit, h a hex digit) and is no part of a longer word.
fn mask(text: &str, shape: &str, by: &str) -> String {
    let fits = |window: &[char]| {
        window.len() == shape.len()
            && window.iter().zip(shape.chars()).all(|(c, s)| match s {
                '0' => c.is_ascii_digit(),
                'h' => c.is_ascii_hexdigit(),
                other => *c == other,
            })
    };
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::new();
    let mut at = 0;
    while at < chars.len() {
        let end = (at + shape.len()).min(chars.len());
        let alone = (at == 0 || !chars[at - 1].is_alphanumeric())
            && chars.get(end).is_none_or(|c| !c.is_alphanumeric());
        if alone && fits(&chars[at..end]) {
            out.push_str(by);
            at = end;
        } else {
            out.push(chars[at]);
            at += 1;
        }
    }
    out
}

/// The real logs, when they are there.
pub fn real_log(name: &str) -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    path.is_file().then(|| path.to_str().unwrap().to_owned())
}
