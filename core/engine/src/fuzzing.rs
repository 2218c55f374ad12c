//! What fuzzing does with the bytes of files: opens a database that has them and uses it.
//!
//! Whatever the bytes are, the answer is a database or an error: never a panic, never an endless loop,
//! never memory for a length that was only claimed. Checksums are set right first, so that what lies
//! behind them is reached. Nothing here is part of the interface.

use std::io;
use std::sync::Arc;

use rstmdb_types::*;

use crate::checkpoint::{CHECKPOINT_DIRECTORY, checkpoint_path};
use crate::codec::u32_at;
use crate::log::frame::{FRAME_HEADER_BYTES, FRAME_TRAILER_BYTES, FrameHeader, seal};
use crate::log::segment::{LOG_DIRECTORY, SegmentHeader, database_seed, segment_path};
use crate::manifest::{CheckpointEntry, MANIFEST, Manifest};
use crate::storage::{MemoryStorage, Storage};
use crate::{Background, Engine, Location, Options};

const DATABASE: [u8; 16] = *b"fuzzing database";
/// The frames follow each other as they should.
const CHAIN: u8 = 1;
/// The checksums are left as they are.
const RAW: u8 = 2;

/// The frames of a segment. The first byte says what is set right before.
pub fn log(data: &[u8]) {
    let Some((mode, body)) = data.split_first() else { return };
    let frames = if mode & RAW == 0 { seal_frames(body, mode & CHAIN != 0) } else { body.to_vec() };
    let _ = open(&Manifest::new(DATABASE), 1, &frames, None);
}

/// A checkpoint. The first byte says whether its checksums are set right before.
pub fn checkpoint(data: &[u8]) {
    let Some((mode, body)) = data.split_first() else { return };
    let body = if mode & RAW == 0 { seal_checkpoint(body) } else { body.to_vec() };
    let offset = body.get(32..40).and_then(|bytes| bytes.try_into().ok());
    let offset = offset.map_or(0, u64::from_le_bytes);
    let mut manifest = Manifest::new(DATABASE);
    manifest.checkpoints.push(CheckpointEntry {
        file: "000000000001.ckpt".to_owned(),
        offset,
        instances: 0,
        bytes: 0,
    });
    let _ = open(&manifest, offset.saturating_add(1), &[], Some(&body));
}

/// A manifest: its JSON, the checksum is added.
pub fn manifest(data: &[u8]) {
    let mut text = data.to_vec();
    text.extend_from_slice(format!("\n{:08x}\n", crc32c::crc32c(data)).as_bytes());
    let first = Manifest::decode(&text).map_or(1, |manifest| manifest.first_offset);
    let write = |storage: &MemoryStorage| put(storage, MANIFEST, &text);
    let _ = open_with(write, first, &[], None);
}

fn open(
    manifest: &Manifest,
    first: Offset,
    frames: &[u8],
    checkpoint: Option<&[u8]>,
) -> io::Result<()> {
    open_with(|storage| manifest.write(storage), first, frames, checkpoint)
}

fn open_with(
    write_manifest: impl FnOnce(&MemoryStorage) -> io::Result<()>,
    first: Offset,
    frames: &[u8],
    checkpoint: Option<&[u8]>,
) -> io::Result<()> {
    let storage = MemoryStorage::new();
    for directory in [LOG_DIRECTORY, CHECKPOINT_DIRECTORY] {
        storage.create_dir(directory)?;
    }
    write_manifest(&storage)?;
    let header =
        SegmentHeader { database: DATABASE, number: 1, first, previous: 0, key: 0, created_at: 0 };
    let segment = [&header.encode(), frames].concat();
    put(&storage, &segment_path(1), &segment)?;
    if let Some(checkpoint) = checkpoint {
        put(&storage, &checkpoint_path("000000000001.ckpt"), checkpoint)?;
    }
    let location = Location { storage: Arc::new(storage), ..Location::memory() };
    let options = Options {
        background: Background::Inline,
        partitions: 2,
        progress: None,
        free_bytes_min: 0,
        ..Options::default()
    };
    // What can't be repaired by itself is reported; that is an answer too.
    let _ = crate::maintenance::verify(&location);
    if let Ok(engine) = Engine::open(location, options) {
        use_it(&engine);
        let _ = engine.close();
    }
    Ok(())
}

