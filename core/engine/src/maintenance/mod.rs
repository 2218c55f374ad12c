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
fn lock_existing(location: &Location) -> Result<(Box<dyn DirectoryLock>, Manifest)> {
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
    let lock = location.storage.lock().map_err(failed)?.map_err(|holder| {
        Error::new(
            ErrorCode::InternalError,
            format!("{} is in use by {holder}; close it there first", location.name),
        )
        .with_reason(reason::LOCKED)
        .with("holder", holder)
    })?;
    let manifest = Manifest::read(&*location.storage)?.ok_or_else(missing)?;
    Ok((lock, manifest))
}
