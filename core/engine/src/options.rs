//! How a database is opened: the options of the table, and what only Rust programs set.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use rstmdb_types::options::{FsyncPolicy, Retention};

use crate::manifest::Role;
use crate::storage::{Clock, Entropy, Storage, SystemEntropy};

/// Whether the engine runs threads of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Background {
    /// One for what callers wait for, and one for what may take long.
    #[default]
    Threads,
    /// None: whoever waits does the work, in a repeatable order.
    Inline,
}

/// What a database is opened for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Purpose {
    /// To write: a directory that this process may not write to is refused.
    #[default]
    Write,
    /// To read. Where this process may not write, on a read-only file system or as another user, what the
    /// files hold is read all the same, without changing any; a lock is taken where one can be had.
    Read,
}

/// The part that a database has in a group of nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupNode {
    /// What it is to the others.
    pub kind: NodeKind,
    /// Its number among them, from 1; it is never given to another.
    pub id: u16,
    /// The id of the database that they share, for a directory that is empty.
    pub database: Option<[u8; 16]>,
}

impl GroupNode {
    pub(crate) fn role(&self) -> Role {
        match self.kind {
            NodeKind::Replica => Role::Replica,
            NodeKind::Member => Role::Member,
        }
    }
}

/// What a node is to the others of its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    /// A copy of a database that takes the writes elsewhere.
    Replica,
    /// One of several that decide together.
    Member,
}

rstmdb_types::embedded_options! {
    /// How a database is opened. `Default` suits most.
    #[derive(Debug, Clone)]
    pub struct Options {
        /// The number of independently locked parts of the state; 0 chooses by processor count.
        pub partitions: usize = 0;
        /// Bytes of recent log kept in memory for watches.
        pub watch_ring_bytes: usize = 8 << 20;
        /// Whether a digest of all instances is kept and written into the log now and then, so that
        /// replicas, and a replay, notice when theirs differ.
        pub digest: bool = false;
        /// A checkpoint is written after this many changes, or half as many as there are instances where
        /// that is more; 0: not by their number.
        pub checkpoint_changes: u64 = 0;
        /// The time between two checkpoints that nobody asked for, at least.
        pub checkpoint_interval_min: Duration = Duration::ZERO;
        /// Whether closing writes a checkpoint, where the next opening gains by it and it does not take
        /// long.
        pub checkpoint_at_close: bool = false;
        /// Whether the engine runs threads of its own.
        pub background: Background = Background::Threads;
        /// What the database is opened for.
        pub purpose: Purpose = Purpose::Write;
        /// The part that it has in a group of nodes; none: it is alone.
        pub node: Option<GroupNode> = None;
        /// Called during a long recovery with records done and, where known, to do.
        pub progress: Option<ProgressObserver> = None;
        /// Told of every sync of the log.
        pub sync_observer: Option<SyncObserver> = None;
    }
}

/// Receives the progress of a long operation.
#[derive(Clone)]
pub struct ProgressObserver(pub Arc<dyn Fn(ProgressUpdate) + Send + Sync>);

impl std::fmt::Debug for ProgressObserver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProgressObserver")
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
