//! Looking at the files of a database that is not open: `verify` reads all of it, `repair` cuts the
//! end off where the user says so.

mod repair;
mod verify;

use std::io;

use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Result};

pub use repair::{RepairPlan, repair};
pub use verify::{CheckpointReport, Problem, SegmentReport, VerifyReport, verify};

use crate::error::{corrupt, io as io_error};
use crate::manifest::{MANIFEST, Manifest};
use crate::options::Location;
use crate::storage::DirectoryLock;

/// Locks a database that must exist and reads its manifest.
///
/// Who may not write there gets no lock: looking is allowed all the same.
fn lock_existing(location: &Location) -> Result<(Option<Box<dyn DirectoryLock>>, Manifest)> {
    let failed = |error: io::Error| io_error(&format!("opening {}", location.name), error);
    let missing = || {
        Error::new(ErrorCode::NotFound, format!("there is no database at {}", location.name))
            .with("path", location.name.as_str())
    };
    let names = match location.storage.list("") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing()),
        names => names.map_err(failed)?,
    };
    if !names.iter().any(|name| name == MANIFEST) {
        return match location.storage.list(crate::log::segment::LOG_DIRECTORY) {
            Ok(segments) if !segments.is_empty() => {
                Err(corrupt(MANIFEST, 0, "the manifest is missing"))
            }
            _ => Err(missing()),
        };
    }
    let locked = |holder: String| {
        Error::new(
            ErrorCode::InternalError,
            format!("{} is in use by {holder}; close it there first", location.name),
        )
        .with_reason(reason::LOCKED)
        .with("holder", holder)
    };
    let lock = match location.storage.lock() {
        Ok(lock) => Some(lock.map_err(locked)?),
        Err(error) if is_read_only(&error) => None,
        Err(error) => return Err(failed(error)),
    };
    let manifest = Manifest::read(&*location.storage)?.ok_or_else(missing)?;
    Ok((lock, manifest))
}

fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

/// Whether there is nothing wrong with a file but that a later release wrote it.
fn is_newer(error: &Error) -> bool {
    error.reason() == Some(reason::NEWER_FORMAT)
}
