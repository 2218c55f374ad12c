//! What fuzzing does with the bytes of files: opens a database that has them and uses it.
//!
//! Whatever the bytes are, the answer is a database or an error: never a panic, never an endless loop,
//! never memory for a length that was only claimed. Checksums are set right first, so that what lies
//! behind them is reached. Nothing here is part of the interface.

use std::io;
use std::sync::Arc;

use rstmdb_types::*;

use crate::backup::view::TextFile;
use crate::backup::{Archive, RestoreTo, rehearse};
use crate::checkpoint::{CHECKPOINT_DIRECTORY, checkpoint_path};
use crate::codec::u32_at;
use crate::log::Sealer;
use crate::log::frame::{DATA, FRAME_HEADER_BYTES, FRAME_TRAILER_BYTES, FrameHeader, seal};
use crate::log::segment::{LOG_DIRECTORY, SEGMENT_FORMAT, SegmentHeader, segment_path};
use crate::log::tip::Tip;
use crate::manifest::{CheckpointEntry, MANIFEST, Manifest};
use crate::storage::{MemoryStorage, Storage};
use crate::{Background, Engine, Location, Options};

const DATABASE: [u8; 16] = *b"fuzzing database";
/// The frames follow each other as they should.
const CHAIN: u8 = 1;
/// The checksums are left as they are.
const RAW: u8 = 2;
/// The files are of format 2.
const FORMAT_2: u8 = 4;

/// The frames of a segment. The first byte says what is set right before, and the format.
pub fn log(data: &[u8]) {
    let Some((mode, body)) = data.split_first() else { return };
    let chain = mode & CHAIN != 0;
    let frames = match mode & (RAW | FORMAT_2) {
        0 => seal_frames_1(body, chain),
        FORMAT_2 => seal_frames(body, chain),
        _ => body.to_vec(),
    };
    let header = if mode & FORMAT_2 == 0 { segment_1(1) } else { segment(1) };
    let manifest = manifest_of(mode);
    let _ = open_with(|storage| manifest.write(storage), &header, &frames, None);
}

fn manifest_of(mode: &u8) -> Manifest {
    let format = if mode & FORMAT_2 == 0 { 1 } else { 2 };
    Manifest { format, ..Manifest::new(DATABASE) }
}

/// A backup. The first byte says whether checksums and digest are set right before.
pub fn backup(data: &[u8]) {
    let Some((mode, body)) = data.split_first() else { return };
    let bytes = if mode & RAW == 0 { seal_backup(body) } else { body.to_vec() };
    let Ok(archive) = Archive::of(Arc::new(TextFile(bytes)), "backup", &|_| {}) else { return };
    for to in [RestoreTo::End, RestoreTo::Offset(3), RestoreTo::Time(1_800_000_000_000)] {
        let _ = rehearse(&archive, &Location::memory(), to);
    }
}

/// Sets the checksum of each section right, and the digest at the end.
fn seal_backup(body: &[u8]) -> Vec<u8> {
    let mut bytes = body.to_vec();
    if let Some(head) = body.get(..12)
        && let Some(room) = bytes.get_mut(12..16)
    {
        room.copy_from_slice(&crc32c::crc32c(head).to_le_bytes());
    }
    let mut at = 16;
    while let Some(length) = u32_at(&bytes, at + 4) {
        let (kind, end) =
            (u32_at(&bytes, at), at.saturating_add(16).saturating_add(length as usize));
        if kind == Some(9) {
            let digest = xxhash_rust::xxh3::xxh3_128(bytes.get(..at).unwrap_or_default());
            let payload = [&(at as u64).to_le_bytes()[..], &digest.to_le_bytes()].concat();
            if let Some(room) = bytes.get_mut(at + 16..at + 40) {
                room.copy_from_slice(&payload);
            }
        }
        let Some(payload) = bytes.get(at + 16..end) else { break };
        let head = bytes.get(at..at + 12).unwrap_or_default();
        let checksum = crc32c::crc32c_append(crc32c::crc32c(head), payload);
        if let Some(room) = bytes.get_mut(at + 12..at + 16) {
            room.copy_from_slice(&checksum.to_le_bytes());
        }
        at = end;
    }
    bytes
}

/// A checkpoint. The first byte says whether its checksums are set right before, and the format.
pub fn checkpoint(data: &[u8]) {
    let Some((mode, body)) = data.split_first() else { return };
    let format = if mode & FORMAT_2 == 0 { 1 } else { 2 };
    let body = if mode & RAW == 0 { seal_checkpoint(body, format) } else { body.to_vec() };
    let offset = body.get(32..40).and_then(|bytes| bytes.try_into().ok());
    let offset = offset.map_or(0, u64::from_le_bytes);
    let mut manifest = manifest_of(mode);
    manifest.checkpoints.push(CheckpointEntry {
        file: "000000000001.ckpt".to_owned(),
        offset,
        instances: 0,
        bytes: 0,
    });
    let first = offset.saturating_add(1);
    let header = if mode & FORMAT_2 == 0 { segment_1(first) } else { segment(first) };
    let _ = open_with(|storage| manifest.write(storage), &header, &[], Some(&body));
}

/// A manifest: its JSON, the checksum is added.
pub fn manifest(data: &[u8]) {
    let mut text = data.to_vec();
    text.extend_from_slice(format!("\n{:08x}\n", crc32c::crc32c(data)).as_bytes());
    let first = Manifest::decode(&text).map_or(1, |manifest| manifest.first_offset);
    let write = |storage: &MemoryStorage| put(storage, MANIFEST, &text);
    let _ = open_with(write, &segment(first), &[], None);
}

