//! What a test does to the machine and its disk from outside: switch off, crash, look, damage.
//!
//! None of this counts as a call.

use std::sync::Arc;

use rstmdb_engine::Location;

use super::bytes::{Bytes, SECTOR_BYTES};
use super::crash::{Crash, crash};
use super::disk::{Change, Content, Disk, Node};
use super::faults::{Call, Fault, Fuse};
use super::machine::{FaultyStorage, Observer, When};

/// A disk at one moment, with all that was pending. Cheap to take and to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskImage {
    disk: Disk,
}

impl DiskImage {
    /// A machine that starts after a power cut at this moment.
    #[must_use]
    pub fn crash(&self, how: Crash) -> FaultyStorage {
        FaultyStorage::boot(crash(&self.disk, how), how.seed)
    }

    /// A machine on which only the process died: what was written is still there, still pending.
    #[must_use]
    pub fn restart(&self) -> FaultyStorage {
        FaultyStorage::boot(self.disk.clone(), self.disk.next_id)
    }
}

impl FaultyStorage {
    /// The disk as it is now, to be crashed in as many ways as one likes. The machine runs on.
    #[must_use]
    pub fn image(&self) -> DiskImage {
        DiskImage { disk: self.machine.lock().disk.clone() }
    }

    /// The database on it, with the clock of this system.
    #[must_use]
    pub fn location(&self) -> Location {
        Location { storage: Arc::new(self.clone()), name: "test".to_owned(), ..Location::memory() }
    }

    /// Has `look` called before and after each call, with its path; it may hold the caller up. It is
    /// handed the machine, which it must not keep: that would keep itself.
    pub fn observe(&self, look: impl Fn(&FaultyStorage, When, Call, &str) + Send + Sync + 'static) {
        self.machine.lock().observer = Some(Observer(Arc::new(look)));
    }

    /// Switches the machine off: every later call fails with "power is off".
    pub fn power_off(&self) {
        self.machine.lock().is_on = false;
    }

