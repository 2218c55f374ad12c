//! The bytes of a backup: a header, sections with a checksum each, and a digest over all of it.
//!
//! ```text
//! header    magic `RSTMBKP\n` (8), format (4), CRC-32C of these (4)
//! section   kind (4), bytes of the payload (4), number (4), CRC-32C of these and the payload (4), payload
//! ```
//!
//! Section 0 describes: JSON with the names and sizes of the files. Then come their bytes, a section to each MiB, a
//! file begins a new one. The last section is the digest: the bytes before it (8) and their XXH3 (16). So the
//! description tells the place of everything, and a piece that is missing, moved or doubled is noticed.

use rstmdb_types::error::reason;
use rstmdb_types::{BackupResult, Error, ErrorCode, Offset, TimestampMs};
use serde::{Deserialize, Serialize};

use crate::codec::u32_at;

const MAGIC: [u8; 8] = *b"RSTMBKP\n";
pub(super) const BACKUP_FORMAT: u32 = 1;
pub(super) const HEADER_BYTES: u64 = 16;
pub(super) const SECTION_HEADER_BYTES: usize = 16;
/// The payload of a section of a file, but for its last.
pub(super) const PAYLOAD_BYTES: u64 = 1 << 20;
/// The largest description; checked before memory is taken for one.
const DESCRIPTION_BYTES_MAX: u32 = 16 << 20;
pub(super) const DIGEST_BYTES: u64 = 24;

/// What a section holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum SectionKind {
    Description = 1,
    Bytes = 2,
    Digest = 9,
}

/// What a backup is of, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Description {
    pub backup_id: String,
    pub database_id: String,
    /// The history of the last change.
    pub history_id: Option<String>,
    pub checkpoint_offset: Offset,
    pub last_offset: Offset,
    pub last_at: Option<TimestampMs>,
    pub begun_at: TimestampMs,
    /// In the order of their bytes.
    pub files: Vec<FileEntry>,
}

impl Description {
    /// Some bytes of the backup, with what it is of.
    pub(super) fn piece(&self, size_bytes: u64, position: u64, bytes: &[u8]) -> BackupResult {
        let next = position + bytes.len() as u64;
        BackupResult {
            backup_id: self.backup_id.as_str().into(),
            database_id: self.database_id.as_str().into(),
            history_id: self.history_id.as_deref().map(Into::into),
            checkpoint_offset: self.checkpoint_offset,
            last_offset: self.last_offset,
            last_at: self.last_at,
            begun_at: self.begun_at,
            size_bytes,
            position,
            data: BackupResult::encode(bytes),
            next_position: (next < size_bytes).then_some(next),
        }
    }
}

/// A file in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileEntry {
    pub name: String,
    pub bytes: u64,
}

/// Where a section is, and of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SectionPlace {
    pub kind: SectionKind,
    pub number: u32,
    /// Where its header begins in the backup.
    pub position: u64,
    pub payload: u64,
    /// The file, and where the payload begins there.
    pub file: usize,
    pub file_position: u64,
}

impl SectionPlace {
    pub(super) fn end(&self) -> u64 {
        self.position + SECTION_HEADER_BYTES as u64 + self.payload
    }
}

/// Where the sections of a backup are.
#[derive(Debug, Clone)]
pub(super) struct SectionLayout {
    description_bytes: u64,
    files: Vec<FilePlace>,
    /// Where the digest is, and its number.
    digest: (u64, u32),
}

/// Where the first section of a file begins, its number, and the bytes of the file.
#[derive(Debug, Clone, Copy)]
struct FilePlace {
    position: u64,
    number: u32,
    bytes: u64,
}

const SECTION_BYTES: u64 = SECTION_HEADER_BYTES as u64 + PAYLOAD_BYTES;

impl SectionLayout {
    /// Of a description of so many bytes; nothing when sizes make no sense.
    pub(super) fn of(description: &Description, description_bytes: u64) -> Option<SectionLayout> {
        let mut position = HEADER_BYTES + SECTION_HEADER_BYTES as u64 + description_bytes;
        let mut number = 1_u32;
        let mut files = Vec::new();
        for entry in &description.files {
            files.push(FilePlace { position, number, bytes: entry.bytes });
            let sections = entry.bytes.div_ceil(PAYLOAD_BYTES);
            let headers = sections.checked_mul(SECTION_HEADER_BYTES as u64)?;
            position = position.checked_add(entry.bytes)?.checked_add(headers)?;
            number = number.checked_add(u32::try_from(sections).ok()?)?;
        }
        position.checked_add(SECTION_BYTES)?;
        Some(SectionLayout { description_bytes, files, digest: (position, number) })
    }

    /// The bytes of the whole backup.
    pub(super) fn end(&self) -> u64 {
        self.digest.0 + SECTION_HEADER_BYTES as u64 + DIGEST_BYTES
    }

    /// Where a file begins.
    pub(super) fn begin(&self, file: usize) -> u64 {
        self.files.get(file).map_or(0, |file| file.position)
    }

