//! Writing a checkpoint while writes go on.
//!
//! Instances are encoded a few dozen at a time under their partition's lock, and the work rests most
//! of the time, so that writers hardly notice. What was encoded may be ahead of the disk, so the
//! checkpoint counts only after the log is synced up to everything it can contain, and not at all if a
//! failed write was taken back meanwhile.

use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rstmdb_types::{Offset, Result, Text, TimestampMs};

use super::begin::Begin;
use super::format::{
    BlockKind, BlockReader, BlockWriter, Head, put_history, put_instance, put_key, put_machine,
    put_side,
};
use super::{CHECKPOINT_DIRECTORY, checkpoint_path};
use crate::error::{write_failed, writing};
use crate::guards::{self, Safeguard};
use crate::log::Ticket;
use crate::log::kinds::{Kind, PURGE_FLOOR, Progress};
use crate::log::lineage::Lineage;
use crate::log::tip::Named;
use crate::manifest::CheckpointEntry;
use crate::ops::Edge;
use crate::options::Background;
use crate::shared::Shared;
use crate::state::KeyEntry;
use crate::state::side::Side;
use crate::storage::remove_if_there;

/// Instances or keys copied under one hold of a lock.
const COPY_MAX: u32 = 64;
/// The work rests after this many bytes, for this many times as long as they took.
const REST_BYTES: u64 = 256 << 10;
const REST_TIMES: u32 = 4;
/// The longest rest.
const REST_MAX: Duration = Duration::from_millis(50);

impl Shared {
    /// Marks the place in the log where a checkpoint begins. From here on every instance's first
    /// effect carries its whole context, so the log after it stands alone.
    pub(crate) fn begin_checkpoint(&self, edge: &Edge<'_>) -> Result<Begin> {
        let named = self.begin_segment()?;
        Ok(Begin { named, ..self.mark(true, edge)? })
    }

    /// The end of the log as the beginning of a checkpoint, without a mark: nobody asked for it.
    pub(crate) fn begin_at_end(&self) -> Result<Begin> {
        let named = self.begin_segment()?;
        let _partitions = self.state.lock_all();
        let offset = self.queue.appended();
        self.state.boundary.store(offset, Ordering::Release);
        Ok(Begin { named, is_alone: true, ..self.begin_at(offset, offset) })
    }

    /// The same where nobody writes any more: what comes later goes on from the last boundary.
    pub(crate) fn begin_at_close(&self) -> Result<Begin> {
        let named = self.begin_segment()?;
        let boundary = self.state.boundary.load(Ordering::Acquire).saturating_sub(1);
        let begin = self.begin_at(self.queue.appended(), boundary);
        Ok(Begin { named, is_alone: true, ..begin })
    }

    /// What was written so far is the last frame of its segment.
    fn begin_segment(&self) -> Result<Option<Named>> {
        let mut named = None;
        self.queue.try_with_sink(|sink| {
            sink.writer.begin_segment()?;
            named = Some(sink.writer.tip().named());
            Ok(())
        })?;
        Ok(named)
    }

    /// A boundary in the log that was just applied, under the locks of all instances, and the frame that ends with
    /// it.
    pub(crate) fn begin_at_boundary(&self, offset: Offset, named: Named) -> Begin {
        // Readers may begin with the mark itself.
        Begin { named: Some(named), ..self.begin_at(offset, offset - 1) }
    }

    /// A place in the log that was just appended, under the locks of all instances.
    pub(crate) fn begin_at(&self, offset: Offset, boundary: Offset) -> Begin {
        let flushes = self.state.flushes.load(Ordering::SeqCst);
        let purge_floor = self.state.purge_floor();
        let ticket = self.queue.ticket(offset).without_round();
        Begin { ticket, boundary, named: None, purge_floor, flushes, is_alone: false }
    }

