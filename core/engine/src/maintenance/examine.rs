//! Everything that can be found out about the files of a closed database, for `verify` and `repair` alike.

use std::io;

use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Offset, Result};

use super::rebuild::rebuild;
use super::scan::{Scan, ScanFault};
use crate::checkpoint::CHECKPOINT_DIRECTORY;
use crate::error::{damage, io as io_error, is_newer};
use crate::held::{Held, Search};
use crate::log::segment::LOG_DIRECTORY;
use crate::log::{LogFiles, Sealer};
use crate::manifest::{MANIFEST, Manifest, Role};
use crate::options::{Location, Options};
use crate::storage::{DirectoryLock, is_read_only};

/// What was found.
pub(crate) struct Examination {
    /// Nobody opens it meanwhile; none where this user may not write.
    _lock: Option<Box<dyn DirectoryLock>>,
    /// As it is, or as the other files tell it.
    pub manifest: Manifest,
    /// Why it had to be made again.
    pub manifest_fault: Option<Error>,
    pub scan: Scan,
    /// What the intact files hold, or the damage by which that is nothing.
    pub held: std::result::Result<Held, Error>,
}

impl Examination {
    pub(crate) fn of(location: &Location) -> Result<Examination> {
        let (lock, found) = lock_existing(location)?;
        let (mut manifest, manifest_fault) = match found {
            Ok(manifest) => (manifest, None),
            Err(error) if error.reason() == Some(reason::CORRUPT) => {
                (rebuild(location)?, Some(error))
            }
            Err(error) => return Err(error),
        };
        let scan = Scan::of(&location.storage, &manifest)?;
        let mut held = find(location, &manifest, None);
        if manifest_fault.is_some()
            && let Ok(found) = &mut held
        {
            complete(&mut manifest, &scan, found);
        }
        match held {
            Err(error) if error.reason() != Some(reason::CORRUPT) => Err(error),
            held => Ok(Examination { _lock: lock, manifest, manifest_fault, scan, held }),
        }
    }

    /// The first offset from which the history is whole, when it is not from where it began.
    pub(crate) fn history_from(&self) -> Option<Offset> {
        let held = self.held.as_ref().ok()?;
        let whole = self.scan.history_from(held.log.as_ref()?.begins)?;
        Some(self.readable_from(whole, held.last))
    }

    /// The first offset, from `first` on, where the log can be read without what is before.
    pub(crate) fn readable_from(&self, first: Offset, last: Offset) -> Offset {
        let mut boundaries = self.scan.boundaries.iter().map(|boundary| boundary + 1);
        boundaries.find(|begin| (first..=last).contains(begin)).unwrap_or(last + 1)
    }

    /// What `repair` is to be asked for, so that the database can be opened and holds all that it can;
    /// nothing when nothing is wrong, or nothing helps.
    pub(crate) fn advice(&self) -> Option<String> {
        let held = self.held.as_ref().ok()?;
        if self.faults().is_empty() {
            return None;
        }
        let mut advice = "repair".to_owned();
        if held.fault.is_some() {
            advice.push_str(&format!(" --to {}", held.last));
        }
        if let Some(from) = self.history_from() {
            advice.push_str(&format!(" --from {from}"));
        }
        Some(advice)
    }

    /// Everything that is wrong.
    pub(crate) fn faults(&self) -> Vec<ScanFault> {
        let manifest = self.manifest_fault.iter().map(|error| fault_of(MANIFEST, error));
        let mut faults: Vec<ScanFault> = manifest.chain(self.scan.faults.iter().cloned()).collect();
        // Intact files may still not fit each other.
        let refusal = match &self.held {
            Ok(held) => held.refusal(),
            Err(error) => Some(error),
        };
        if self.scan.faults.is_empty()
            && let Some(error) = refusal
        {
            faults.push(fault_of(LOG_DIRECTORY, error));
        }
        faults
    }
}

fn fault_of(file: &str, error: &Error) -> ScanFault {
    let number = |name: &str| error.context().get(name).and_then(|value| value.as_u64());
    let named = error.context().get("file").and_then(|file| file.as_str());
    ScanFault {
        file: named.unwrap_or(file).to_owned(),
        position: number("position").unwrap_or(0),
        offset: number("offset"),
        message: damage(error).to_owned(),
    }
}

/// Asks what the intact files hold, up to a limit.
pub(crate) fn find(
    location: &Location,
    manifest: &Manifest,
    limit: Option<Offset>,
) -> Result<Held> {
    let database = manifest.database()?;
    let files = LogFiles::new(location.storage.clone(), Sealer::plain(&database));
    let search = Search {
        storage: &*location.storage,
        manifest,
        files: &files,
        options: &Options::default(),
        hash_seed: &|| 0,
        limit,
        // Looking shows all that is there; of a node, behind no gap.
        decided: (manifest.role != Role::Alone).then_some(u64::MAX),
        progress: &|_, _, _| {},
    };
    search.find()
}

/// Adds what is only known when all was read to a manifest that was made again.
fn complete(manifest: &mut Manifest, scan: &Scan, held: &Held) {
    manifest.history = held.lineage.clone();
    manifest.boundaries = scan.boundaries.clone();
    manifest.boundaries.retain(|boundary| *boundary <= held.last);
    let begins = manifest.first_offset;
    if begins > 1 {
        let mut boundaries = manifest.boundaries.iter().map(|boundary| boundary + 1);
        manifest.first_offset = boundaries.find(|first| *first >= begins).unwrap_or(held.last + 1);
        let first = manifest.first_offset;
        manifest.boundaries.retain(|boundary| *boundary + 1 >= first);
        if manifest.boundaries.is_empty() {
            manifest.boundaries.push(first - 1);
        }
    }
}

type Found = std::result::Result<Manifest, Error>;

/// Locks a database that must exist and reads its manifest.
///
/// Who may not write there gets no lock: looking is allowed all the same.
fn lock_existing(location: &Location) -> Result<(Option<Box<dyn DirectoryLock>>, Found)> {
    let failed = |error: io::Error| io_error(&format!("opening {}", location.name), error);
    let missing = || {
        Error::new(ErrorCode::NotFound, format!("there is no database at {}", location.name))
            .with("path", location.name.as_str())
    };
    let list = |directory| match location.storage.list(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing()),
        names => names.map_err(failed),
    };
    let holds_files = |directory| list(directory).is_ok_and(|names| !names.is_empty());
    let has_manifest = list("")?.iter().any(|name| name == MANIFEST);
    if !has_manifest && !holds_files(LOG_DIRECTORY) && !holds_files(CHECKPOINT_DIRECTORY) {
        return Err(missing());
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
    let found = match Manifest::read(&*location.storage) {
        Ok(Some(manifest)) => Ok(manifest),
        Ok(None) => Err(crate::manifest::missing()),
        Err(error) if is_newer(&error) => return Err(error),
        Err(error) => Err(error),
    };
    Ok((lock, found))
}
