//! The machine around the disk: it runs calls, counts them, makes them fail, and goes off.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use rstmdb_engine::storage::{DirectoryLock, File, Storage};

use super::disk::{Content, Disk, FileId, OpenFiles};
use super::faults::{Call, Effect, Fault, Fuse, fault_error, power_off_error};
use super::rng::Rng;

const HOLDER: &str = "pid 1, command simulated, since 1970-01-01T00:00:00Z";

/// A simulated disk in a simulated machine. Clones are the same machine.
#[derive(Debug, Clone)]
pub struct FaultyStorage {
    pub(super) machine: Arc<Mutex<Machine>>,
}

#[derive(Debug)]
pub(super) struct Machine {
    pub(super) disk: Disk,
    pub(super) rng: Rng,
    pub(super) is_on: bool,
    pub(super) calls: u64,
    pub(super) mutating_calls: u64,
    pub(super) fuse: Option<Fuse>,
    pub(super) faults: Vec<Fault>,
    pub(super) free_bytes: Option<u64>,
    pub(super) trace: Option<Vec<String>>,
    pub(super) observer: Option<Observer>,
    open: OpenFiles,
    is_locked: bool,
}

/// Whether a call is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// It is not counted yet, and nothing of it has happened.
    Before,
    /// It happened or failed.
    After,
}

/// Who is told of calls.
#[derive(Clone)]
pub(super) struct Observer(pub(super) Arc<Look>);
type Look = dyn Fn(&FaultyStorage, When, Call, &str) + Send + Sync;

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Observer")
    }
}

/// How much of a call happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    Nothing,
    /// Some of it; the seed says how much.
    Part(u64),
    /// Reads and writes: at least one byte, but not all.
    Short(u64),
    All,
    /// Syncs: pending changes are forgotten.
    Drop,
}

impl Extent {
    /// How many of `count` things are done.
    fn of(self, count: usize) -> usize {
        match self {
            Self::Nothing | Self::Drop => 0,
            Self::Part(seed) => Rng::new(seed).index(count + 1),
            Self::Short(_) | Self::All => count,
        }
    }

    /// How many of `count` bytes are moved.
    fn of_bytes(self, count: usize) -> usize {
        match self {
            Self::Short(seed) if count > 1 => 1 + Rng::new(seed).index(count - 1),
            other => other.of(count),
        }
    }
}

impl Machine {
    pub(super) fn new(disk: Disk, seed: u64) -> Self {
        Self {
            disk,
            rng: Rng::new(seed),
            is_on: true,
            calls: 0,
            mutating_calls: 0,
            fuse: None,
            faults: Vec::new(),
            free_bytes: None,
            trace: None,
            observer: None,
            open: OpenFiles::new(),
            is_locked: false,
        }
    }

    /// Counts a call and decides what becomes of it.
    fn decide(&mut self, call: Call, path: &str) -> (Extent, Option<io::Error>) {
        self.calls += 1;
        if call.is_mutating() {
            self.mutating_calls += 1;
        }
        if !self.is_on {
            return (Extent::Nothing, Some(power_off_error()));
        }
        if let Some(fuse) = self.fuse
            && call.is_mutating()
            && self.mutating_calls >= fuse.mutating_call
        {
            self.is_on = false;
            let part = Extent::Part(self.rng.next_u64());
            let extent = if fuse.partial { part } else { Extent::Nothing };
            return (extent, Some(power_off_error()));
        }
        // Every rule sees every call, so that their counts do not depend on each other.
        let mut met = None;
        for fault in &mut self.faults {
            let effect = fault.meets(call, path, &mut self.rng);
            met = met.or(effect);
        }
        let Some(effect) = met else { return (Extent::All, None) };
        let seed = self.rng.next_u64();
        let is_sync = matches!(call, Call::Sync | Call::SyncDir);
        let error = Some(fault_error(effect, call, path));
        match effect {
            Effect::InputOutput | Effect::Error(_) => (Extent::Nothing, error),
            Effect::PartThenError => (Extent::Part(seed), error),
            Effect::Short => (Extent::Short(seed), None),
            Effect::DropPending if call == Call::Sync => (Extent::Drop, error),
            Effect::DropPending => (Extent::Nothing, error),
            Effect::Ignore if is_sync => (Extent::Nothing, None),
            Effect::Ignore => (Extent::All, None),
        }
    }
}

