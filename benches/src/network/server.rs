//! Servers as child processes: on a free port of the loopback, with a folder of their own, gone
//! when the value is.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::postgres;
use super::rcp::Session;
use crate::report;

const START_WITHIN: Duration = Duration::from_secs(120);
const STOP_WITHIN: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// A running server.
#[derive(Debug)]
pub struct Server {
    pub name: String,
    pub address: SocketAddr,
    child: Child,
    /// What ends it in good order.
    stop: Signal,
    folder: PathBuf,
}

/// Programs that are there, and the names of those that are not.
#[derive(Debug, Clone)]
pub struct Programs {
    pub ours: PathBuf,
    pub peer: Option<PathBuf>,
    pub redis: Option<PathBuf>,
    pub etcd: Option<PathBuf>,
    pub postgres: Option<PathBuf>,
}

impl Programs {
    /// Builds our server and looks for the others; says what is missing.
    pub fn find() -> Programs {
        let peer = std::env::var_os("RSTMDB_PEER").map_or_else(
            || report::target().join("peers").join("bin").join("rstmdb"),
            PathBuf::from,
        );
        let found = |name: &str, path: Option<PathBuf>, how: &str| {
            if path.is_none() {
                eprintln!("missing: {name}; its cases are left out. {how}");
            }
            path
        };
        let install = format!(
            "cargo install rstmdb --version 0.3.0 --locked --root {}",
            report::target().join("peers").display()
        );
        Programs {
            ours: ours(),
            peer: found("rstmdb 0.3.0", peer.is_file().then_some(peer), &install),
            redis: found("Redis", in_path("redis-server"), "apt-get install redis-server"),
            etcd: found("etcd", etcd(), "make -C packaging etcd, or apt-get install etcd-server"),
            postgres: found("PostgreSQL", postgres_folder(), "apt-get install postgresql"),
        }
    }
}

