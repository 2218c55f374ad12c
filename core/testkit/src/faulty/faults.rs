//! Rules that make calls fail.

use std::io::{self, ErrorKind};

use super::rng::Rng;

/// A call of the storage traits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Call {
    /// `Storage::create`
    Create,
    /// `Storage::open`
    Open,
    /// `Storage::rename`
    Rename,
    /// `Storage::remove`
    Remove,
    /// `Storage::list`
    List,
    /// `Storage::create_dir`
    CreateDir,
    /// `Storage::sync_dir`
    SyncDir,
    /// `Storage::free_bytes`
    FreeBytes,
    /// `Storage::lock`
    Lock,
    /// `File::read_at`
    Read,
    /// `File::write_at`
    Write,
    /// `File::sync_data`
    Sync,
    /// `File::len`
    Len,
    /// `File::set_len`
    SetLen,
}

impl Call {
    /// Whether the call changes the disk, or what of it is durable.
    #[must_use]
    pub fn is_mutating(self) -> bool {
        match self {
            Self::Create | Self::Rename | Self::Remove | Self::CreateDir | Self::SyncDir => true,
            Self::Write | Self::Sync | Self::SetLen => true,
            Self::Open | Self::List | Self::FreeBytes | Self::Lock | Self::Read | Self::Len => {
                false
            }
        }
    }
}

/// What a fault does to the call it meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Fails with EIO; nothing happens.
    InputOutput,
    /// Fails with this kind (`StorageFull`, `Interrupted`, ...); nothing happens.
    Error(ErrorKind),
    /// Does a part and fails with EIO: some bytes of a write, some pending changes of a sync.
    PartThenError,
    /// Reads or writes at least one byte, but not all, and succeeds. Other calls do all.
    Short,
    /// A sync that fails with EIO and marks the pages clean: the data can be read until
    /// [`evict_clean`](super::FaultyStorage::evict_clean), the next sync says it succeeded, and the
    /// next power cut shows that it is gone. Other calls just fail.
    DropPending,
    /// A sync that says it succeeded and did nothing, as disks do that lie. Other calls are not changed.
    Ignore,
}

/// A rule: which calls fail, and how.
///
/// Without further words it meets every call of its kind, for ever.
#[derive(Debug, Clone)]
pub struct Fault {
    call: Call,
    effect: Effect,
    path_part: Option<String>,
    skip: u64,
    left: u64,
    per_mille: u32,
}

impl Fault {
    /// Every call of this kind.
    #[must_use]
    pub fn new(call: Call, effect: Effect) -> Self {
        Self { call, effect, path_part: None, skip: 0, left: u64::MAX, per_mille: 1000 }
    }

    /// Only files (for names: paths) that contain this. A rename is `from -> to`.
    #[must_use]
    pub fn path(mut self, part: &str) -> Self {
        self.path_part = Some(part.to_owned());
        self
    }

    /// Only the n-th call that fits, counted from 1 when the rule is given.
    #[must_use]
    pub fn nth(self, n: u64) -> Self {
        self.from_nth(n).times(1)
    }

    /// Not before the n-th call that fits.
    #[must_use]
    pub fn from_nth(mut self, n: u64) -> Self {
        self.skip = n.saturating_sub(1);
        self
    }

    /// No more than so many times.
    #[must_use]
    pub fn times(mut self, count: u64) -> Self {
        self.left = count;
        self
    }

    /// Only so many in 1000 calls that fit, by the storage's seed.
    #[must_use]
    pub fn chance(mut self, per_mille: u32) -> Self {
        self.per_mille = per_mille;
        self
    }

    /// Whether the rule meets this call; counts it.
    pub(super) fn meets(&mut self, call: Call, path: &str, rng: &mut Rng) -> Option<Effect> {
        if self.call != call || self.left == 0 {
            return None;
        }
        if self.path_part.as_ref().is_some_and(|part| !path.contains(part.as_str())) {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        if self.per_mille < 1000 && !rng.chance(self.per_mille) {
            return None;
        }
        self.left -= 1;
        Some(self.effect)
    }
}

/// When the power goes off by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fuse {
    pub(super) mutating_call: u64,
    pub(super) partial: bool,
}

/// The error of every call on a machine that is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PowerOff;

impl std::fmt::Display for PowerOff {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("power is off")
    }
}

impl std::error::Error for PowerOff {}

pub(super) fn power_off_error() -> io::Error {
    io::Error::other(PowerOff)
}

/// Whether an error comes from a machine that was switched off or a process that was killed.
#[must_use]
pub fn is_power_off(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<PowerOff>())
}

pub(super) fn fault_error(effect: Effect, call: Call, path: &str) -> io::Error {
    match effect {
        Effect::Error(kind) => io::Error::new(kind, format!("{call:?} {path}: injected {kind}")),
        _ => io::Error::other(format!("{call:?} {path}: injected input/output error (EIO)")),
    }
}
