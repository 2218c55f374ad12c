//! The stored definitions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rstmdb_machine::{Machine, StateId};
use rstmdb_types::{InstanceEvent, InstanceEventKind, Json, Limits, Offset, Result, Text};

use super::stamp::Stamp;
use crate::error::machine_not_found;

/// One version of a machine.
#[derive(Debug)]
pub(crate) struct MachineEntry {
    /// 1, 2, 3 … in the order they were stored; the log names machines by it.
    pub number: u32,
    pub name: Text,
    pub version: u32,
    pub machine: Machine,
    /// The definition as it was sent.
    pub as_sent: Json,
    /// The log offset it was stored at.
    pub offset: Offset,
    /// The cell of the first state: a cell is a state of one machine version, numbered densely.
    pub first_cell: u32,
    /// The language level it was put with.
    pub level: u32,
    /// Set when the machine was flushed; kept for readers of the log.
    pub retired: AtomicBool,
}

impl MachineEntry {
    pub(crate) fn cell(&self, state: StateId) -> u32 {
        self.first_cell + state
    }

    pub(crate) fn state_name(&self, state: StateId) -> Text {
        self.machine.states().get(state as usize).cloned().unwrap_or_default()
    }

    pub(crate) fn event_name(&self, event: u32) -> Text {
        self.machine.events().get(event as usize).cloned().unwrap_or_default()
    }

    /// An event of an instance of this machine, to be filled in.
    pub(crate) fn event(&self, kind: InstanceEventKind, id: &str, stamp: Stamp) -> InstanceEvent {
        InstanceEvent {
            kind,
            instance_id: id.into(),
            machine: self.name.clone(),
            version: self.version,
            wal_offset: stamp.offset,
            history_id: None,
            timestamp: Some(stamp.at),
            from_state: None,
            to_state: None,
            event: None,
            payload: Json::null(),
            ctx: None,
            event_id: None,
            emitted: None,
        }
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }
}

/// A machine as a checkpoint has it.
pub(crate) struct MachineImage<'a> {
    pub number: u32,
    pub name: &'a str,
    pub version: u32,
    pub offset: Offset,
    pub retired: bool,
    pub definition: &'a str,
    pub level: u32,
}

/// All machines, by name and by number.
#[derive(Debug, Default)]
pub(crate) struct Machines {
    by_name: BTreeMap<Text, BTreeMap<u32, Arc<MachineEntry>>>,
    /// Retired ones too: the log may still name them.
    by_number: Vec<Arc<MachineEntry>>,
    next_cell: u32,
    /// Of all definitions, retired ones too.
    definition_bytes: usize,
}

impl Machines {
    pub(crate) fn get(&self, name: &str, version: u32) -> Option<&Arc<MachineEntry>> {
        self.by_name.get(name)?.get(&version)
    }

    pub(crate) fn find(&self, name: &str, version: u32) -> Result<&Arc<MachineEntry>> {
        let versions = self.by_name.get(name);
        versions.and_then(|versions| versions.get(&version)).ok_or_else(|| {
            let latest = versions.and_then(|versions| versions.last_key_value());
            machine_not_found(name, version, latest.map(|(version, _)| *version))
        })
    }

    pub(crate) fn by_number(&self, number: u32) -> Option<&Arc<MachineEntry>> {
        self.by_number.get((number as usize).checked_sub(1)?)
    }

    pub(crate) fn versions(&self, name: &str) -> usize {
        self.by_name.get(name).map_or(0, BTreeMap::len)
    }

    /// Every machine version in order of name and version.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<MachineEntry>> {
        self.by_name.values().flat_map(BTreeMap::values)
    }

    /// Every machine version that the log may name, in order of number.
    pub(crate) fn all(&self) -> &[Arc<MachineEntry>] {
        &self.by_number
    }

    pub(crate) fn len(&self) -> usize {
        self.by_name.values().map(BTreeMap::len).sum()
    }

    pub(crate) fn next_number(&self) -> u32 {
        self.by_number.len() as u32 + 1
    }

    pub(crate) fn definition_bytes(&self) -> usize {
        self.definition_bytes
    }

    pub(crate) fn cells(&self) -> u32 {
        self.next_cell
    }

    /// Stores a definition under the next number.
    pub(crate) fn insert(
        &mut self,
        name: Text,
        version: u32,
        machine: Machine,
        as_sent: Json,
        offset: Offset,
        level: u32,
    ) -> Arc<MachineEntry> {
        // One text is enough where both are the same.
        let normal_form = machine.normal_form();
        let as_sent = if as_sent == *normal_form { normal_form.clone() } else { as_sent };
        let entry = Arc::new(MachineEntry {
            number: self.next_number(),
            name: name.clone(),
            version,
            as_sent,
            offset,
            level,
            first_cell: self.next_cell,
            retired: AtomicBool::new(false),
            machine,
        });
        self.next_cell += entry.machine.states().len() as u32;
        self.definition_bytes += entry.as_sent.as_str().len();
        self.by_number.push(entry.clone());
        self.by_name.entry(name).or_default().insert(version, entry.clone());
        entry
    }

    /// Stores a definition as a checkpoint has it.
    pub(crate) fn restore(&mut self, image: &MachineImage<'_>) -> Result<()> {
        let as_sent = Json::from_canonical(image.definition);
        let machine = Machine::load(&as_sent, image.level)?;
        let (name, version) = (image.name.into(), image.version);
        let entry = self.insert(name, version, machine, as_sent, image.offset, image.level);
        if image.retired {
            self.retire(&entry);
        }
        Ok(())
    }

    fn retire(&mut self, entry: &MachineEntry) {
        entry.retired.store(true, Ordering::Release);
        if let Some(versions) = self.by_name.get_mut(&entry.name) {
            versions.remove(&entry.version);
            if versions.is_empty() {
                self.by_name.remove(&entry.name);
            }
        }
    }

    /// Removes every machine stored before `offset`; returns how many there were.
    pub(crate) fn flush(&mut self, offset: Offset) -> Vec<Arc<MachineEntry>> {
        let flushed: Vec<_> = self.iter().filter(|entry| entry.offset < offset).cloned().collect();
        for entry in &flushed {
            self.retire(entry);
        }
        flushed
    }

    /// Takes the last insertion back.
    pub(crate) fn undo_insert(&mut self) {
        if let Some(entry) = self.by_number.pop() {
            self.retire(&entry);
            self.definition_bytes -= entry.as_sent.as_str().len();
            self.next_cell = entry.first_cell;
        }
    }

    /// Takes a flush back.
    pub(crate) fn undo_flush(&mut self, flushed: Vec<Arc<MachineEntry>>) {
        for entry in flushed {
            entry.retired.store(false, Ordering::Release);
            self.by_name.entry(entry.name.clone()).or_default().insert(entry.version, entry);
        }
    }
}

/// Refuses a definition that is too large to parse.
pub(crate) fn check_definition_size(definition: &Json, limits: &Limits) -> Result<()> {
    rstmdb_types::limits::check(
        "definition",
        definition.as_str().len(),
        "definition_bytes_max",
        limits.definition_bytes_max,
    )
}