    /// The section that a byte is in; nothing in front of the first and behind the last.
    pub(super) fn at(&self, position: u64) -> Option<SectionPlace> {
        let description = SectionPlace {
            kind: SectionKind::Description,
            number: 0,
            position: HEADER_BYTES,
            payload: self.description_bytes,
            file: 0,
            file_position: 0,
        };
        if position < description.end() {
            return (position >= HEADER_BYTES).then_some(description);
        }
        let (digest, number) = self.digest;
        if position >= digest {
            let (kind, payload) = (SectionKind::Digest, DIGEST_BYTES);
            let place =
                SectionPlace { kind, number, position: digest, payload, file: 0, file_position: 0 };
            return (position < self.end()).then_some(place);
        }
        // One without bytes begins where the next does.
        let file = self.files.partition_point(|file| file.position <= position).checked_sub(1)?;
        let of = self.files.get(file)?;
        let section = (position - of.position) / SECTION_BYTES;
        let file_position = section * PAYLOAD_BYTES;
        Some(SectionPlace {
            kind: SectionKind::Bytes,
            number: of.number + u32::try_from(section).ok()?,
            position: of.position + section * SECTION_BYTES,
            payload: of.bytes.saturating_sub(file_position).min(PAYLOAD_BYTES),
            file,
            file_position,
        })
    }
}

pub(super) fn header() -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&BACKUP_FORMAT.to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

/// The format that a header tells; nothing when it is none.
pub(super) fn read_header(bytes: &[u8]) -> Option<u32> {
    let covered = bytes.get(..12)?;
    let is_one = covered.starts_with(&MAGIC) && u32_at(bytes, 12)? == crc32c::crc32c(covered);
    is_one.then(|| u32_at(bytes, 8))?
}

/// Puts the header in front of a payload.
pub(super) fn section(kind: SectionKind, number: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SECTION_HEADER_BYTES + payload.len());
    for field in [kind as u32, payload.len() as u32, number] {
        bytes.extend_from_slice(&field.to_le_bytes());
    }
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&bytes), payload);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// The header of a section.
#[derive(Debug, Clone, Copy)]
pub(super) struct SectionHeader {
    pub kind: u32,
    pub payload: u32,
    pub number: u32,
}

impl SectionHeader {
    pub(super) fn read(bytes: &[u8]) -> Option<SectionHeader> {
        Some(SectionHeader {
            kind: u32_at(bytes, 0)?,
            payload: u32_at(bytes, 4)?,
            number: u32_at(bytes, 8)?,
        })
    }

    /// Whether a description may be this long.
    pub(super) fn may_describe(&self) -> bool {
        let is_one = self.kind == SectionKind::Description as u32 && self.number == 0;
        is_one && self.payload <= DESCRIPTION_BYTES_MAX
    }

    /// Whether it is the one that belongs at a place.
    pub(super) fn is_at(&self, place: &SectionPlace) -> bool {
        let found = (self.kind, u64::from(self.payload), self.number);
        found == (place.kind as u32, place.payload, place.number)
    }
}

/// The payload of a whole section, if its checksum is right.
pub(super) fn payload(section: &[u8]) -> Option<&[u8]> {
    let payload = section.get(SECTION_HEADER_BYTES..)?;
    let covered = crc32c::crc32c(section.get(..12)?);
    (crc32c::crc32c_append(covered, payload) == u32_at(section, 12)?).then_some(payload)
}

/// What the last section says of the bytes before it.
pub(super) fn digest_payload(bytes: u64, digest: u128) -> Vec<u8> {
    [&bytes.to_le_bytes()[..], &digest.to_le_bytes()].concat()
}

/// Bytes of a backup are not what was written.
pub(super) fn damaged(name: &str, position: u64, what: &str) -> Error {
    let message =
        format!("the backup {name} is damaged at byte {position}: {what}; take another one");
    Error::new(ErrorCode::InternalError, message)
        .with_reason(reason::CORRUPT)
        .with("backup", name)
        .with("file", name)
        .with("position", position)
}

/// What a section is called in messages.
pub(super) fn section_name(place: &SectionPlace, description: Option<&Description>) -> String {
    let SectionPlace { number, file_position, payload, .. } = place;
    let file = description.and_then(|description| description.files.get(place.file));
    match (place.kind, file) {
        (SectionKind::Bytes, Some(file)) => {
            let (name, end) = (&file.name, file_position + payload);
            format!("section {number}, bytes {file_position} to {end} of {name}")
        }
        (SectionKind::Digest, _) => format!("section {number}, the digest"),
        _ => format!("section {number}, the description"),
    }
}

/// Reads what a backup says of itself.
pub(super) fn read_description(payload: &[u8]) -> std::result::Result<Description, String> {
    let description: Description =
        serde_json::from_slice(payload).map_err(|error| error.to_string())?;
    let is_name = |name: &str| {
        let parts: Vec<&str> = name.split('/').collect();
        let is_part = |part: &&str| !part.is_empty() && !part.starts_with('.');
        parts.len() <= 2 && parts.iter().all(is_part)
    };
    match description.files.iter().find(|file| !is_name(&file.name)) {
        Some(file) => Err(format!("{:?} is no name of a file in a backup", file.name)),
        None => Ok(description),
    }
}
