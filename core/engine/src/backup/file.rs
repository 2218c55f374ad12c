//! Checking the bytes of a backup as they come, whole or in part.

use std::io::Read;

use rstmdb_types::{BackupResult, Result};
use xxhash_rust::xxh3::Xxh3;

use super::format::{
    BACKUP_FORMAT, Description, HEADER_BYTES, SECTION_HEADER_BYTES, SectionHeader, SectionKind,
    SectionLayout, SectionPlace, damaged, digest_payload, payload, read_description, read_header,
    section_name,
};
use crate::error::{Newer, newer_format};

const READ_BYTES: usize = 1 << 20;

/// The bytes of a backup so far, checked section by section.
pub struct CheckedBytes {
    /// What it is called in messages.
    name: String,
    /// The bytes of whole sections.
    whole: u64,
    /// What is behind them.
    rest: Vec<u8>,
    described: Option<Described>,
    hash: Box<Xxh3>,
    digest: Option<u128>,
}

struct Described {
    description: Description,
    layout: SectionLayout,
}

impl std::fmt::Debug for CheckedBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CheckedBytes({} up to byte {})", self.name, self.whole)
    }
}

impl CheckedBytes {
    /// Nothing yet.
    pub fn new(name: impl Into<String>) -> CheckedBytes {
        let hash = Box::new(Xxh3::new());
        let name = name.into();
        CheckedBytes { name, whole: 0, rest: Vec::new(), described: None, hash, digest: None }
    }

    /// Takes the bytes that come next.
    ///
    /// Errors: reason `corrupt`, context `position`, when they are not what a backup has there; reason `newer_format`.
    /// What was whole before stays.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.rest.extend_from_slice(bytes);
        while let Some(taken) = self.step()? {
            let part = self.rest.get(..taken).unwrap_or_default();
            self.hash.update(part);
            self.rest.drain(..taken);
            self.whole += taken as u64;
        }
        Ok(())
    }

    /// How many bytes are whole sections.
    pub fn whole(&self) -> u64 {
        self.whole
    }

    /// Forgets what came behind the last whole section.
    pub fn forget_rest(&mut self) {
        self.rest = Vec::new();
    }

    /// What it is a backup of, once that much is there; a piece without bytes.
    pub fn about(&self) -> Option<BackupResult> {
        let Described { description, layout, .. } = self.described.as_ref()?;
        Some(description.piece(layout.end(), self.whole, &[]))
    }

    /// The digest of all of it, 32 hex digits; nothing before the end.
    pub fn digest(&self) -> Option<String> {
        self.digest.map(|digest| format!("{digest:032x}"))
    }

    /// Refuses what is not whole.
    pub fn finish(&self) -> Result<()> {
        if self.digest.is_some() {
            return Ok(());
        }
        let have = self.whole + self.rest.len() as u64;
        let what = match (&self.described, self.whole) {
            (Some(described), _) => {
                let next = described.layout.at(self.whole);
                let next = next.map(|place| section_name(&place, Some(&described.description)));
                let (next, size) = (next.unwrap_or_default(), described.layout.end());
                format!("it is cut off in {next}: it has {have} of {size} bytes")
            }
            (None, 0) => "it is cut off in its header".to_owned(),
            (None, _) => "it is cut off in section 0, the description".to_owned(),
        };
        Err(damaged(&self.name, self.whole, &what))
    }

    pub(super) fn described(self) -> Option<(Description, SectionLayout)> {
        self.described.map(|described| (described.description, described.layout))
    }

    /// Checks what comes next, if all of it is there; says how long it is.
    fn step(&mut self) -> Result<Option<usize>> {
        if self.digest.is_some() {
            return match self.rest.is_empty() {
                true => Ok(None),
                false => Err(damaged(&self.name, self.whole, "there are bytes behind its end")),
            };
        }
        if self.whole == 0 {
            return self.header();
        }
        let Some(header) = SectionHeader::read(&self.rest) else { return Ok(None) };
        let place = self.described.as_ref().map(|described| described.layout.at(self.whole));
        let payload_bytes = match place {
            None if !header.may_describe() => {
                let what = "section 0, the description, does not begin here";
                return Err(damaged(&self.name, self.whole, what));
            }
            Some(Some(place)) if !header.is_at(&place) => {
                return Err(self.bad(&place, "does not begin here"));
            }
            _ => header.payload as usize,
        };
        let length = SECTION_HEADER_BYTES + payload_bytes;
        if self.rest.len() < length {
            return Ok(None);
        }
        let Some(payload) = payload(self.rest.get(..length).unwrap_or_default()) else {
            let what = "has a checksum that does not match";
            return Err(match place.flatten() {
                Some(place) => self.bad(&place, what),
                None => {
                    damaged(&self.name, self.whole, &format!("section 0, the description, {what}"))
                }
            });
        };
        if self.described.is_none() {
            let description = read_description(payload)
                .map_err(|error| damaged(&self.name, self.whole, &format!("section 0: {error}")))?;
            let layout =
                SectionLayout::of(&description, payload_bytes as u64).ok_or_else(|| {
                    damaged(&self.name, self.whole, "section 0 tells sizes that can't be")
                })?;
            self.described = Some(Described { description, layout });
            return Ok(Some(length));
        }
        if let Some(Some(place)) = place
            && place.kind == SectionKind::Digest
        {
            let digest = self.hash.digest128();
            if *payload != *digest_payload(self.whole, digest) {
                return Err(self.bad(&place, "is not that of the bytes before it"));
            }
            self.digest = Some(digest);
        }
        Ok(Some(length))
    }

    fn header(&self) -> Result<Option<usize>> {
        let length = HEADER_BYTES as usize;
        let Some(header) = self.rest.get(..length) else { return Ok(None) };
        match read_header(header) {
            Some(BACKUP_FORMAT) => Ok(Some(length)),
            Some(newer) if newer > BACKUP_FORMAT => {
                Err(newer_format(&self.name, 0, Newer::Format(newer, BACKUP_FORMAT)))
            }
            _ => {
                let what = "it does not begin as a backup does; is it one?";
                Err(damaged(&self.name, 0, what))
            }
        }
    }

    fn bad(&self, place: &SectionPlace, what: &str) -> rstmdb_types::Error {
        let description = self.described.as_ref().map(|described| &described.description);
        let name = section_name(place, description);
        damaged(&self.name, place.position, &format!("{name}, {what}"))
    }
}

/// What a file has of a backup that was interrupted.
#[derive(Debug)]
pub struct PartialBackup {
    /// The whole sections it begins with.
    pub contents: CheckedBytes,
    /// Why there are no more, but for the end of the file.
    pub damage: Option<rstmdb_types::Error>,
}

impl PartialBackup {
    /// Reads the file to its end, or to where it is no backup.
    pub fn read(name: &str, file: &mut dyn Read) -> std::io::Result<PartialBackup> {
        let mut contents = CheckedBytes::new(name);
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let read = match file.read(&mut buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            let damage = contents.push(buffer.get(..read).unwrap_or_default()).err();
            if read == 0 || damage.is_some() {
                contents.forget_rest();
                return Ok(PartialBackup { contents, damage });
            }
        }
    }
}
