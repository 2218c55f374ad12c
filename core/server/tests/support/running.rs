//! The program as a process, and a folder for it.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use serde_json::Value;

/// The program without the caller's settings.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rstmdb"));
    let ours = |name: &str| name.starts_with("RSTMDB_") || name == "RUST_LOG";
    for (name, _) in std::env::vars().filter(|(name, _)| ours(name)) {
        command.env_remove(name);
    }
    command
}

pub fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A running server whose log is read line by line.
pub struct Running {
    pub child: Child,
    log: BufReader<ChildStderr>,
    /// Everything read so far.
    pub read: String,
    pub address: SocketAddr,
    pub metrics: SocketAddr,
}

impl Running {
    pub fn start(folder: &Path, arguments: &[&str]) -> Running {
        let mut running = Running::starting(folder, arguments);
        running.ready();
        running
    }

    /// As soon as the process is there.
    pub fn starting(folder: &Path, arguments: &[&str]) -> Running {
        Running::starting_as(program(), folder, arguments)
    }

    /// The same, with an environment of its own.
    pub fn starting_as(mut command: Command, folder: &Path, arguments: &[&str]) -> Running {
        command.arg("--data").arg(folder.join("data"));
        command.args(["--bind", "127.0.0.1:0", "--metrics-bind", "127.0.0.1:0"]);
        command.args(["--log-format", "json", "--set", "storage.free_bytes_min=0"]).args(arguments);
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let anywhere = "127.0.0.1:0".parse().unwrap();
        Running { child, log, read: String::new(), address: anywhere, metrics: anywhere }
    }

    pub fn ready(&mut self) {
        let ready = self.wait_for("rstmdb is ready");
        self.address = ready["address"].as_str().unwrap().parse().unwrap();
        self.metrics = ready["metrics"].as_str().unwrap().parse().unwrap();
    }

    /// The next line of the log with this message. Lines that nobody waited for come first.
    pub fn wait_for(&mut self, message: &str) -> Value {
        self.wait_until(message, |found| found.contains(message))
    }

    /// The next line that says that the configuration was read again and holds.
    pub fn wait_for_reload(&mut self) -> Value {
        let message = "the configuration was read again";
        self.wait_until(message, |found| found == message)
    }

    fn wait_until(&mut self, message: &str, is_it: impl Fn(&str) -> bool) -> Value {
        loop {
            let from = self.read.len();
            let count = self.log.read_line(&mut self.read).unwrap();
            assert!(count > 0, "the log ended before {message:?}:\n{}", self.read);
            let line = self.read[from..]
                .trim_start_matches(|c: char| "<>".contains(c) || c.is_ascii_digit());
            let line: Value = serde_json::from_str(line).unwrap();
            if line["message"].as_str().is_some_and(&is_it) {
                return line;
            }
        }
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    pub fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).unwrap()
    }

    /// Waits for the end: the exit code, and the whole log.
    pub fn ended(mut self) -> (Option<i32>, String) {
        self.log.read_to_string(&mut self.read).unwrap();
        (self.child.wait().unwrap().code(), std::mem::take(&mut self.read))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already gone when the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        // At once, so that nobody reads half of it.
        let new = self.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &path).unwrap();
        path
    }
}
