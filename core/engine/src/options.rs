//! How a database is opened.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rstmdb_types::error::reason;
use rstmdb_types::{Error, Limits};

use crate::storage::{Clock, Entropy, Storage, SystemEntropy};

/// When the log is synced to the disk, and with it what an acknowledgement promises.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FsyncPolicy {
    /// An answer waits for the sync that covers it; concurrent callers share one sync.
    #[default]
    EveryWrite,
    /// A sync after this many changes; a power failure may take back fewer than that.
    EveryN(u32),
    /// A sync this often while there is something to sync, in milliseconds.
    EveryMs(u32),
    /// No sync but at a clean stop; a power failure may take back what the system had not written.
    Never,
}

impl FromStr for FsyncPolicy {
    type Err = Error;

    fn from_str(text: &str) -> Result<FsyncPolicy, Error> {
        let number = |digits: &str| digits.parse().ok().filter(|n| *n > 0);
        let policy = match text.split_once(':') {
            None if text == "every_write" => Some(FsyncPolicy::EveryWrite),
            None if text == "never" => Some(FsyncPolicy::Never),
            Some(("every_n", n)) => number(n).map(FsyncPolicy::EveryN),
            Some(("every_ms", n)) => number(n).map(FsyncPolicy::EveryMs),
            _ => None,
        };
        policy.ok_or_else(|| {
            Error::invalid(
                reason::INVALID_OPTION,
                format!(
                    "unknown fsync policy {text:?}; use every_write, every_n:100, every_ms:100 or \
                     never"
                ),
            )
            .with("option", "fsync")
        })
    }
}

impl std::fmt::Display for FsyncPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FsyncPolicy::EveryWrite => f.write_str("every_write"),
            FsyncPolicy::EveryN(n) => write!(f, "every_n:{n}"),
            FsyncPolicy::EveryMs(n) => write!(f, "every_ms:{n}"),
            FsyncPolicy::Never => f.write_str("never"),
        }
    }
}

/// How much of the log is kept below the newest checkpoint, for `history` and replayed watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// All of it.
    Forever,
    /// At most about this many bytes.
    Bytes(u64),
    /// Changes younger than this.
    Age(Duration),
}

impl Default for Retention {
    fn default() -> Retention {
        Retention::Bytes(1 << 30)
    }
}

/// Whether the engine runs threads of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Background {
    /// A log thread and a checkpoint thread.
    #[default]
    Threads,
    /// None: whoever waits does the work, in a repeatable order.
    Inline,
}

/// How a database is opened. `Default` suits most.
#[derive(Debug, Clone)]
pub struct Options {
    /// When the log is synced.
    pub fsync: FsyncPolicy,
    /// What requests are held to.
    pub limits: Limits,
    /// How much history is kept.
    pub retention: Retention,
    /// The size of a log segment, in bytes.
    pub segment_bytes_max: u64,
    /// A checkpoint is written when this many bytes were logged since the last; 0: only on request.
    pub checkpoint_log_bytes: u64,
    /// Writes are refused when less than this is free on the disk, in bytes.
    pub free_bytes_min: u64,
    /// How long idempotency keys are remembered.
    pub idempotency_window: Duration,
    /// The most idempotency keys remembered; the oldest give way.
    pub idempotency_keys_max: usize,
    /// Whether a digest of all instances is kept and written into the log now and then, so that
    /// replicas, and a replay, notice when theirs differ.
    pub digest: bool,
    /// Whether the id of a deleted instance may be used again.
    pub allow_instance_recreate: bool,
    /// Whether `flush_all` is allowed.
    pub allow_flush_all: bool,
    /// Whether a missing database is created.
    pub create: bool,
    /// The number of independently locked parts of the state; 0 chooses by processor count.
    pub partitions: usize,
    /// Bytes of recent log kept in memory for watches.
    pub watch_ring_bytes: usize,
    /// Whether the engine runs threads of its own.
    pub background: Background,
    /// Called during a long recovery with records done and, where known, to do.
    pub progress: Option<Progress>,
    /// Told of every sync of the log.
    pub sync_observer: Option<SyncObserver>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            fsync: FsyncPolicy::default(),
            limits: Limits::default(),
            retention: Retention::default(),
            segment_bytes_max: 64 << 20,
            checkpoint_log_bytes: 256 << 20,
            free_bytes_min: 64 << 20,
            idempotency_window: Duration::from_secs(24 * 3600),
            idempotency_keys_max: 1_000_000,
            digest: false,
            allow_instance_recreate: true,
            allow_flush_all: false,
            create: true,
            partitions: 0,
            watch_ring_bytes: 8 << 20,
            background: Background::default(),
            progress: None,
            sync_observer: None,
        }
    }
}

/// Receives the progress of a long operation.
#[derive(Clone)]
pub struct Progress(pub Arc<dyn Fn(ProgressUpdate) + Send + Sync>);

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Progress")
    }
}

/// Receives how long each sync of the log took.
#[derive(Clone)]
pub struct SyncObserver(pub Arc<dyn Fn(Duration) + Send + Sync>);

impl std::fmt::Debug for SyncObserver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SyncObserver")
    }
}

/// How far a long operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgressUpdate {
    /// What is being done, such as `replaying the log`.
    pub stage: &'static str,
    /// Bytes done.
    pub done_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// Where a database lives.
#[derive(Clone)]
pub struct Location {
    /// The files.
    pub storage: Arc<dyn Storage>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Where random numbers come from.
    pub entropy: Arc<dyn Entropy>,
    /// For messages: the directory, or `mem:`.
    pub name: String,
}

impl Location {
    /// A directory of the file system.
    pub fn directory(path: impl Into<PathBuf>) -> Location {
        let path = path.into();
        Location {
            name: path.display().to_string(),
            storage: Arc::new(crate::storage::FileStorage::new(path)),
            clock: Arc::new(crate::storage::SystemClock),
            entropy: Arc::new(SystemEntropy),
        }
    }

    /// Memory that is gone when the database is closed.
    pub fn memory() -> Location {
        Location {
            name: "mem:".to_owned(),
            storage: Arc::new(crate::storage::MemoryStorage::new()),
            clock: Arc::new(crate::storage::SystemClock),
            entropy: Arc::new(SystemEntropy),
        }
    }
}

impl std::fmt::Debug for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}