/// The server of this repository, built as it is released, or the one that `RSTMDB_SERVER` names.
pub fn ours() -> PathBuf {
    if let Some(path) = std::env::var_os("RSTMDB_SERVER") {
        return PathBuf::from(path);
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--locked", "--quiet", "--package", "rstmdb-server"])
        .current_dir(report::root())
        .status()
        .unwrap();
    assert!(status.success(), "the server does not build");
    report::target().join("release").join("rstmdb")
}

fn in_path(program: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Where it is installed, or where `make -C packaging etcd` put it.
fn etcd() -> Option<PathBuf> {
    let fetched = report::target().join("tools").join("usr").join("bin").join("etcd");
    in_path("etcd").or(fetched.is_file().then_some(fetched))
}

/// The folder with `initdb` and `postgres`; Debian does not have it in the path.
fn postgres_folder() -> Option<PathBuf> {
    let of_debian = std::fs::read_dir("/usr/lib/postgresql").ok().into_iter().flatten();
    let mut folders: Vec<PathBuf> =
        of_debian.filter_map(Result::ok).map(|entry| entry.path().join("bin")).collect();
    folders.sort();
    folders.extend(in_path("postgres").and_then(|path| path.parent().map(Path::to_owned)));
    let whole =
        |folder: &PathBuf| folder.join("initdb").is_file() && folder.join("postgres").is_file();
    folders.into_iter().rev().find(whole)
}

/// How a server that speaks RCP is started.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub name: String,
    pub fsync: &'static str,
    pub environment: Vec<(&'static str, String)>,
    /// Where clients connect and where health is told, for who comes again; else free ports.
    pub ports: Option<[u16; 2]>,
}

/// As the server comes, but for the log's policy.
pub fn as_it_comes(name: &str, fsync: &'static str) -> Settings {
    Settings { name: name.to_owned(), fsync, environment: Vec::new(), ports: None }
}

impl Settings {
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl std::fmt::Display) -> Settings {
        self.environment.push((name, value.to_string()));
        self
    }
}

impl Server {
    /// Starts a server that speaks RCP, ours or the peer, and waits until it answers.
    pub fn rcp(program: &Path, folder: &Path, settings: &Settings) -> Server {
        let [port, metrics_port] = settings.ports.unwrap_or_else(|| [free_port(), free_port()]);
        let mut command = Command::new(program);
        // What is measured does not depend on who measures.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("RSTMDB_") {
                command.env_remove(name);
            }
        }
        command
            .env("RSTMDB_BIND", address(port).to_string())
            .env("RSTMDB_DATA", data(folder))
            .env("RSTMDB_FSYNC_POLICY", settings.fsync)
            .env("RSTMDB_METRICS_BIND", address(metrics_port).to_string())
            // Some log each connection.
            .env("RUST_LOG", "warn")
            .envs(settings.environment.iter().map(|(name, value)| (name, value)));
        let server = Server::start(&settings.name, command, port, folder, Signal::TERM);
        server.wait_for(|address| Session::open(address).is_ok());
        server
    }

    /// Starts a member of a group of etcd, which answers clients and peers at these ports.
    pub fn etcd(program: &Path, folder: &Path, [port, peers]: [u16; 2], group: &str) -> Server {
        let name = format!("n{peers}");
        let (clients, peers) =
            (format!("http://{}", address(port)), format!("http://{}", address(peers)));
        let mut command = Command::new(program);
        command
            .args(["--name", &name, "--initial-cluster", group, "--initial-cluster-state", "new"])
            .args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients])
            .args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers])
            .args(["--logger", "zap", "--log-level", "error", "--data-dir"])
            .arg(data(folder));
        Server::start("etcd", command, port, folder, Signal::TERM)
    }

    pub fn redis(program: &Path, folder: &Path) -> Server {
        let port = free_port();
        let mut command = Command::new(program);
        command
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""])
            .args(["--appendonly", "yes", "--appendfsync", "always", "--dir"])
            .arg(folder);
        let server = Server::start("Redis", command, port, folder, Signal::TERM);
        server.wait_for(|address| TcpStream::connect(address).is_ok());
        server
    }

    pub fn postgres(programs: &Path, folder: &Path) -> Result<Server, String> {
        let data = data(folder);
        let user = unprivileged()?;
        let as_user = |mut command: Command| {
            if let Some((user, group)) = user {
                command.uid(user).gid(group);
            }
            command
        };
        // It refuses to run as root, so the folder is made over to another user.
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        if let Some((user, group)) = user {
            std::os::unix::fs::chown(folder, Some(user), Some(group)).unwrap();
        }
        let mut initdb = as_user(Command::new(programs.join("initdb")));
        initdb.args(["--auth=trust", "--encoding=UTF8", "--no-locale"]).arg("--username");
        let output = initdb.arg(postgres::USER).arg(&data).current_dir(folder).output();
        let output = output.map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        let port = free_port();
        let mut command = as_user(Command::new(programs.join("postgres")));
        command
            .current_dir(folder)
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="])
            .args(["-c", "max_connections=200", "-c", "shared_buffers=512MB"])
            .args(["-p", &port.to_string(), "-D"])
            .arg(&data);
        let server = Server::start("PostgreSQL", command, port, folder, Signal::INT);
        server.wait_for(|address| postgres::connect(address).is_ok());
        Ok(server)
    }

    /// The server that does nothing, in a process of its own as the others.
    pub fn null(kind: &str, folder: &Path) -> Server {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--null-server", kind]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Server {
            name: "null server".to_owned(),
            address: line.trim().parse().unwrap(),
            child,
            stop: Signal::KILL,
            folder: folder.to_owned(),
        }
    }

    fn start(name: &str, mut command: Command, port: u16, folder: &Path, stop: Signal) -> Server {
        let log = std::fs::File::create(folder.join("log.txt")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        Server {
            name: name.to_owned(),
            address: address(port),
            child,
            stop,
            folder: folder.to_owned(),
        }
    }

    fn wait_for(&self, ready: impl Fn(SocketAddr) -> bool) {
        let began = Instant::now();
        while !ready(self.address) {
            if !Path::new(&format!("/proc/{}/fd/0", self.child.id())).exists()
                || began.elapsed() > START_WITHIN
            {
                let log = std::fs::read_to_string(self.folder.join("log.txt")).unwrap_or_default();
                panic!("{} does not start: {log}", self.name);
            }
            std::thread::park_timeout(LOOK_EVERY);
        }
    }

    /// Ends the process in good order and returns how long that took.
    pub fn stop(mut self) -> f64 {
        let began = Instant::now();
        self.end(self.stop);
        began.elapsed().as_secs_f64()
    }

    /// Sends the process a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Ends the process with no chance to do anything.
    pub fn kill(mut self) {
        self.end(Signal::KILL);
    }

    fn end(&mut self, signal: Signal) {
        let ended = |child: &mut Child| child.try_wait().is_ok_and(|status| status.is_some());
        if ended(&mut self.child) {
            return;
        }
        self.signal(signal);
        let began = Instant::now();
        while !ended(&mut self.child) {
            if began.elapsed() > STOP_WITHIN {
                eprintln!("{} does not stop", self.name);
                let _ = self.child.kill();
            }
            std::thread::park_timeout(LOOK_EVERY);
        }
    }

    /// Bytes that the system counts as resident.
    pub fn resident_bytes(&self) -> f64 {
        crate::measure::resident_bytes(&format!("/proc/{}/status", self.child.id()))
    }

    /// Processor time so far, with that of its children (PostgreSQL has one for each session).
    pub fn processor_seconds(&self) -> f64 {
        let own = self.child.id();
        let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let ticks = entries.filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name, in parentheses, may hold anything.
            let words: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
            let parent: u32 = words.get(1)?.parse().ok()?;
            let ticks = |place: usize| words.get(place)?.parse::<u64>().ok();
            let spent = ticks(11)? + ticks(12)?;
            (pid == own || parent == own).then_some(spent)
        });
        // The system counts in hundredths of a second, whatever its clock.
        ticks.sum::<u64>() as f64 / 100.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The postmaster's children end with it only when it is asked.
        self.end(if self.name == "PostgreSQL" { self.stop } else { Signal::KILL });
    }
}

/// Where a server keeps its data; its output is beside it.
pub fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

pub fn address(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind(address(0)).unwrap().local_addr().unwrap().port()
}

/// Whose processes may run PostgreSQL when this one may not: the user `postgres`.
fn unprivileged() -> Result<Option<(u32, u32)>, String> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user = users.lines().find_map(|line| {
        let words: Vec<&str> = line.split(':').collect();
        let fits = words.first() == Some(&"postgres");
        fits.then(|| Some((words.get(2)?.parse().ok()?, words.get(3)?.parse().ok()?)))?
    });
    user.map(Some).ok_or_else(|| "no user postgres, and root may not run it".to_owned())
}
