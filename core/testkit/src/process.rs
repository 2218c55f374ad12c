//! The server as a process of its own: the program that users run, with a port, a log and signals.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};

use serde_json::Value;

use crate::wire::{PATIENCE, Wire, await_condition};

/// How a server is started, again and again on the same data.
#[derive(Debug, Clone)]
pub struct Launch {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    open_files_max: Option<u32>,
}

impl Launch {
    /// The program on a data directory, with no limit on how full the disk may be.
    pub fn new(program: &str, directory: &Path) -> Launch {
        let launch = Launch {
            program: program.into(),
            arguments: ["--log-format", "json"].map(str::to_owned).to_vec(),
            environment: Vec::new(),
            open_files_max: None,
        };
        launch
            .set("storage.data_dir", directory.display())
            .set("network.bind_addr", "127.0.0.1:0")
            .set("metrics.bind_addr", "127.0.0.1:0")
            .set("storage.free_bytes_min", 0)
    }

    /// Sets a setting; the last one counts.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl std::fmt::Display) -> Launch {
        self.arguments.extend(["--set".to_owned(), format!("{key}={value}")]);
        self
    }

    /// Another program takes its place.
    #[must_use]
    pub fn program(self, program: &str) -> Launch {
        Launch { program: program.into(), ..self }
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl std::fmt::Display) -> Launch {
        self.environment.push((name.to_owned(), value.to_string()));
        self
    }

    /// Lets it have no more than so many files open.
    #[must_use]
    pub fn open_files(mut self, most: u32) -> Launch {
        self.open_files_max = Some(most);
        self
    }

    /// Binds to an address that no other test has, so that a restart finds it free again.
    ///
    /// All of 127.0.0.0/8 is this machine on Linux; elsewhere a restart gets a new port.
    #[must_use]
    pub fn on_own_address(self) -> Launch {
        if !cfg!(target_os = "linux") {
            return self;
        }
        let process = std::process::id();
        let host = format!("127.{}.{}.2", 1 + (process >> 8) % 250, process % 256);
        let free = std::net::TcpListener::bind((host.as_str(), 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        self.set("network.bind_addr", format!("{host}:{port}"))
    }

    fn command(&self) -> Command {
        let mut command = match self.open_files_max {
            None => Command::new(&self.program),
            Some(most) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -n {most} && exec \"$0\" \"$@\"")]);
                shell.arg(&self.program);
                shell
            }
        };
        // Nothing of the caller's environment configures the server.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RSTMDB_")) {
            command.env_remove(name);
        }
        command.args(&self.arguments).envs(self.environment.iter().map(|(n, v)| (n, v)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// Starts it and waits until it serves.
    pub fn start(&self) -> ServerProcess {
        self.try_start().unwrap_or_else(|(status, log)| panic!("{status}:\n{}", log.join("\n")))
    }

    /// Starts it; the error is how it ended and what it said.
    pub fn try_start(&self) -> Result<ServerProcess, (ExitStatus, Vec<String>)> {
        let mut child = self.command().spawn().unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(Vec::new()));
        let (ready, waiting) = mpsc::channel();
        let kept = log.clone();
        let reader = std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                let said: Option<Value> = serde_json::from_str(&line).ok();
                if let Some(said) = said.filter(|said| said["message"] == "rstmdb is ready") {
                    let address = |name: &str| said[name].as_str().and_then(|a| a.parse().ok());
                    let _ = ready.send((address("address"), address("metrics")));
                }
                kept.lock().unwrap().push(line);
            }
        });
        match waiting.recv_timeout(PATIENCE) {
            Ok((address, metrics_address)) => Ok(ServerProcess {
                child,
                address: address.unwrap(),
                metrics_address,
                log,
                reader: Some(reader),
            }),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let status = child.wait().unwrap();
                reader.join().unwrap();
                let log = std::mem::take(&mut *log.lock().unwrap());
                Err((status, log))
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let _ = child.kill();
                panic!("the server did not become ready:\n{}", log.lock().unwrap().join("\n"))
            }
        }
    }
}

/// A running server; dropping it kills it.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl ServerProcess {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A new connection.
    pub fn wire(&self) -> Wire {
        Wire::connect(self.address)
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has said so far, line by line.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Kills it, as `kill -9` does.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap();
        assert!(status.success(), "kill -{name} {id}: {status}");
    }

    /// Waits until it has ended by itself; returns its exit code and all it said.
    pub fn wait(mut self) -> (Option<i32>, Vec<String>) {
        let status = self.child.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        (status.code(), self.log())
    }

    /// Stops it in good order.
    pub fn stop(self) {
        self.signal("TERM");
        let (code, log) = self.wait();
        assert_eq!(code, Some(0), "{}", log.join("\n"));
    }

    /// The status and body of a page of its HTTP endpoint.
    pub fn page(&self, path: &str) -> (u16, String) {
        page(self.metrics_address.expect("the metrics are switched off"), path)
    }

    /// The sum of all series of a metric.
    pub fn metric(&self, name: &str) -> f64 {
        let (status, text) = self.page("/metrics");
        assert_eq!(status, 200, "{text}");
        let of_name =
            |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let value = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
        text.lines().filter(of_name).map(value).sum()
    }

    /// Memory of the process in RAM now.
    pub fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/statm", self.child.id());
        let text = std::fs::read_to_string(path).unwrap();
        text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    }

    /// Serves a client, and then waits until nothing is open.
    pub fn await_idle(&self) {
        let mut healthy = self.wire();
        healthy.call("PING", serde_json::json!({})).unwrap();
        healthy.call("BYE", serde_json::json!({})).unwrap();
        healthy.await_close();
        await_condition("no connection and no subscription is open", || {
            self.metric("rstmdb_connections_active") + self.metric("rstmdb_subscriptions_active")
                == 0.0
        });
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the server said:\n{}", self.log().join("\n"));
        }
    }
}

/// Fetches a page over plain HTTP.
pub fn page(address: SocketAddr, path: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(socket, "GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}
