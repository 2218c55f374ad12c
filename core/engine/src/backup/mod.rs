//! Backups: a checkpoint and the log behind it as one checked file, taken while changes go on.
//!
//! A backup is a small database directory in a file: a manifest of its own, the newest checkpoint, and the
//! segments from there to the last change that was committed when it began, byte by byte. So whatever reads a
//! directory reads a backup, and a restore is an opening of it with an end. Nobody waits for a backup: files
//! that do not change any more are read, and held against deletion for as long as somebody asks for them.
//! What a backup consists of follows from its id and these files, so one that was interrupted can be gone on with,
//! also by another process.

mod archive;
mod directory;
mod file;
mod format;
pub(crate) mod holds;
mod id;
mod image;
mod moments;
mod restore;
pub(crate) mod source;
pub(crate) mod view;

pub(crate) use id::{BackupId, gone};
pub(crate) use image::Image;

pub use archive::{Archive, BackupReport, verify};
pub use directory::DirectoryBackup;
pub use file::{CheckedBytes, PartialBackup};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use restore::rehearse;
pub use restore::{Ancestor, RestoreReport, RestoreTo, restore};