/// Reads all that there is, and writes something.
fn use_it(engine: &Engine) {
    let _ = engine.info(InfoRequest {}).wait();
    let _ = engine.list_machines(ListMachinesRequest {}).wait();
    let _ = engine.count_instances(CountInstancesRequest::default()).wait();
    let list = engine.list_instances(ListInstancesRequest::default()).wait();
    for instance in list.map(|list| list.instances).unwrap_or_default() {
        let _ = engine.get_instance(GetInstanceRequest { instance_id: instance.id.clone() }).wait();
        let _ = engine.history(HistoryRequest::new(instance.id.clone())).wait();
        let request = ApplyEventRequest::new(instance.id.clone(), "GO");
        let _ = engine.apply_event(request.with_payload(Json::empty_object())).wait();
        let request = DeleteInstanceRequest { instance_id: instance.id, idempotency_key: None };
        let _ = engine.delete_instance(request).wait();
    }
    let _ = engine.wal_read(WalReadRequest { from_offset: 1, limit: None }).wait();
    let _ = engine.compact(CompactRequest { force_snapshot: true }).wait();
}

fn put(storage: &MemoryStorage, path: &str, bytes: &[u8]) -> io::Result<()> {
    storage.create(path)?.write_all_at(bytes, 0)
}

/// Makes frames of what could be some: lengths that fit, magic and checksum.
fn seal_frames(bytes: &[u8], chain: bool) -> Vec<u8> {
    let seed = database_seed(&DATABASE);
    let mut out = Vec::with_capacity(bytes.len());
    let (mut rest, mut next, mut previous) = (bytes, 1, 0);
    while rest.len() > FRAME_HEADER_BYTES + FRAME_TRAILER_BYTES {
        let room = rest.len() - FRAME_HEADER_BYTES - FRAME_TRAILER_BYTES;
        let payload_bytes = u32_at(rest, 8).unwrap_or_default().min(room as u32);
        let field = |at| crate::codec::u64_at(rest, at).unwrap_or_default();
        let count = u32_at(rest, 12).unwrap_or_default();
        let header = FrameHeader {
            payload_bytes,
            count,
            first: if chain { next } else { field(16) },
            synced: field(24),
            previous: if chain { previous } else { u32_at(rest, 32).unwrap_or_default() },
        };
        let end = FRAME_HEADER_BYTES + payload_bytes as usize;
        let mut frame = rest.get(..end).unwrap_or_default().to_vec();
        previous = seal(&mut frame, &header, seed);
        next = header.first.wrapping_add(u64::from(count));
        out.extend_from_slice(&frame);
        rest = rest.get(end + FRAME_TRAILER_BYTES..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}

/// Sets the checksums of the header, of every block and of the footer.
fn seal_checkpoint(bytes: &[u8]) -> Vec<u8> {
    const HEADER: usize = 64;
    const BLOCK_HEADER: usize = 16;
    let mut out = bytes.to_vec();
    let put_u32 = |out: &mut Vec<u8>, at: usize, value: u32| {
        if let Some(place) = out.get_mut(at..at + 4) {
            place.copy_from_slice(&value.to_le_bytes());
        }
    };
    if let Some(magic) = out.get_mut(..12) {
        magic.copy_from_slice(b"RSTMCKP\n\x01\0\0\0");
    }
    if let Some(id) = out.get_mut(16..32) {
        id.copy_from_slice(&DATABASE);
    }
    let mut whole = crc32c::crc32c(out.get(..HEADER - 4).unwrap_or_default());
    put_u32(&mut out, HEADER - 4, whole);
    let mut at = HEADER;
    while at + BLOCK_HEADER <= out.len() {
        let length = u32_at(&out, at).unwrap_or_default() as usize;
        let end = at.saturating_add(BLOCK_HEADER).saturating_add(length).min(out.len());
        put_u32(&mut out, at, (end - at - BLOCK_HEADER) as u32);
        let is_footer = out.get(at + 4) == Some(&9);
        if is_footer {
            put_u32(&mut out, at + BLOCK_HEADER + 24, whole);
        }
        let head = crc32c::crc32c(out.get(at..at + 12).unwrap_or_default());
        let payload = out.get(at + BLOCK_HEADER..end).unwrap_or_default();
        let checksum = crc32c::crc32c_append(head, payload);
        put_u32(&mut out, at + 12, checksum);
        whole = crc32c::crc32c_append(whole, &checksum.to_le_bytes());
        at = end;
    }
    out
}

#[cfg(test)]
#[path = "fuzzing_tests.rs"]
mod tests;