impl FaultyStorage {
    /// An empty disk. The seed decides short lengths and the calls that `Fault::chance` picks.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::boot(Disk::default(), seed)
    }

    pub(super) fn boot(disk: Disk, seed: u64) -> Self {
        Self { machine: Arc::new(Mutex::new(Machine::new(disk, seed))) }
    }

    fn call<T: std::fmt::Debug>(
        &self,
        call: Call,
        path: &str,
        detail: impl FnOnce() -> String,
        run: impl FnOnce(&mut Machine, Extent) -> io::Result<T>,
    ) -> io::Result<T> {
        let observer = self.machine.lock().observer.clone();
        let tell = |when| {
            if let Some(Observer(look)) = &observer {
                look(self, when, call, path);
            }
        };
        tell(When::Before);
        let result = self.do_call(call, path, detail, run);
        tell(When::After);
        result
    }

    fn do_call<T: std::fmt::Debug>(
        &self,
        call: Call,
        path: &str,
        detail: impl FnOnce() -> String,
        run: impl FnOnce(&mut Machine, Extent) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut machine = self.machine.lock();
        let (extent, error) = machine.decide(call, path);
        let result = match error {
            Some(error) if extent == Extent::Nothing => Err(error),
            Some(error) => {
                // Whatever it did, or could not do, the caller learns only that it failed.
                let _ = run(&mut machine, extent);
                Err(error)
            }
            None => run(&mut machine, extent),
        };
        let (calls, mutating) = (machine.calls, machine.mutating_calls);
        if let Some(trace) = &mut machine.trace {
            let mut line = format!("{calls} ");
            if call.is_mutating() {
                let _ = write!(line, "(mutating {mutating}) ");
            }
            let _ = write!(line, "{call:?} {path}{} -> ", detail());
            let _ = match &result {
                Ok(value) => write!(line, "{value:?}"),
                Err(error) => write!(line, "error: {error}"),
            };
            trace.push(line);
        }
        result
    }

    /// Names change whole or not at all; a part of that is a throw of the coin.
    fn change_name<T: std::fmt::Debug>(
        &self,
        call: Call,
        path: &str,
        run: impl FnOnce(&mut Machine) -> io::Result<T>,
    ) -> io::Result<T> {
        self.call(call, path, String::new, |machine, extent| {
            // Only a call that fails anyway is done in part.
            if extent.of(1) == 1 { run(machine) } else { Err(power_off_error()) }
        })
    }

    fn handle(&self, id: FileId) -> Arc<dyn File> {
        *self.machine.lock().open.entry(id).or_default() += 1;
        Arc::new(FaultyFile { storage: self.clone(), id })
    }
}

impl Storage for FaultyStorage {
    fn create(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let id = self.change_name(Call::Create, path, |machine| machine.disk.create(path))?;
        Ok(self.handle(id))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let find = |machine: &mut Machine, _| machine.disk.find(path);
        let id = self.call(Call::Open, path, String::new, find)?;
        Ok(self.handle(id))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change_name(Call::Rename, &format!("{from} -> {to}"), |machine| {
            machine.disk.rename(from, to)?;
            machine.disk.collect(&machine.open);
            Ok(())
        })
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.change_name(Call::Remove, path, |machine| machine.disk.remove(path))
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        self.call(Call::List, directory, String::new, |machine, _| machine.disk.list(directory))
    }

    fn create_dir(&self, directory: &str) -> io::Result<()> {
        self.change_name(Call::CreateDir, directory, |machine| machine.disk.create_dir(directory))
    }

    fn sync_dir(&self, directory: &str) -> io::Result<()> {
        self.call(Call::SyncDir, directory, String::new, |machine, extent| {
            let limit = extent.of(machine.disk.pending_in(directory));
            machine.disk.sync_dir(directory, limit)?;
            machine.disk.collect(&machine.open);
            Ok(())
        })
    }

    /// What was set, or else what the capacity leaves, or else nothing is known.
    fn free_bytes(&self) -> io::Result<Option<u64>> {
        self.call(Call::FreeBytes, "", String::new, |machine, _| {
            let used = machine.disk.used_bytes(&machine.open);
            let left = machine.disk.capacity_bytes.map(|capacity| capacity.saturating_sub(used));
            Ok(machine.free_bytes.or(left))
        })
    }

    fn lock(&self) -> io::Result<Result<Box<dyn DirectoryLock>, String>> {
        let free = self.call(Call::Lock, "", String::new, |machine, _| {
            Ok(!std::mem::replace(&mut machine.is_locked, true))
        })?;
        if free {
            Ok(Ok(Box::new(SimulatedLock { storage: self.clone() })))
        } else {
            Ok(Err(HOLDER.to_owned()))
        }
    }
}

#[derive(Debug)]
struct SimulatedLock {
    storage: FaultyStorage,
}

impl DirectoryLock for SimulatedLock {}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        self.storage.machine.lock().is_locked = false;
    }
}

#[derive(Debug)]
struct FaultyFile {
    storage: FaultyStorage,
    id: FileId,
}

impl FaultyFile {
    fn call<T: std::fmt::Debug>(
        &self,
        call: Call,
        detail: impl FnOnce() -> String,
        run: impl FnOnce(&mut Machine, Extent) -> io::Result<T>,
    ) -> io::Result<T> {
        let path = self.storage.machine.lock().disk.view(self.id).name.clone();
        self.storage.call(call, &path, detail, run)
    }
}

impl File for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let detail = format!(" at {offset}, {} bytes", buffer.len());
        self.call(
            Call::Read,
            || detail,
            |machine, extent| {
                let count = extent.of_bytes(buffer.len());
                Ok(machine.disk.view(self.id).seen.read(&mut buffer[..count], offset))
            },
        )
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<usize> {
        self.call(
            Call::Write,
            || format!(" at {offset}, {} bytes", data.len()),
            |machine, extent| {
                let count = extent.of_bytes(data.len());
                machine.disk.write(self.id, &data[..count], offset, &machine.open)
            },
        )
    }

    fn sync_data(&self) -> io::Result<()> {
        self.call(Call::Sync, String::new, |machine, extent| {
            let content: &mut Content = machine.disk.file(self.id);
            if extent == Extent::Drop {
                content.pending.clear();
            }
            let limit = extent.of(content.pending.len());
            machine.disk.sync_data(self.id, limit);
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.call(Call::Len, String::new, |machine, _| Ok(machine.disk.view(self.id).seen.length()))
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.call(
            Call::SetLen,
            || format!(" to {length}"),
            |machine, extent| {
                if extent.of(1) == 1 {
                    machine.disk.set_len(self.id, length);
                }
                Ok(())
            },
        )
    }
}

impl Drop for FaultyFile {
    fn drop(&mut self) {
        let mut machine = self.storage.machine.lock();
        if let Some(count) = machine.open.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                machine.open.remove(&self.id);
            }
        }
    }
}