/// A segment without frames.
fn segment(first: Offset) -> Vec<u8> {
    let header = SegmentHeader {
        format: SEGMENT_FORMAT,
        database: DATABASE,
        number: 1,
        tip: Tip { next: first, index: first, ..Tip::START },
        key: 0,
        salt: [0; 16],
        node: 0,
        created_at: 0,
    };
    header.encode()
}

/// The same of format 1.
fn segment_1(first: Offset) -> Vec<u8> {
    let mut bytes = segment(first).get(..60).unwrap_or_default().to_vec();
    if let Some(format) = bytes.get_mut(8) {
        *format = 1;
    }
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

fn open_with(
    write_manifest: impl FnOnce(&MemoryStorage) -> io::Result<()>,
    header: &[u8],
    frames: &[u8],
    checkpoint: Option<&[u8]>,
) -> io::Result<()> {
    let storage = MemoryStorage::new();
    for directory in [LOG_DIRECTORY, CHECKPOINT_DIRECTORY] {
        storage.create_dir(directory)?;
    }
    write_manifest(&storage)?;
    put(&storage, &segment_path(1), &[header, frames].concat())?;
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
    let _ = engine.wal_read(WalReadRequest::new(1)).wait();
    let _ = engine.compact(CompactRequest { force_snapshot: true }).wait();
}

fn put(storage: &MemoryStorage, path: &str, bytes: &[u8]) -> io::Result<()> {
    storage.create(path)?.write_all_at(bytes, 0)
}

/// Makes frames of what could be some: lengths that fit, magic and checksum.
fn seal_frames(bytes: &[u8], chain: bool) -> Vec<u8> {
    let sealer = Sealer::plain(&DATABASE);
    let mut out = Vec::with_capacity(bytes.len());
    let (mut rest, mut tip) = (bytes, Tip::START);
    while let Some(room) = rest.len().checked_sub(FRAME_HEADER_BYTES + FRAME_TRAILER_BYTES) {
        let length = (u32_at(rest, 8).unwrap_or_default() as usize).min(room);
        let mut frame = rest.get(..FRAME_HEADER_BYTES + length).unwrap_or_default().to_vec();
        if let Some(format) = frame.get_mut(4) {
            *format = 2;
        }
        let Some(mut header) = FrameHeader::decode(&frame) else { break };
        header.payload_bytes = length as u32;
        if chain {
            let payload = frame.get(FRAME_HEADER_BYTES..).unwrap_or_default();
            let FrameHeader { kind, flags, count, term, synced, .. } = header;
            header = match kind {
                DATA => tip.data(count, payload, synced),
                kind => tip.control(kind, payload, synced),
            };
            (header.flags, header.term) = (flags, tip.term.max(term));
        }
        let checksum = seal(&mut frame, &header, &sealer);
        if chain && header.first.checked_add(u64::from(header.count)).is_some() {
            tip.advance(&header, checksum);
        }
        out.extend_from_slice(&frame);
        rest = rest.get(FRAME_HEADER_BYTES + length + FRAME_TRAILER_BYTES..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}

/// The same in format 1.
fn seal_frames_1(bytes: &[u8], chain: bool) -> Vec<u8> {
    const HEADER: usize = 40;
    let sealer = Sealer::plain(&DATABASE);
    let mut out = Vec::with_capacity(bytes.len());
    let (mut rest, mut next, mut previous) = (bytes, 1u64, 0u32);
    while let Some(room) = rest.len().checked_sub(HEADER + FRAME_TRAILER_BYTES) {
        let length = (u32_at(rest, 8).unwrap_or_default() as usize).min(room);
        let mut frame = rest.get(..HEADER + length).unwrap_or_default().to_vec();
        let mut put = |at: usize, bytes: &[u8]| {
            if let Some(place) = frame.get_mut(at..at + bytes.len()) {
                place.copy_from_slice(bytes);
            }
        };
        put(0, b"RFRM\x01\0\0\0");
        put(8, &(length as u32).to_le_bytes());
        if chain {
            put(16, &next.to_le_bytes());
            put(32, &previous.to_le_bytes());
        }
        previous = sealer.checksum(&frame);
        frame.extend_from_slice(&previous.to_le_bytes());
        next = next.wrapping_add(u64::from(u32_at(rest, 12).unwrap_or_default()));
        out.extend_from_slice(&frame);
        rest = rest.get(HEADER + length + FRAME_TRAILER_BYTES..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}

/// Sets the checksums of the header, of every block and of the footer.
fn seal_checkpoint(bytes: &[u8], format: u8) -> Vec<u8> {
    const BLOCK_HEADER: usize = 16;
    let mut out = bytes.to_vec();
    let put_u32 = |out: &mut Vec<u8>, at: usize, value: u32| {
        if let Some(place) = out.get_mut(at..at + 4) {
            place.copy_from_slice(&value.to_le_bytes());
        }
    };
    if let Some(magic) = out.get_mut(..12) {
        magic.copy_from_slice(b"RSTMCKP\n\0\0\0\0");
    }
    put_u32(&mut out, 8, u32::from(format));
    if let Some(id) = out.get_mut(16..32) {
        id.copy_from_slice(&DATABASE);
    }
    let (mut whole, mut at) = (0, 0);
    for end in [64, 128].into_iter().take(usize::from(format)) {
        whole = crc32c::crc32c(out.get(..end - 4).unwrap_or_default());
        put_u32(&mut out, end - 4, whole);
        at = end;
    }
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
