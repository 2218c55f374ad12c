//! The manifest: which files make up the database.
//!
//! One line of JSON and one line with its CRC-32C, replaced atomically. It names the checkpoints, the
//! first and the newest segment, and an offset that is on the disk for certain.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use parking_lot::Mutex;
use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Offset, Result};
use serde::{Deserialize, Serialize};

use crate::error::{Newer, corrupt, io as io_error, newer_format};
use crate::guards::{self, Safeguard};
use crate::log::lineage::Lineage;
use crate::log::tip::OFFSET_MAX;
use crate::storage::{Storage, remove_if_there};

pub(crate) const MANIFEST: &str = "MANIFEST";
const MANIFEST_TEMPORARY: &str = "MANIFEST.tmp";
pub(crate) const MANIFEST_FORMAT: u32 = 2;
const MANIFEST_BYTES_MAX: u64 = 16 << 20;

/// The files of a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub format: u32,
    /// 32 hex digits.
    pub database_id: String,
    /// 0 when alone.
    #[serde(default)]
    pub node_id: u16,
    #[serde(default)]
    pub role: Role,
    /// The oldest segment that belongs to the log.
    pub first_segment: u64,
    /// The newest segment there was when the manifest was written; 0 in those of before it was kept.
    #[serde(default)]
    pub last_segment: u64,
    /// The first offset that can be read, with its context.
    pub first_offset: Offset,
    /// On the disk when the manifest was written: a log that ends before is damaged.
    pub durable_offset: Offset,
    /// Newest last.
    pub checkpoints: Vec<CheckpointEntry>,
    /// Offsets after which every instance's first effect carries its whole context.
    pub boundaries: Vec<Offset>,
    /// The histories as far back as the log reaches.
    #[serde(default)]
    pub history: Lineage,
    /// The databases that this one was restored from, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lineage: Vec<Ancestor>,
}

/// A database that another one was restored from, and how far it goes back to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ancestor {
    /// Its id, 32 hex digits.
    pub database_id: String,
    /// The history of the last change that both have, 16 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_id: Option<String>,
    /// The last change that both have.
    pub offset: Offset,
    /// The hash of the log up to the frame before the restored end, 16 hex digits.
    pub chain: String,
}

/// What the database is to others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    #[default]
    Alone,
    /// A copy of another database, which sends it its log.
    Replica,
    /// A member of a group that decides together.
    Member,
    /// One that only a later release knows.
    #[serde(other)]
    Unknown,
}

/// One checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CheckpointEntry {
    pub file: String,
    /// Effects up to here are in it.
    pub offset: Offset,
    pub instances: u64,
    pub bytes: u64,
}

impl Manifest {
    pub(crate) fn new(database: [u8; 16]) -> Manifest {
        Manifest {
            format: MANIFEST_FORMAT,
            database_id: hex(&database),
            node_id: 0,
            role: Role::Alone,
            first_segment: 1,
            last_segment: 1,
            first_offset: 1,
            durable_offset: 0,
            checkpoints: Vec::new(),
            boundaries: Vec::new(),
            history: Lineage::default(),
            lineage: Vec::new(),
        }
    }

    pub(crate) fn database(&self) -> Result<[u8; 16]> {
        let mut id = [0; 16];
        let digits = self.database_id.as_bytes();
        let mut pairs = digits.chunks_exact(2);
        for byte in &mut id {
            let pair = pairs.next().and_then(|pair| std::str::from_utf8(pair).ok());
            let value = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok());
            *byte =
                value.ok_or_else(|| corrupt(MANIFEST, 0, "database_id is not 32 hex digits"))?;
        }
        Ok(id)
    }

    /// Why only a node writes here.
    pub(crate) fn not_alone(&self, name: &str) -> Error {
        let (reason, what) = match self.role {
            Role::Replica => (reason::REPLICA, "a copy of another database"),
            _ => (reason::NOT_LEADER, "a member of a group"),
        };
        let id = self.node_id;
        Error::new(
            ErrorCode::ReadOnlyMode,
            format!(
                "{name} is {what} (node {id}): only its server writes there; commands that read may look \
                 at it, and changes go to who leads"
            ),
        )
        .with_reason(reason)
        .with("path", name)
    }

    /// Reads the manifest; `None` when there is none.
    pub(crate) fn read(storage: &dyn Storage) -> Result<Option<Manifest>> {
        let failed = |error: io::Error| io_error("reading MANIFEST", error);
        let file = match storage.open_to_read(MANIFEST) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let length = file.len().map_err(failed)?;
        if length > MANIFEST_BYTES_MAX {
            return Err(corrupt(MANIFEST, 0, "the manifest is too large"));
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        let read = file.read_full_at(&mut bytes, 0).map_err(failed)?;
        bytes.truncate(read);
        Manifest::decode(&bytes).map(Some)
    }

    /// Reads the manifest's bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Manifest> {
        let damaged = |what: &str| corrupt(MANIFEST, 0, what);
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("it is not UTF-8"))?;
        let (json, rest) = text.split_once('\n').ok_or_else(|| damaged("it is cut off"))?;
        let stored = u32::from_str_radix(rest.trim_end(), 16).ok();
        if stored != Some(crc32c::crc32c(json.as_bytes())) {
            return Err(damaged("the checksum does not match"));
        }
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let format: Format =
            serde_json::from_str(json).map_err(|error| damaged(&error.to_string()))?;
        if format.format > MANIFEST_FORMAT {
            let what = Newer::Format(format.format, MANIFEST_FORMAT);
            return Err(newer_format(MANIFEST, 0, what));
        }
        let manifest: Manifest =
            serde_json::from_str(json).map_err(|error| damaged(&error.to_string()))?;
        let in_range = (1..=OFFSET_MAX).contains(&manifest.first_offset)
            && (1..=OFFSET_MAX).contains(&manifest.first_segment)
            && manifest.last_segment <= OFFSET_MAX
            && manifest.durable_offset <= OFFSET_MAX
            && manifest.boundaries.iter().all(|boundary| *boundary <= OFFSET_MAX)
            && manifest.history.iter().all(|begins| begins.first <= OFFSET_MAX);
        if !in_range || !manifest.history.is_ordered() {
            return Err(damaged("a number is out of range"));
        }
        match (manifest.role, manifest.node_id) {
            (Role::Alone, 0) => Ok(manifest),
            (Role::Replica | Role::Member, node) if node > 0 => Ok(manifest),
            _ => Err(newer_format(MANIFEST, 0, Newer::Role)),
        }
    }

    /// The file: JSON and its checksum, a line each.
    pub(crate) fn text(&self) -> serde_json::Result<String> {
        let mut text = serde_json::to_string(self)?;
        let checksum = crc32c::crc32c(text.as_bytes());
        text.push_str(&format!("\n{checksum:08x}\n"));
        Ok(text)
    }

    /// Replaces the manifest: after a crash there is the old one or the new one.
    pub(crate) fn write(&self, storage: &dyn Storage) -> io::Result<()> {
        let text = self.text()?;
        remove_if_there(storage, MANIFEST_TEMPORARY)?;
        let file = storage.create(MANIFEST_TEMPORARY)?;
        file.write_all_at(text.as_bytes(), 0)?;
        file.sync_data()?;
        storage.rename(MANIFEST_TEMPORARY, MANIFEST)?;
        if guards::enabled(Safeguard::DirectorySync) {
            storage.sync_dir("")?;
        }
        Ok(())
    }
}