    /// Writes a checkpoint that begins at a place and verifies it.
    ///
    /// Nothing comes of it when everything was flushed meanwhile, or instances purged that were deleted
    /// after its beginning: the changes up to then would find neither their instances nor a new start.
    pub(crate) fn write_checkpoint(
        &self,
        number: u64,
        begin: Begin,
    ) -> Result<Option<WrittenCheckpoint>> {
        let Ticket { epoch, .. } = begin.ticket;
        let (offset, named) = match guards::enabled(Safeguard::PlaceOfItsData) {
            true => (begin.ticket.offset, begin.named),
            false => self.queue.with_writer(|sink| {
                let tip = sink.writer.tip();
                (tip.last(), Some(tip.named()))
            }),
        };
        let file = format!("{number:012}.ckpt");
        let path = checkpoint_path(&file);
        let temporary = format!("{path}.tmp");
        let failed = |error: io::Error| writing(&path, error);
        let created_at = self.queue.log_time();
        let head = Head { offset, created_at, named, digest: 0 };
        self.check_directory()?;
        // Then the epoch of every change up to the offset is written; it is synced before this counts.
        self.queue.flush()?;
        let mut lineage = self.files.lineage.lock().clone();
        // One that nothing was written of is not there yet.
        lineage.forget_after(self.queue.committed());
        let written = self.write_blocks(&temporary, &head, &lineage, &begin);
        let (bytes, instances) = written.map_err(|error| {
            // On a full disk nothing needs its room more than the next attempt.
            let _ = self.storage.remove(&temporary);
            failed(error)
        })?;
        let was_flushed = self.state.flushes.load(Ordering::SeqCst) != begin.flushes;
        if was_flushed || self.state.purge_floor() > offset + 1 {
            self.storage.remove(&temporary).map_err(failed)?;
            return Ok(None);
        }
        // All that the copies may contain becomes durable, and is committed, before the checkpoint counts.
        self.queue.try_with_sink(|sink| sink.writer.sync())?;
        self.wait_for_all()?;
        if self.queue.ticket(0).epoch != epoch {
            return Err(write_failed("a failed write was taken back while the checkpoint ran"));
        }
        self.check_directory()?;
        self.storage.rename(&temporary, &path).map_err(failed)?;
        self.storage.sync_dir(CHECKPOINT_DIRECTORY).map_err(failed)?;
        let reopened = self.storage.open(&path).map_err(failed)?;
        BlockReader::open(&*reopened, &path, &self.database)?.verify()?;
        let entry = CheckpointEntry { file, offset, instances, bytes };
        Ok(Some(WrittenCheckpoint { entry, lineage, created_at }))
    }

    /// Waits until all that is in memory is committed, where others decide.
    fn wait_for_all(&self) -> Result<()> {
        let ticket = self.queue.ticket_of_all().without_round();
        if self.node.is_none() || self.queue.settled(ticket).is_some_and(|settled| settled.is_ok())
        {
            return Ok(());
        }
        match self.options.background {
            Background::Threads => self.queue.wait(ticket),
            Background::Inline => Err(write_failed("changes before are not committed; retry")),
        }
    }

    fn write_blocks(
        &self,
        temporary: &str,
        head: &Head,
        lineage: &Lineage,
        begin: &Begin,
    ) -> io::Result<(u64, u64)> {
        let &Begin { purge_floor, is_alone, .. } = begin;
        remove_if_there(&*self.storage, temporary)?;
        let file = self.storage.create(temporary)?;
        let mut blocks = BlockWriter::new(file, &self.database, head)?;
        let mut machines = 0;
        let mut bytes = Vec::new();
        let mut pace = Pace::new(!is_alone && self.options.background == Background::Threads);
        self.put_machines(&mut blocks, &mut machines)?;
        for number in 0..self.state.partitions.len() {
            let mut from = Some(0);
            while let Some(at) = from {
                let place = SlotAddress { partition: number, slot: at };
                let piece = self.encode_instances(place, purge_floor, machines, &mut bytes);
                blocks.put_instances(piece.count, &bytes)?;
                for (id, side) in &piece.sides {
                    blocks.put(BlockKind::Attachments, |out| put_side(out, id, side))?;
                }
                from = piece.next;
                // A machine stored meanwhile comes before its instances.
                if piece.needs_machines {
                    self.put_machines(&mut blocks, &mut machines)?;
                }
                if self.queue.is_closed() && !is_alone {
                    return Err(io::Error::other("the database was closed"));
                }
                pace.rest(blocks.position());
            }
            let mut from = Some(0);
            while let Some(at) = from {
                let (keys, next) = self.copy_keys(number, at);
                from = next;
                for (id, entry) in &keys {
                    blocks.put(BlockKind::Keys, |out| put_key(out, Some(id), entry))?;
                }
            }
        }
        let mut from = Some(0);
        while let Some(at) = from {
            let (keys, next) = self.state.global_keys.lock().slice(at, COPY_MAX as usize);
            from = next;
            for entry in &keys {
                blocks.put(BlockKind::Keys, |out| put_key(out, None, entry))?;
            }
        }
        if purge_floor > 0 {
            let progress = Progress { kind: PURGE_FLOOR, name: "", numbers: vec![purge_floor] };
            blocks.put(BlockKind::Progress, |out| {
                progress.encode(out);
            })?;
        }
        for begins in lineage.iter() {
            blocks.put(BlockKind::Histories, |out| put_history(out, begins))?;
        }
        if let Some(members) = self.files.members.lock().clone() {
            blocks.put(BlockKind::Members, |out| members.encode(out))?;
        }
        let instances = blocks.totals.instances;
        Ok((blocks.finish()?, instances))
    }

