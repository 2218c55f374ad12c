//! Makers of the engine's errors, so that each is worded once.

use std::io;
use std::sync::Arc;

use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Offset, Result};

use crate::storage::{Storage, is_full};

/// Stored bytes are not what was written.
pub(crate) fn corrupt(file: &str, position: u64, what: &str) -> Error {
    Error::new(
        ErrorCode::InternalError,
        format!("{file} is damaged at byte {position}: {what}; `verify` says what helps"),
    )
    .with_reason(reason::CORRUPT)
    .with("file", file)
    .with("position", position)
}

/// What such an error says is wrong, for who lists file and place beside it.
pub(crate) fn damage(error: &Error) -> &str {
    let message = error.message();
    let context = error.context();
    let (Some(file), Some(position)) = (
        context.get("file").and_then(|file| file.as_str()),
        context.get("position").and_then(|position| position.as_u64()),
    ) else {
        return message;
    };
    let begin = format!("{file} is damaged at byte {position}: ");
    let what = message.strip_prefix(&begin).unwrap_or(message);
    what.strip_suffix("; `verify` says what helps").unwrap_or(what)
}

/// Something in intact bytes that only a later release knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Newer {
    /// The format of a file or frame, and the newest known here.
    Format(u32, u32),
    FrameKind(u8),
    FrameFlags(u16),
    Effect(u64),
    Key(u32),
    Role,
    Block(u8),
}

impl std::fmt::Display for Newer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Newer::Format(found, known) => {
                write!(f, "has format {found}, this rstmdb reads up to {known}")
            }
            Newer::FrameKind(kind) => write!(f, "has a frame of the unknown kind {kind}"),
            Newer::FrameFlags(flags) => write!(f, "has a frame with the unknown flags {flags:#x}"),
            Newer::Effect(kind) => write!(f, "has an effect of the unknown kind {kind:#x}"),
            Newer::Key(key) => write!(f, "is sealed with key {key}, which is not known here"),
            Newer::Role => f.write_str("belongs to a database that is not alone"),
            Newer::Block(kind) => write!(f, "has a block of the unknown kind {kind}"),
        }
    }
}

/// A later release wrote what is at a place of a file.
pub(crate) fn newer_format(file: &str, position: u64, what: Newer) -> Error {
    let error = Error::new(
        ErrorCode::InternalError,
        format!("{file} {what}; use the newer rstmdb that wrote it"),
    )
    .with_reason(reason::NEWER_FORMAT)
    .with("file", file)
    .with("position", position);
    match what {
        Newer::Format(found, _) => error.with("format", found),
        _ => error,
    }
}

/// Whether there is nothing wrong with a file but that a later release wrote it.
pub(crate) fn is_newer(error: &Error) -> bool {
    error.reason() == Some(reason::NEWER_FORMAT)
}

/// A file operation outside the write path failed.
pub(crate) fn io(doing: &str, error: io::Error) -> Error {
    Error::new(ErrorCode::InternalError, format!("{doing}: {error}"))
        .with_reason(reason::IO)
        .with_source(Arc::new(error) as Arc<dyn std::error::Error + Send + Sync>)
}

/// Writing a file beside the log failed.
pub(crate) fn writing(path: &str, error: io::Error) -> Error {
    if is_full(&error) {
        return Error::new(
            ErrorCode::WalIoError,
            format!("no room for {path}: {error}; the log goes on without it, free some space"),
        )
        .with_reason(reason::DISK_FULL);
    }
    io(&format!("writing {path}"), error)
}

/// There is no room for a write; nothing of it was kept.
pub(crate) fn disk_full(detail: &str) -> Error {
    Error::new(
        ErrorCode::WalIoError,
        format!("the disk is full ({detail}); nothing was written, free some space and retry"),
    )
    .with_reason(reason::DISK_FULL)
}

/// Writes stop while there is still room for a checkpoint.
pub(crate) fn check_free_space(storage: &dyn Storage, minimum: u64) -> Result<()> {
    match storage.free_bytes() {
        Ok(Some(free)) if free < minimum => {
            Err(disk_full(&format!("{free} bytes free, free_bytes_min is {minimum}")))
        }
        _ => Ok(()),
    }
}

