//! A server on a machine of its own: the program that users run, with a disk and a clock that can be made to fail.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rstmdb_testkit::faulty::Rng;
use rustix::process::{Pid, Signal, kill_process};

use crate::world::{World, address};

/// How long a stop in order may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// So much at the end of a log may not be on the disk yet.
const FRESH_BYTES: usize = 8 << 10;

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
        for name in ["flags", "unsynced"] {
            std::fs::create_dir_all(folder.join(name)).unwrap();
        }
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
            ("POWER_DATA", path("data")),
            ("POWER_NOTES", path("unsynced")),
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

    /// Has the disk of a dead one lose its power: of each write that was not synced nothing is left, or half, or all.
    /// `tests/shim/power.c` notes them, and a start alone makes nothing safe.
    pub fn lose_unsynced(&self, rng: &mut Rng) -> String {
        let (mut writes, mut lost) = (0, 0);
        for note in std::fs::read_dir(self.folder.join("unsynced")).unwrap().map_while(Result::ok) {
            let name = note.file_name().to_string_lossy().replace('%', "/");
            let noted = std::fs::read_to_string(note.path()).unwrap_or_default();
            std::fs::remove_file(note.path()).unwrap();
            let file =
                File::options().read(true).write(true).open(self.folder.join("data").join(name));
            // What was not synced may have been removed or renamed.
            let Ok(file) = file else { continue };
            for line in noted.lines() {
                let numbers = line.split_once(' ').and_then(|(at, size)| {
                    Some((at.parse::<u64>().ok()?, size.parse::<u64>().ok()?))
                });
                let Some((at, size)) = numbers else { continue };
                let kept = [0, size / 2, size][rng.index(3)];
                let end = file.metadata().unwrap().len().min(at + size);
                let gone = end.saturating_sub(at + kept);
                file.write_all_at(&vec![0; gone as usize], at + kept).unwrap();
                writes += 1;
                lost += usize::from(gone > 0);
            }
        }
        format!("{lost} of {writes} writes lost")
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
        let _ = std::fs::remove_dir_all(self.folder.join("unsynced"));
        let _ = std::fs::create_dir(self.folder.join("unsynced"));
    }

    /// Turns over a bit of the last segment of its log, in front of its end and behind the middle, where whoever opens it reads.
    pub fn flip_bit(&self, rng: &mut Rng) -> Option<String> {
        let log = std::fs::read_dir(self.folder.join("data/log")).ok()?;
        let files = log.filter_map(|entry| Some(entry.ok()?.path()));
        let last = files.filter(|path| path.extension().is_some_and(|of| of == "seg")).max()?;
        let mut bytes = std::fs::read(&last).ok()?;
        let end = bytes.iter().rposition(|byte| *byte != 0)?;
        // The last frames may have been on their way to the disk.
        let (from, to) = (end / 2, end.checked_sub(FRESH_BYTES).filter(|to| *to > end / 2)?);
        let at = from + rng.index(to - from);
        bytes[at] ^= 1 << rng.below(8);
        std::fs::write(&last, bytes).ok()?;
        Some(format!("at {at} of {} in {}", end, last.file_name()?.display()))
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
        self.says("rstmdb is ready")
    }

    /// Whether it has said this since its start.
    pub fn says(&self, words: &str) -> bool {
        let log = self.folder.join(format!("log{}", self.starts));
        std::fs::read_to_string(log).is_ok_and(|text| text.contains(words))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn node(root: &Path, name: &str, bytes: &[u8]) -> Node {
        let node = Node::new(0, root);
        std::fs::create_dir_all(node.file("data/log")).unwrap();
        std::fs::write(node.file(name), bytes).unwrap();
        node
    }

    #[test]
    fn a_power_cut_takes_what_was_not_synced_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let node = node(root.path(), "data/log/1.seg", &[7; 100]);
        let mut rng = Rng::new(1);
        let kept: Vec<usize> = (0..64)
            .map(|_| {
                std::fs::write(node.file("data/log/1.seg"), [7; 100]).unwrap();
                // The second reaches beyond what was cut off since, and the file of the other note was removed.
                std::fs::write(node.file("unsynced/log%1.seg"), "10 20\n90 50\n").unwrap();
                std::fs::write(node.file("unsynced/gone"), "0 8\n").unwrap();
                node.lose_unsynced(&mut rng);
                let bytes = std::fs::read(node.file("data/log/1.seg")).unwrap();
                assert_eq!(bytes.len(), 100);
                assert!(bytes[..10].iter().chain(&bytes[30..90]).all(|byte| *byte == 7));
                bytes[10..30].iter().filter(|byte| **byte == 7).count()
            })
            .collect();
        assert!([0, 10, 20].iter().all(|count| kept.contains(count)), "{kept:?}");
        assert_eq!(node.lose_unsynced(&mut rng), "0 of 0 writes lost", "it is lost once");
    }

    #[test]
    fn a_bit_turns_over_where_a_log_is_read() {
        let root = tempfile::tempdir().unwrap();
        let mut bytes = vec![1; 64 << 10];
        bytes.resize(1 << 20, 0);
        let node = node(root.path(), "data/log/2.seg", &bytes);
        assert!(node.flip_bit(&mut Rng::new(1)).is_some());
        let flipped = std::fs::read(node.file("data/log/2.seg")).unwrap();
        let differing: Vec<usize> =
            (0..bytes.len()).filter(|at| bytes[*at] != flipped[*at]).collect();
        assert_eq!(differing.len(), 1);
        assert!((32 << 10..56 << 10).contains(&differing[0]), "{differing:?}");
        std::fs::write(node.file("data/log/2.seg"), [1; 100]).unwrap();
        assert_eq!(node.flip_bit(&mut Rng::new(1)), None, "it may not be on the disk yet");
    }
}
