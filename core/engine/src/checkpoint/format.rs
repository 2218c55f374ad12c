//! The bytes of a checkpoint: a header, blocks with a checksum each, and a footer over all.

use std::io;
use std::sync::Arc;

use rstmdb_types::{Json, Offset, Result, Text, TimestampMs};

use crate::codec::{Reader, put_i64, put_str, put_u64, u32_at, u64_at};
use crate::error::{Newer, corrupt, io as io_error, newer_format};
use crate::log::OFFSET_MAX;
use crate::log::lineage::Begins;
use crate::log::segment::checked;
use crate::log::tip::Named;
use crate::state::machines::MachineImage;
use crate::state::side::Side;
use crate::state::{Answer, KeyEntry, MachineEntry, Owner, Slot};
use crate::storage::File;

const CHECKPOINT_MAGIC: [u8; 8] = *b"RSTMCKP\n";
const CHECKPOINT_FORMAT: u32 = 2;
const HEADER_BYTES: usize = 128;
/// The header of format 1, with which every later one begins: so any release can tell what is newer.
const HEADER_1_BYTES: usize = 64;
const BLOCK_HEADER_BYTES: usize = 16;
/// The largest block; checked before memory is taken for one.
const BLOCK_BYTES_MAX: usize = 512 << 20;
/// The file is synced this often while it is written, in bytes.
const SYNC_BYTES: u64 = 4 << 20;
/// A block is written when it reaches this size.
const BLOCK_BYTES: usize = 256 << 10;

/// What a block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum BlockKind {
    Machines = 1,
    Instances = 2,
    Keys = 3,
    Attachments = 4,
    // 5, settings, is reserved.
    Progress = 6,
    Histories = 7,
    Members = 8,
    Footer = 9,
}

impl BlockKind {
    const ALL: [BlockKind; 8] = [
        BlockKind::Machines,
        BlockKind::Instances,
        BlockKind::Keys,
        BlockKind::Attachments,
        BlockKind::Progress,
        BlockKind::Histories,
        BlockKind::Members,
        BlockKind::Footer,
    ];

    fn from_u8(value: u8) -> Option<BlockKind> {
        BlockKind::ALL.into_iter().find(|kind| *kind as u8 == value)
    }
}

/// What the header of a checkpoint says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Every change up to here is in the checkpoint.
    pub offset: Offset,
    pub created_at: TimestampMs,
    /// The last frame before it began; format 1 names none.
    pub named: Option<Named>,
    /// A hash of the state, 0: none.
    pub digest: u64,
}

impl Head {
    fn encode(&self, database: &[u8; 16]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&CHECKPOINT_MAGIC);
        bytes.extend_from_slice(&CHECKPOINT_FORMAT.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(database);
        bytes.extend_from_slice(&self.offset.to_le_bytes());
        bytes.extend_from_slice(&self.created_at.to_le_bytes());
        bytes.resize(HEADER_1_BYTES - 4, 0);
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        let named = self.named.unwrap_or(Named { index: 0, term: 0, chain: 0 });
        for field in [named.index, named.term, named.chain, self.digest] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        bytes.resize(HEADER_BYTES - 4, 0);
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    /// Reads the header of `file`; also its length and the checksum at its end.
    fn decode(bytes: &[u8], file: &str, database: &[u8; 16]) -> Result<(Head, usize, u32)> {
        let damaged = |what: &str| corrupt(file, 0, what);
        if bytes.len() < HEADER_1_BYTES || bytes.get(..8) != Some(&CHECKPOINT_MAGIC[..]) {
            return Err(damaged("this is not a checkpoint"));
        }
        let format = checked(bytes, HEADER_1_BYTES as u64).and_then(|head| u32_at(head, 8));
        let format = format.ok_or_else(|| damaged("the header's checksum does not match"))?;
        if format > CHECKPOINT_FORMAT {
            return Err(newer_format(file, 0, Newer::Format(format, CHECKPOINT_FORMAT)));
        }
        let length = if format == 1 { HEADER_1_BYTES } else { HEADER_BYTES };
        if checked(bytes, length as u64).is_none() {
            return Err(damaged("the header's checksum does not match"));
        }
        if bytes.get(16..32) != Some(&database[..]) {
            return Err(damaged("the checkpoint belongs to another database"));
        }
        let field = |at| u64_at(bytes, at).unwrap_or_default();
        let named = Named { index: field(64), term: field(72), chain: field(80) };
        let is_first = format == 1;
        let head = Head {
            offset: field(32),
            created_at: field(40) as i64,
            named: (!is_first).then_some(named),
            digest: if is_first { 0 } else { field(88) },
        };
        if head.offset > OFFSET_MAX {
            return Err(damaged("the header is out of range"));
        }
        Ok((head, length, u32_at(bytes, length - 4).unwrap_or_default()))
    }
}

/// The totals at the end of a checkpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub machines: u64,
    pub instances: u64,
    pub keys: u64,
}

