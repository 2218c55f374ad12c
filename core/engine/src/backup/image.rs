//! A backup as the bytes of its file, made when they are asked for.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use rstmdb_types::error::reason;
use rstmdb_types::{BackupResult, Error, Result};
use xxhash_rust::xxh3::Xxh3;

use super::format::{
    Description, FileEntry, HEADER_BYTES, SectionKind, SectionLayout, SectionPlace, digest_payload,
    header, section,
};
use super::id::gone;
use super::view::ViewedFile;
use crate::error::{corrupt, io as io_error};

/// A piece of a backup when none is said, and at most.
const PIECE_BYTES: u32 = 1 << 20;
const PIECE_BYTES_MAX: u32 = 4 << 20;

/// A backup that is being read.
pub(crate) struct Image {
    pub description: Description,
    description_bytes: Vec<u8>,
    files: Vec<ViewedFile>,
    layout: SectionLayout,
    made: Mutex<Made>,
}

/// The section that was made last, and the digest up to somewhere.
struct Made {
    section: Option<(u32, Arc<Vec<u8>>)>,
    hashed: u64,
    digest: Box<Xxh3>,
}

impl Image {
    pub(crate) fn new(mut description: Description, files: Vec<ViewedFile>) -> Result<Image> {
        let entry = |file: &ViewedFile| FileEntry { name: file.name.clone(), bytes: file.bytes };
        description.files = files.iter().map(entry).collect();
        let description_bytes = serde_json::to_vec(&description)
            .map_err(|error| io_error("describing a backup", error.into()))?;
        let layout = SectionLayout::of(&description, description_bytes.len() as u64);
        let layout = layout.ok_or_else(|| {
            Error::invalid(reason::LIMIT_EXCEEDED, "the database is too large for one backup")
        })?;
        let mut digest = Box::new(Xxh3::new());
        digest.update(&header());
        let made = Made { section: None, hashed: HEADER_BYTES, digest };
        let made = Mutex::new(made);
        Ok(Image { description, description_bytes, files, layout, made })
    }

    /// The bytes of all of it.
    pub(crate) fn bytes(&self) -> u64 {
        self.layout.end()
    }

    /// The piece that begins at `position`.
    pub(crate) fn piece(&self, position: u64, bytes_max: Option<u32>) -> Result<BackupResult> {
        let most = bytes_max.unwrap_or(PIECE_BYTES).min(PIECE_BYTES_MAX);
        let refused = |field: &str, message: String| {
            Error::invalid(reason::INVALID_REQUEST, message).with("field", field)
        };
        if most == 0 {
            let message = "bytes_max is 0, so there would be no piece; leave it out".to_owned();
            return Err(refused("bytes_max", message));
        }
        let size_bytes = self.bytes();
        if position >= size_bytes {
            let message = format!("position is {position}, but the backup has {size_bytes} bytes");
            return Err(refused("position", message));
        }
        let bytes = self.read(position, most as usize)?;
        Ok(self.description.piece(size_bytes, position, &bytes))
    }

    /// Some bytes, fewer only at the end.
    pub(crate) fn read(&self, position: u64, most: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut at = position;
        while bytes.len() < most {
            let left = most - bytes.len();
            let before = bytes.len();
            let take = |begin: u64, part: &[u8], out: &mut Vec<u8>| {
                let from = usize::try_from(at - begin).unwrap_or(usize::MAX);
                out.extend(part.get(from..).unwrap_or_default().iter().take(left));
            };
            if at < HEADER_BYTES {
                take(0, &header(), &mut bytes);
            } else if let Some(place) = self.layout.at(at) {
                take(place.position, &self.section(&place, &mut self.made.lock())?, &mut bytes);
            }
            if bytes.len() == before {
                break;
            }
            at = position + bytes.len() as u64;
        }
        Ok(bytes)
    }

    fn section(&self, place: &SectionPlace, made: &mut Made) -> Result<Arc<Vec<u8>>> {
        match &made.section {
            Some((number, bytes)) if *number == place.number => return Ok(bytes.clone()),
            _ => {}
        }
        if place.kind == SectionKind::Digest {
            // Who goes on in the middle has not asked for what is before.
            while let Some(before) = self.layout.at(made.hashed).filter(|at| at != place) {
                self.section(&before, made)?;
            }
        }
        let payload = match place.kind {
            SectionKind::Description => self.description_bytes.clone(),
            SectionKind::Bytes => self.payload(place)?,
            SectionKind::Digest => digest_payload(place.position, made.digest.digest128()),
        };
        let bytes = Arc::new(section(place.kind, place.number, &payload));
        if place.position == made.hashed {
            made.digest.update(&bytes);
            made.hashed = place.end();
        }
        made.section = Some((place.number, bytes.clone()));
        Ok(bytes)
    }

    fn payload(&self, place: &SectionPlace) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(place.payload).unwrap_or_default()];
        let Some(ViewedFile { name, file, .. }) = self.files.get(place.file) else {
            return Err(corrupt("backup", 0, "a file is missing"));
        };
        let read =
            file.read_full_at(&mut bytes, place.file_position).map_err(|error| {
                match error.kind() {
                    io::ErrorKind::NotFound => {
                        let why = format!("{name} was deleted meanwhile");
                        gone(&self.description.backup_id, &why)
                    }
                    _ => io_error(&format!("reading {name}"), error),
                }
            })?;
        if read < bytes.len() {
            return Err(corrupt(name, place.file_position + read as u64, "the file is cut off"));
        }
        Ok(bytes)
    }
}