    /// Whether the machine runs.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.machine.lock().is_on
    }

    /// Cuts the power and starts a new machine with the disk, unlocked and without faults. May be
    /// asked again for another variant of the same moment.
    #[must_use]
    pub fn crash(&self, how: Crash) -> FaultyStorage {
        self.power_off();
        self.image().crash(how)
    }

    /// Kills the process and starts a new one: nothing written is lost, nothing more is durable.
    #[must_use]
    pub fn kill(&self) -> FaultyStorage {
        self.power_off();
        self.image().restart()
    }

    /// Power goes off at the n-th mutating call (from 1, counted from the start of the machine): that
    /// call and all later ones fail and do nothing.
    pub fn crash_at_call(&self, n: u64) {
        self.machine.lock().fuse = Some(Fuse { mutating_call: n, partial: false });
    }

    /// The same, but that call still has a part of its effect, which part by the seed.
    pub fn crash_in_call(&self, n: u64) {
        self.machine.lock().fuse = Some(Fuse { mutating_call: n, partial: true });
    }

    /// How many calls there were.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.machine.lock().calls
    }

    /// How many of them were mutating.
    #[must_use]
    pub fn mutating_calls(&self) -> u64 {
        self.machine.lock().mutating_calls
    }

    /// Adds a rule. Of several that meet a call, the first given decides.
    pub fn inject(&self, fault: Fault) {
        self.machine.lock().faults.push(fault);
    }

    /// Removes all rules.
    pub fn clear_faults(&self) {
        self.machine.lock().faults.clear();
    }

    /// How many bytes fit on the disk, in blocks of 4096; `None` is without end. Stays over a crash.
    pub fn set_capacity_bytes(&self, capacity: Option<u64>) {
        self.machine.lock().disk.capacity_bytes = capacity;
    }

    /// What `free_bytes` says from now on; `None` goes back to what the capacity leaves.
    pub fn set_free_bytes(&self, free: Option<u64>) {
        self.machine.lock().free_bytes = free;
    }

    /// Starts writing down calls.
    pub fn start_trace(&self) {
        self.machine.lock().trace.get_or_insert_default();
    }

    /// The calls since `start_trace`, one per line.
    #[must_use]
    pub fn trace(&self) -> String {
        self.machine.lock().trace.as_ref().map(|lines| lines.join("\n")).unwrap_or_default()
    }

    /// All files as the running machine sees them, sorted.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        let machine = self.machine.lock();
        let files = machine.disk.seen.iter().filter(|(_, node)| matches!(node, Node::File(_)));
        files.map(|(path, _)| path.clone()).collect()
    }

    /// The bytes of a file as the running machine sees them.
    #[must_use]
    pub fn contents(&self, path: &str) -> Option<Vec<u8>> {
        let machine = self.machine.lock();
        let id = machine.disk.find(path).ok()?;
        machine.disk.files.get(&id).map(|content| content.seen.to_vec())
    }

    /// Puts a file there, durably, in place of any before; for damage of all sorts. Open handles of
    /// that file see the new bytes. Directories on the way appear by themselves.
    pub fn put(&self, path: &str, data: &[u8]) {
        let mut machine = self.machine.lock();
        let disk = &mut machine.disk;
        for (end, _) in path.match_indices('/') {
            disk.seen.insert(path[..end].to_owned(), Node::Directory);
            disk.durable.insert(path[..end].to_owned(), Node::Directory);
        }
        let id = disk.find(path).unwrap_or(disk.next_id);
        disk.next_id = disk.next_id.max(id + 1);
        disk.pending.retain(|entry| entry.change.paths().all(|pending| pending != path));
        disk.seen.insert(path.to_owned(), Node::File(id));
        disk.durable.insert(path.to_owned(), Node::File(id));
        let bytes = Bytes::from_slice(data);
        let name = path.to_owned();
        *disk.file(id) = Content { seen: bytes.clone(), durable: bytes, pending: vec![], name };
    }

    /// Takes a file away, durably.
    pub fn delete(&self, path: &str) {
        let mut machine = self.machine.lock();
        let disk = &mut machine.disk;
        disk.pending.retain(|entry| entry.change.paths().all(|pending| pending != path));
        disk.seen.remove(path);
        disk.durable.remove(path);
    }

    /// Turns one bit of a stored byte, whether it is durable or still pending.
    ///
    /// # Panics
    /// When there is no such file or byte.
    pub fn flip_bit(&self, path: &str, byte: u64, bit: u8) {
        let mask = 1 << (bit % 8);
        let mut machine = self.machine.lock();
        let id = machine.disk.find(path).expect("a file to damage");
        let content = machine.disk.file(id);
        assert!(byte < content.seen.length(), "{path} has no byte {byte}");
        for bytes in [&mut content.seen, &mut content.durable] {
            let mut stored = [0];
            if bytes.read(&mut stored, byte) == 1 {
                bytes.write(&[stored[0] ^ mask], byte);
            }
        }
        for change in &mut content.pending {
            if let Change::Sector { index, image, .. } = change
                && *index == byte / SECTOR_BYTES as u64
            {
                Arc::make_mut(image)[byte as usize % SECTOR_BYTES] ^= mask;
            }
        }
    }

    /// Forgets cached pages that are clean: what a failed sync dropped can no longer be read.
    pub fn evict_clean(&self) {
        let mut machine = self.machine.lock();
        for content in machine.disk.files.values_mut() {
            let content = Arc::make_mut(content);
            content.seen = content.durable.clone();
            for change in &content.pending {
                change.apply(&mut content.seen);
            }
        }
    }

    /// Whether anything would be lost by a power cut now.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        let machine = self.machine.lock();
        !machine.disk.pending.is_empty()
            || machine.disk.files.values().any(|content| !content.pending.is_empty())
    }
}