/// Writes the blocks of a checkpoint one after the other.
pub(crate) struct BlockWriter {
    file: Arc<dyn File>,
    position: u64,
    synced: u64,
    checksums: u32,
    block: Vec<u8>,
    kind: BlockKind,
    entries: u32,
    pub totals: Totals,
}

impl BlockWriter {
    pub(crate) fn new(
        file: Arc<dyn File>,
        database: &[u8; 16],
        head: &Head,
    ) -> io::Result<BlockWriter> {
        let header = head.encode(database);
        file.write_all_at(&header, 0)?;
        Ok(BlockWriter {
            file,
            position: HEADER_BYTES as u64,
            synced: 0,
            checksums: u32_at(&header, HEADER_BYTES - 4).unwrap_or_default(),
            block: vec![0; BLOCK_HEADER_BYTES],
            kind: BlockKind::Machines,
            entries: 0,
            totals: Totals::default(),
        })
    }

    /// Adds an entry to a block of `kind`.
    pub(crate) fn put(
        &mut self,
        kind: BlockKind,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> io::Result<()> {
        if kind != self.kind || self.block.len() >= BLOCK_BYTES {
            self.finish_block()?;
            self.kind = kind;
        }
        encode(&mut self.block);
        self.entries += 1;
        match kind {
            BlockKind::Machines => self.totals.machines += 1,
            BlockKind::Instances => self.totals.instances += 1,
            BlockKind::Keys => self.totals.keys += 1,
            BlockKind::Attachments
            | BlockKind::Progress
            | BlockKind::Histories
            | BlockKind::Members
            | BlockKind::Footer => {}
        }
        Ok(())
    }

    /// Adds instances that are encoded already.
    pub(crate) fn put_instances(&mut self, count: u32, bytes: &[u8]) -> io::Result<()> {
        if count == 0 {
            return Ok(());
        }
        self.put(BlockKind::Instances, |out| out.extend_from_slice(bytes))?;
        self.entries += count - 1;
        self.totals.instances += u64::from(count - 1);
        Ok(())
    }

    /// The bytes written so far.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    fn finish_block(&mut self) -> io::Result<()> {
        if self.entries == 0 {
            return Ok(());
        }
        let length = (self.block.len() - BLOCK_HEADER_BYTES) as u32;
        let mut header = Vec::with_capacity(BLOCK_HEADER_BYTES);
        header.extend_from_slice(&length.to_le_bytes());
        header.extend_from_slice(&[self.kind as u8, 0, 0, 0]);
        header.extend_from_slice(&self.entries.to_le_bytes());
        let payload = self.block.get(BLOCK_HEADER_BYTES..).unwrap_or_default();
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&header), payload);
        header.extend_from_slice(&checksum.to_le_bytes());
        if let Some(room) = self.block.get_mut(..BLOCK_HEADER_BYTES) {
            room.copy_from_slice(&header);
        }
        self.file.write_all_at(&self.block, self.position)?;
        self.position += self.block.len() as u64;
        self.checksums = crc32c::crc32c_append(self.checksums, &checksum.to_le_bytes());
        self.block.truncate(BLOCK_HEADER_BYTES);
        self.entries = 0;
        // One large sync at the end would hold up the log's small ones.
        if self.position >= self.synced + SYNC_BYTES {
            self.file.sync_data()?;
            self.synced = self.position;
        }
        Ok(())
    }

    /// Writes the footer and syncs; returns the file's length.
    pub(crate) fn finish(mut self) -> io::Result<u64> {
        self.finish_block()?;
        let (totals, checksums) = (self.totals, self.checksums);
        self.put(BlockKind::Footer, |out| {
            for number in [totals.machines, totals.instances, totals.keys] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            out.extend_from_slice(&checksums.to_le_bytes());
        })?;
        self.finish_block()?;
        self.file.sync_data()?;
        Ok(self.position)
    }
}