/// A write failed in a way that leaves its fate open.
pub(crate) fn outcome_unknown(error: &io::Error) -> Error {
    Error::new(
        ErrorCode::WalIoError,
        format!(
            "writing the log failed ({error}): whether this change survives is unknown until the \
             database is opened again"
        ),
    )
    .with_reason(reason::OUTCOME_UNKNOWN)
}

/// So much happened since then that what became of it is not known any more.
pub(crate) fn forgotten() -> Error {
    Error::new(
        ErrorCode::WalIoError,
        "many writes failed since then, and what became of this one was forgotten: read to find out",
    )
    .with_reason(reason::OUTCOME_UNKNOWN)
}

/// A write was taken back because one before it failed.
pub(crate) fn write_failed(why: &str) -> Error {
    Error::new(ErrorCode::WalIoError, format!("the change was taken back: {why}"))
        .with_reason(reason::WRITE_FAILED)
}

/// An earlier failure stopped all writing.
pub(crate) fn writes_stopped(why: &str) -> Error {
    Error::new(
        ErrorCode::WalIoError,
        format!("no more writes: {why}; reads go on, open the database again to recover"),
    )
    .with_reason(reason::WRITES_STOPPED)
}

/// The files can't be written to by who opened them.
pub(crate) fn read_only(name: &str) -> Error {
    Error::new(
        ErrorCode::ReadOnlyMode,
        format!(
            "{name} is open for reading only, because this process may not write there; open it as its \
             owner, where its file system can be written to"
        ),
    )
    .with("path", name)
}

/// The handle was closed.
pub(crate) fn closed() -> Error {
    Error::new(ErrorCode::InternalError, "the database is closed; open it again")
        .with_reason(reason::CLOSED)
}

/// The log does not reach back this far.
pub(crate) fn compacted(wanted: Offset, first: Offset) -> Error {
    Error::new(
        ErrorCode::NotFound,
        format!("offset {wanted} is no longer in the log; the first it has is {first}"),
    )
    .with_reason(reason::OFFSET_COMPACTED)
    .with("offset", wanted)
    .with("first_offset", first)
}

/// The log does not reach this far yet.
pub(crate) fn ahead(wanted: Offset, latest: Offset) -> Error {
    Error::new(
        ErrorCode::NotFound,
        format!("offset {wanted} is beyond the end of the log; the last it has is {latest}"),
    )
    .with_reason(reason::OFFSET_AHEAD)
    .with("offset", wanted)
    .with("latest_offset", latest)
}

/// A place belongs to a history that this log does not go on from.
pub(crate) fn history_diverged(offset: Offset, history_id: &str, safe: Option<Offset>) -> Error {
    let what = match safe {
        Some(safe) => format!("has offset {offset} elsewhere; it is the same up to offset {safe}"),
        None => {
            "is not known here; begin at the first offset, or with what is there now".to_owned()
        }
    };
    let error = Error::new(ErrorCode::Conflict, format!("history {history_id:?} {what}"))
        .with_reason(reason::HISTORY_DIVERGED)
        .with("offset", offset)
        .with("history_id", history_id);
    match safe {
        Some(safe) => error.with("safe_offset", safe),
        None => error,
    }
}

pub(crate) fn instance_not_found(id: &str) -> Error {
    Error::new(ErrorCode::InstanceNotFound, format!("instance {id:?} not found"))
        .with("instance_id", id)
}

pub(crate) fn snapshot_not_found(id: &str) -> Error {
    let message = format!("snapshot {id:?} not found; list_snapshots tells those of an instance");
    Error::new(ErrorCode::NotFound, message)
        .with_reason(reason::SNAPSHOT_NOT_FOUND)
        .with("snapshot_id", id)
}

pub(crate) fn machine_not_found(machine: &str, version: u32, latest: Option<u32>) -> Error {
    let message = match latest {
        Some(latest) => {
            format!("machine {machine:?} has no version {version}; latest is {latest}")
        }
        None => format!("machine {machine:?} not found; put_machine stores one"),
    };
    Error::new(ErrorCode::MachineNotFound, message)
        .with("machine", machine)
        .with("version", version)
}
