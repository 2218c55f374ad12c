//! A server on a machine of its own: the program that users run, with a disk and a clock that can be made to fail.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::world::{World, address};

/// How long a stop in order may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What all nodes have.
#[derive(Debug)]
pub struct Common {
    /// The program.
    pub program: PathBuf,
    /// Libraries that are loaded into it, parted by colons; none where there is no C compiler.
    pub preload: String,
    /// How many nodes the group begins with.
    pub size: usize,
    /// Where the authority of the certificates is.
    pub authority: PathBuf,
}

/// A server, which runs or does not.
#[derive(Debug)]
pub struct Node {
    /// Its machine.
    pub host: usize,
    folder: PathBuf,
    process: Option<Child>,
    starts: u32,
}

impl Node {
    /// Not yet started.
    pub fn new(host: usize, root: &Path) -> Node {
        let folder = root.join(format!("node{host}"));
        std::fs::create_dir_all(folder.join("flags")).unwrap();
        Node { host, folder, process: None, starts: 0 }
    }

    /// A file of it beside its data.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Starts it; whether it comes into service is seen later.
    pub fn start(&mut self, world: &World, common: &Common) {
        let path = |name: &str| self.folder.join(name).display().to_string();
        let peers: Vec<String> =
            (0..common.size).map(|of| format!("{}:7403", address(of))).collect();
        let here = address(self.host);
        let settings = [
            ("storage.data_dir", path("data")),
            ("storage.free_bytes_min", "0".to_owned()),
            // Small, so that who was away for a while gets a checkpoint.
            ("storage.retention", "2MiB".to_owned()),
            ("storage.wal_segment_size_mb", "1".to_owned()),
            ("compaction.events_threshold", "2000".to_owned()),
            ("compaction.min_interval_secs", "5".to_owned()),
            ("network.bind_addr", format!("{here}:7401")),
            ("metrics.enabled", "false".to_owned()),
            ("cluster.enabled", "true".to_owned()),
            ("cluster.name", "chaos".to_owned()),
            ("cluster.bind_addr", format!("{here}:7403")),
            ("cluster.seeds", peers.join(",")),
            ("cluster.bootstrap_expect", common.size.to_string()),
            ("cluster.tls_cert_path", path("node.pem")),
            ("cluster.tls_key_path", path("node.key")),
            ("cluster.tls_ca_path", common.authority.display().to_string()),
        ];
        let environment = [
            ("LD_PRELOAD", common.preload.clone()),
            ("DISK_FAULTS_DATA", path("data")),
            ("DISK_FAULTS_FLAGS", path("flags")),
            ("CLOCK_SHIFT", path("flags/clock")),
        ];
        let program = common.program.display().to_string();
        let mut command = world.command(self.host, &program, &environment);
        command.args(["--log-format", "json"]);
        for (name, value) in settings {
            command.args(["--set".to_owned(), format!("{name}={value}")]);
        }
        self.starts += 1;
        let log = File::create(self.folder.join(format!("log{}", self.starts))).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.process = Some(command.spawn().unwrap());
    }

    /// Sends its process a signal.
    pub fn signal(&self, signal: Signal) {
        let id = self.process.as_ref().and_then(|child| Pid::from_raw(child.id().cast_signed()));
        let _ = id.map(|id| kill_process(id, signal));
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Has it stop in order; how that ended. One that does not stop is killed.
    pub fn stop(&mut self) -> Result<(), String> {
        self.signal(Signal::TERM);
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            let Some(child) = self.process.as_mut() else { return Ok(()) };
            if let Ok(Some(status)) = child.try_wait() {
                self.process = None;
                return if status.success() {
                    Ok(())
                } else {
                    Err(format!("it ended with {status}"))
                };
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        self.kill();
        Err("it did not stop".to_owned())
    }

    /// Its directory is lost.
    pub fn wipe(&self) {
        let _ = std::fs::remove_dir_all(self.folder.join("data"));
    }

    /// From now on calls on its disk meet this, as `tests/shim/disk_faults.c` says.
    pub fn fail(&self, call: &str, effect: &str) {
        let new = self.file("flags/new");
        std::fs::write(&new, format!("{effect} /\n")).unwrap();
        std::fs::rename(new, self.file("flags").join(call)).unwrap();
    }

    /// These calls work again.
    pub fn work(&self, call: &str) {
        let _ = std::fs::remove_file(self.file("flags").join(call));
    }

    /// Its clock is so far off.
    pub fn shift_clock(&self, ms: i64) {
        let new = self.file("flags/new-clock");
        std::fs::write(&new, format!("{ms}\n")).unwrap();
        std::fs::rename(new, self.file("flags/clock")).unwrap();
    }

    /// Whether it has said since its start that it serves.
    pub fn is_up(&self) -> bool {
        let log = self.folder.join(format!("log{}", self.starts));
        std::fs::read_to_string(log).is_ok_and(|text| text.contains("rstmdb is ready"))
    }

    /// The end of what it said last, for who looks for a fault.
    pub fn last_words(&self) -> String {
        let log = self.folder.join(format!("log{}", self.starts));
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }

    /// Whether it ever said that something inside of it went wrong.
    pub fn panics(&self) -> Vec<String> {
        let logs = (1..=self.starts).map(|start| self.folder.join(format!("log{start}")));
        let texts = logs.map(|log| std::fs::read_to_string(log).unwrap_or_default());
        texts
            .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
            .filter(|line| line.contains("panicked at"))
            .map(|line| format!("node {}: {line}", self.host))
            .collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A stopped process takes no other signal.
        self.signal(Signal::CONT);
        self.kill();
    }
}