/// Reads the blocks of a checkpoint and checks all of it.
pub(crate) struct BlockReader<'a> {
    file: &'a dyn File,
    path: &'a str,
    length: u64,
    position: u64,
    checksums: u32,
    payload: Vec<u8>,
    totals: Totals,
    pub head: Head,
}

impl<'a> BlockReader<'a> {
    pub(crate) fn open(
        file: &'a dyn File,
        path: &'a str,
        database: &[u8; 16],
    ) -> Result<BlockReader<'a>> {
        let failed = |error: io::Error| io_error(&format!("reading {path}"), error);
        let mut header = [0; HEADER_BYTES];
        let length = file.len().map_err(failed)?;
        let read = file.read_full_at(&mut header, 0).map_err(failed)?;
        let header = header.get(..read).unwrap_or_default();
        let (head, header_bytes, checksums) = Head::decode(header, path, database)?;
        Ok(BlockReader {
            file,
            path,
            length,
            position: header_bytes as u64,
            checksums,
            payload: Vec::new(),
            totals: Totals::default(),
            head,
        })
    }

    /// The bytes read so far and in all.
    pub(crate) fn progress(&self) -> (u64, u64) {
        (self.position, self.length)
    }

    pub(crate) fn damaged(&self, what: &str) -> rstmdb_types::Error {
        corrupt(self.path, self.position, what)
    }

    /// The next block's kind, entries and bytes; `None` after an intact footer.
    pub(crate) fn next(&mut self) -> Result<Option<(BlockKind, u32, &[u8])>> {
        let failed = |error: io::Error| io_error(&format!("reading {}", self.path), error);
        let mut header = [0; BLOCK_HEADER_BYTES];
        let read = self.file.read_full_at(&mut header, self.position).map_err(failed)?;
        let field = |at| u32_at(&header, at).unwrap_or_default();
        let (length, entries, stored) = (field(0) as usize, field(8), field(12));
        let left = self.length.saturating_sub(self.position + BLOCK_HEADER_BYTES as u64);
        if read < BLOCK_HEADER_BYTES || length > BLOCK_BYTES_MAX || length as u64 > left {
            return Err(self.damaged("the checkpoint is cut off"));
        }
        self.payload.resize(length, 0);
        let start = self.position + BLOCK_HEADER_BYTES as u64;
        let read = self.file.read_full_at(&mut self.payload, start).map_err(failed)?;
        let covered = crc32c::crc32c(header.get(..12).unwrap_or_default());
        if read < length || crc32c::crc32c_append(covered, &self.payload) != stored {
            return Err(self.damaged("a block's checksum does not match"));
        }
        let kind = header.get(4).copied().unwrap_or_default();
        let Some(kind) = BlockKind::from_u8(kind) else {
            return Err(newer_format(self.path, self.position, Newer::Block(kind)));
        };
        match kind {
            BlockKind::Machines => self.totals.machines += u64::from(entries),
            BlockKind::Instances => self.totals.instances += u64::from(entries),
            BlockKind::Keys => self.totals.keys += u64::from(entries),
            BlockKind::Attachments
            | BlockKind::Progress
            | BlockKind::Histories
            | BlockKind::Members => {}
            BlockKind::Footer => {
                self.check_footer(start + length as u64)?;
                return Ok(None);
            }
        }
        self.checksums = crc32c::crc32c_append(self.checksums, &stored.to_le_bytes());
        self.position = start + length as u64;
        Ok(Some((kind, entries, &self.payload)))
    }

    fn check_footer(&self, end: u64) -> Result<()> {
        let field = |at| u64_at(&self.payload, at).unwrap_or(u64::MAX);
        let totals = Totals { machines: field(0), instances: field(8), keys: field(16) };
        let whole = u32_at(&self.payload, 24) == Some(self.checksums);
        if totals != self.totals || !whole || end != self.length {
            return Err(self.damaged("blocks are missing or doubled"));
        }
        Ok(())
    }

    /// Reads all of it, keeping nothing.
    pub(crate) fn verify(mut self) -> Result<Totals> {
        while self.next()?.is_some() {}
        Ok(self.totals)
    }
}

const DELETED: u8 = 1;
const HAS_EVENT_ID: u8 = 2;