/// The manifest on the disk: compactions replace it, and the writer marks each new segment in it.
pub(crate) struct ManifestFile {
    storage: Arc<dyn Storage>,
    written: Mutex<Manifest>,
}

impl ManifestFile {
    pub(crate) fn new(storage: Arc<dyn Storage>, written: Manifest) -> ManifestFile {
        ManifestFile { storage, written: Mutex::new(written) }
    }

    /// As it is on the disk, or would be.
    pub(crate) fn current(&self) -> Manifest {
        self.written.lock().clone()
    }

    /// Replaces it. How far the log reaches is known here: at least so far is on the disk, by now.
    pub(crate) fn replace(&self, next: &mut Manifest, durable: Offset) -> io::Result<()> {
        let mut written = self.written.lock();
        next.last_segment = written.last_segment;
        next.durable_offset = durable.max(written.durable_offset);
        self.write(&mut written, next.clone())
    }

    /// Expects no more of the log than this: what is behind it is about to be cut off.
    pub(crate) fn mark_cut(&self, number: u64, last: Offset) -> io::Result<()> {
        let mut written = self.written.lock();
        let next = Manifest {
            last_segment: number,
            durable_offset: last.min(written.durable_offset),
            ..written.clone()
        };
        if *written == next { Ok(()) } else { self.write(&mut written, next) }
    }

    /// Notes that a segment begins, behind changes that are on the disk: should it be missing one day,
    /// that is seen.
    pub(crate) fn mark_segment(&self, number: u64, durable: Offset) -> io::Result<()> {
        let mut written = self.written.lock();
        let next = Manifest {
            last_segment: number,
            durable_offset: durable.max(written.durable_offset),
            ..written.clone()
        };
        self.write(&mut written, next)
    }

    /// What is there belongs to a node of a group from now on.
    pub(crate) fn join(&self, next: &mut Manifest, node: u16, role: Role) -> io::Result<()> {
        (next.node_id, next.role) = (node, role);
        self.replace(next, 0)
    }

    fn write(&self, written: &mut Manifest, next: Manifest) -> io::Result<()> {
        if !self.storage.is_volatile() {
            next.write(&*self.storage)?;
        }
        *written = next;
        Ok(())
    }
}

/// A manifest that was to be there is not.
pub(crate) fn missing() -> Error {
    corrupt(MANIFEST, 0, "the manifest is missing")
}

/// Bytes as lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_and_newer_formats_are_refused() {
        let storage = crate::storage::MemoryStorage::new();
        assert_eq!(Manifest::read(&storage).unwrap(), None);
        let mut manifest = Manifest::new([0xab; 16]);
        manifest.write(&storage).unwrap();
        assert_eq!(Manifest::read(&storage).unwrap(), Some(manifest.clone()));
        assert_eq!(manifest.database().unwrap(), [0xab; 16]);
        let file = storage.open(MANIFEST).unwrap();
        file.write_all_at(b"!", 20).unwrap();
        assert_eq!(Manifest::read(&storage).unwrap_err().reason(), Some("corrupt"));
        manifest.format = 3;
        manifest.write(&storage).unwrap();
        assert_eq!(Manifest::read(&storage).unwrap_err().reason(), Some("newer_format"));
    }
}