    fn put_machines(&self, blocks: &mut BlockWriter, written: &mut u32) -> io::Result<()> {
        let entries = self.state.machines.read().all().to_vec();
        for entry in entries.iter().filter(|entry| entry.number > *written) {
            blocks.put(BlockKind::Machines, |out| put_machine(out, entry))?;
        }
        *written = entries.len() as u32;
        Ok(())
    }

    /// Encodes some instances under their partition's lock, up to one whose machine is not written.
    fn encode_instances(
        &self,
        from: SlotAddress,
        purge_floor: Offset,
        machines: u32,
        out: &mut Vec<u8>,
    ) -> EncodedInstances {
        out.clear();
        let mut piece = EncodedInstances::default();
        let Some(partition) = self.state.partitions.get(from.partition) else { return piece };
        let (partition, from) = (partition.lock(), from.slot);
        let end = from.saturating_add(COPY_MAX).min(partition.slot_count());
        for number in from..end {
            let Some(slot) = partition.slot(number) else { break };
            if slot.machine.number > machines {
                piece.needs_machines = true;
                piece.next = Some(number);
                return piece;
            }
            if !slot.is_gone(purge_floor) {
                put_instance(out, slot);
                piece.count += 1;
                let side = partition.side(number).cloned();
                piece.sides.extend(side.map(|side| (slot.id.clone(), side)));
            }
        }
        piece.next = (end < partition.slot_count()).then_some(end);
        piece
    }

    fn copy_keys(&self, partition: usize, from: u64) -> (Vec<(Text, KeyEntry)>, Option<u64>) {
        let Some(partition) = self.state.partitions.get(partition) else {
            return (Vec::new(), None);
        };
        let partition = partition.lock();
        let (keys, next) = partition.keys().slice(from, COPY_MAX as usize);
        let named = keys.into_iter().filter_map(|entry| {
            let slot = partition.slot(entry.owner.slot)?;
            Some((slot.id.clone(), entry))
        });
        (named.collect(), next)
    }
}

/// A checkpoint that is on the disk and whole.
pub(crate) struct WrittenCheckpoint {
    pub entry: CheckpointEntry,
    /// The histories that it knows of.
    pub lineage: Lineage,
    /// The time in the log that it says it is of.
    pub created_at: TimestampMs,
}

/// A slot of a partition.
#[derive(Clone, Copy)]
struct SlotAddress {
    partition: usize,
    slot: u32,
}

/// Some encoded instances.
#[derive(Default)]
struct EncodedInstances {
    count: u32,
    /// What they have beside their slots.
    sides: Vec<(Text, Side)>,
    /// The slot to go on with.
    next: Option<u32>,
    needs_machines: bool,
}

/// Makes long work rest most of the time.
struct Pace {
    enabled: bool,
    since: Instant,
    position: u64,
}

impl Pace {
    fn new(enabled: bool) -> Pace {
        Pace { enabled, since: clock(), position: 0 }
    }

    fn rest(&mut self, position: u64) {
        if self.enabled && position >= self.position + REST_BYTES {
            std::thread::sleep((self.since.elapsed() * REST_TIMES).min(REST_MAX));
            self.since = clock();
            self.position = position;
        }
    }
}

/// How long the work and its rests take changes nothing of what is written.
#[expect(clippy::disallowed_methods, reason = "nothing is decided by it")]
fn clock() -> Instant {
    Instant::now()
}