pub(crate) fn put_machine(out: &mut Vec<u8>, entry: &MachineEntry) {
    put_u64(out, u64::from(entry.number));
    put_str(out, &entry.name);
    put_u64(out, u64::from(entry.version));
    put_u64(out, entry.offset);
    let has_level = entry.level != 1;
    out.push(u8::from(entry.is_retired()) * RETIRED + u8::from(has_level) * HAS_LEVEL);
    put_str(out, entry.as_sent.as_str());
    if has_level {
        put_u64(out, u64::from(entry.level));
    }
}

const RETIRED: u8 = 1;
const HAS_LEVEL: u8 = 2;

pub(crate) fn get_machine<'a>(reader: &mut Reader<'a>) -> Option<MachineImage<'a>> {
    let number = reader.u32()?;
    let name = reader.str()?;
    let version = reader.u32()?;
    let offset = reader.u64()?;
    let flags = reader.u8()?;
    let definition = reader.str()?;
    let level = if flags & HAS_LEVEL != 0 { reader.u32()? } else { 1 };
    let retired = flags & RETIRED != 0;
    Some(MachineImage { number, name, version, offset, retired, definition, level })
}

/// What an instance has beside its slot.
pub(crate) fn put_side(out: &mut Vec<u8>, id: &str, side: &Side) {
    put_str(out, id);
    side.encode(out);
}

/// The id of an instance, and what it has beside its slot.
pub(crate) fn get_side<'a>(reader: &mut Reader<'a>) -> Option<(&'a str, Side)> {
    Some((reader.str()?, Side::decode(reader)?))
}

pub(crate) fn put_instance(out: &mut Vec<u8>, slot: &Slot) {
    let event_id = slot.last_event_id.as_deref();
    let flags = u8::from(slot.deleted) * DELETED + u8::from(event_id.is_some()) * HAS_EVENT_ID;
    out.push(flags);
    put_str(out, &slot.id);
    put_u64(out, u64::from(slot.machine.number));
    put_u64(out, u64::from(slot.state));
    put_str(out, slot.ctx.as_str());
    if let Some(event_id) = event_id {
        put_str(out, event_id);
    }
    put_i64(out, slot.created_at);
    put_i64(out, slot.updated_at);
    for number in [slot.life, slot.last, slot.anchor] {
        put_u64(out, number);
    }
    put_u64(out, u64::from(slot.delta_bytes));
    put_u64(out, u64::from(slot.delta_events));
}

pub(crate) fn get_instance(
    reader: &mut Reader<'_>,
    machine: impl FnOnce(u32) -> Option<Arc<MachineEntry>>,
) -> Option<Slot> {
    let flags = reader.u8()?;
    let id = Text::from(reader.str()?);
    let machine = machine(reader.u32()?)?;
    let state = reader.u32()?;
    let ctx = Json::from_canonical(reader.str()?);
    let last_event_id =
        if flags & HAS_EVENT_ID != 0 { Some(Box::from(reader.str()?)) } else { None };
    machine.machine.states().get(state as usize)?;
    let mut slot = Slot::restored(id, machine, ctx, state);
    slot.deleted = flags & DELETED != 0;
    slot.last_event_id = last_event_id;
    slot.created_at = reader.i64()?;
    slot.updated_at = reader.i64()?;
    slot.life = reader.u64()?;
    slot.last = reader.u64()?;
    slot.anchor = reader.u64()?;
    slot.delta_bytes = reader.u32()?;
    slot.delta_events = reader.u32()?;
    Some(slot)
}

const ANSWER_CREATE: u8 = 1;
const ANSWER_APPLY: u8 = 2;
const ANSWER_DELETE: u8 = 3;
const ANSWER_BATCH: u8 = 4;
const ANSWER_DELETE_AGAIN: u8 = 5;

/// `id` is the instance the key belongs to, `None` for the database's own keys.
pub(crate) fn put_key(out: &mut Vec<u8>, id: Option<&str>, entry: &KeyEntry) {
    out.push(u8::from(id.is_some()));
    put_str(out, id.unwrap_or(""));
    // Where the offset of the life stood, when each life of an id had keys of its own.
    put_u64(out, 0);
    put_str(out, &entry.key);
    out.extend_from_slice(&entry.fingerprint.to_le_bytes());
    put_i64(out, entry.at);
    put_u64(out, entry.offset);
    match &entry.answer {
        Answer::Create { id, state } => {
            out.push(ANSWER_CREATE);
            put_str(out, id);
            put_str(out, state);
        }
        Answer::Apply { from, to, ctx, event_id } => {
            out.push(ANSWER_APPLY);
            put_str(out, from);
            put_str(out, to);
            put_str(out, ctx.as_str());
            out.push(u8::from(event_id.is_some()));
            put_str(out, event_id.as_deref().unwrap_or(""));
        }
        Answer::Delete { deletion } if *deletion == entry.offset => out.push(ANSWER_DELETE),
        Answer::Delete { deletion } => {
            out.push(ANSWER_DELETE_AGAIN);
            put_u64(out, *deletion);
        }
        Answer::Batch { results } => {
            out.push(ANSWER_BATCH);
            put_str(out, results.as_str());
        }
    }
}

/// A remembered key with the id of its instance; the owner's slot is still to be found.
pub(crate) fn get_key<'a>(reader: &mut Reader<'a>) -> Option<(Option<&'a str>, KeyEntry)> {
    let has_id = reader.u8()? != 0;
    let id = reader.str()?;
    let owner = Owner { slot: u32::MAX };
    let _life = reader.u64()?;
    let key = Text::from(reader.str()?);
    let fingerprint = u64::from_le_bytes(reader.bytes(8)?.try_into().ok()?);
    let at = reader.i64()?;
    let offset = reader.u64()?;
    let answer = match reader.u8()? {
        ANSWER_CREATE => Answer::Create { id: reader.str()?.into(), state: reader.str()?.into() },
        ANSWER_APPLY => {
            let (from, to) = (reader.str()?.into(), reader.str()?.into());
            let ctx = Json::from_canonical(reader.str()?);
            let has_event_id = reader.u8()? != 0;
            let event_id = Some(Text::from(reader.str()?)).filter(|_| has_event_id);
            Answer::Apply { from, to, ctx, event_id }
        }
        ANSWER_DELETE => Answer::Delete { deletion: offset },
        ANSWER_DELETE_AGAIN => Answer::Delete { deletion: reader.u64()? },
        ANSWER_BATCH => Answer::Batch { results: Json::from_canonical(reader.str()?) },
        _ => return None,
    };
    Some((has_id.then_some(id), KeyEntry { owner, key, fingerprint, at, offset, answer }))
}

pub(crate) fn put_history(out: &mut Vec<u8>, begins: &Begins) {
    out.extend_from_slice(&begins.id.to_le_bytes());
    put_u64(out, begins.first);
}

pub(crate) fn get_history(reader: &mut Reader<'_>) -> Option<Begins> {
    let id = u64_at(reader.bytes(8)?, 0)?;
    Some(Begins { id, first: reader.u64()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::kinds::{Kind, Progress};
    use crate::storage::{MemoryStorage, Storage};

    const DATABASE: [u8; 16] = [7; 16];

    #[test]
    fn what_is_neither_machine_nor_instance_comes_back_from_a_checkpoint() {
        let storage = MemoryStorage::new();
        let named = Named { index: 9, term: 2 << 16, chain: 77 };
        let head = Head { offset: 5, created_at: 8, named: Some(named), digest: 6 };
        let progress = Progress { kind: 3, name: "job", numbers: vec![0, 300, u64::MAX] };
        let begins = Begins { id: u64::MAX, first: 4 };
        let mut blocks = BlockWriter::new(storage.create("c").unwrap(), &DATABASE, &head).unwrap();
        let put = |out: &mut Vec<u8>| {
            progress.encode(out);
        };
        blocks.put(BlockKind::Progress, put).unwrap();
        blocks.put(BlockKind::Histories, |out| put_history(out, &begins)).unwrap();
        blocks.finish().unwrap();
        let file = storage.open("c").unwrap();
        let mut reader = BlockReader::open(&*file, "c", &DATABASE).unwrap();
        assert_eq!(reader.head, head);
        let (kind, entries, bytes) = reader.next().unwrap().unwrap();
        assert_eq!((kind, entries), (BlockKind::Progress, 1));
        assert_eq!(Progress::decode(&mut Reader::new(bytes), 0), Some(progress));
        let (kind, entries, bytes) = reader.next().unwrap().unwrap();
        assert_eq!((kind, entries), (BlockKind::Histories, 1));
        assert_eq!(get_history(&mut Reader::new(bytes)), Some(begins));
        assert!(reader.next().unwrap().is_none());
    }
}
