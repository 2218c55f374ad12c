//! The transitions of a machine, arranged for lookup by state and event.
//!
//! Explicit transitions of a state shadow `"*"` ones for the same event altogether. A `"*"` row is
//! kept once, not once per state, so a definition can't blow up by wildcards.

use std::collections::HashMap;

use rstmdb_types::Text;

use crate::definition::{Definition, WILDCARD};
use crate::{EventId, StateId};

/// Distinct names in order of first mention, with a fast way from a name to its index.
#[derive(Debug, Default)]
pub(crate) struct Names {
    names: Vec<Text>,
    /// Indexes into `names`, sorted by name.
    sorted: Vec<u32>,
}

impl Names {
    pub(crate) fn new<'a>(mentions: impl IntoIterator<Item = &'a Text>) -> Names {
        let mut seen = HashMap::new();
        let mut names = Vec::new();
        for mention in mentions {
            seen.entry(mention.as_str()).or_insert_with(|| names.push(mention.clone()));
        }
        let mut sorted: Vec<u32> = (0u32..).take(names.len()).collect();
        sorted.sort_by_key(|&index| names.get(index as usize));
        Names { names, sorted }
    }

    pub(crate) fn as_slice(&self) -> &[Text] {
        &self.names
    }

    pub(crate) fn name(&self, index: u32) -> Option<&Text> {
        self.names.get(index as usize)
    }

    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        let at = |index: u32| self.names.get(index as usize).map_or("", Text::as_str);
        let position = self.sorted.binary_search_by(|&index| at(index).cmp(name)).ok()?;
        self.sorted.get(position).copied()
    }
}

/// The choices of one event in one state: a range of [`Table::choices`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChoiceRange {
    pub(crate) event: EventId,
    start: u32,
    end: u32,
}

/// Which transitions an event may take in a state.
#[derive(Debug)]
pub(crate) struct Table {
    /// The rows of state `s` are `rows[starts[s]..starts[s + 1]]`, sorted by event.
    starts: Vec<u32>,
    rows: Vec<ChoiceRange>,
    /// The rows of `"*"`, sorted by event.
    wildcards: Vec<ChoiceRange>,
    /// Indexes into the transitions, in the order they are tried.
    choices: Vec<u32>,
}

impl Table {
    pub(crate) fn new(definition: &Definition, states: &Names, events: &Names) -> Table {
        // The wildcard's entries sort behind those of every state.
        let any_state = states.as_slice().len() as StateId;
        let mut entries: Vec<(StateId, EventId, u32)> = Vec::new();
        for (index, transition) in (0u32..).zip(&definition.transitions) {
            // What is always taken answers an event that has no name, behind all that have one.
            let event = match &transition.event {
                Some(event) => events.find(event),
                None => Some(events.as_slice().len() as EventId),
            };
            let Some(event) = event else { continue };
            for from in &transition.from {
                let state = match states.find(from) {
                    Some(state) => state,
                    None if from == WILDCARD => any_state,
                    None => continue,
                };
                entries.push((state, event, index));
            }
        }
        entries.sort_unstable();
        // A source named twice by one transition is one choice.
        entries.dedup();

        let mut table = Table {
            starts: Vec::with_capacity(any_state as usize + 1),
            rows: Vec::new(),
            wildcards: Vec::new(),
            choices: Vec::with_capacity(entries.len()),
        };
        for pair in entries.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            let Some(&(state, event, _)) = pair.first() else { continue };
            let start = table.choices.len() as u32;
            table.choices.extend(pair.iter().map(|entry| entry.2));
            let row = ChoiceRange { event, start, end: table.choices.len() as u32 };
            while state < any_state && table.starts.len() <= state as usize {
                table.starts.push(table.rows.len() as u32);
            }
            match state == any_state {
                true => table.wildcards.push(row),
                false => table.rows.push(row),
            }
        }
        table.starts.resize(any_state as usize + 1, table.rows.len() as u32);
        table
    }

    /// The rows of transitions that name the state.
    pub(crate) fn explicit(&self, state: StateId) -> &[ChoiceRange] {
        let bound = |state: usize| self.starts.get(state).map_or(0, |&start| start as usize);
        self.rows.get(bound(state as usize)..bound(state as usize + 1)).unwrap_or(&[])
    }

    /// The rows of `"*"`.
    pub(crate) fn wildcards(&self) -> &[ChoiceRange] {
        &self.wildcards
    }

    /// The transitions of a row, in the order they are tried.
    pub(crate) fn choices(&self, row: ChoiceRange) -> &[u32] {
        self.choices.get(row.start as usize..row.end as usize).unwrap_or(&[])
    }

    /// The row of an event in rows sorted by event.
    pub(crate) fn find(rows: &[ChoiceRange], event: EventId) -> Option<ChoiceRange> {
        let position = rows.binary_search_by_key(&event, |row| row.event).ok()?;
        rows.get(position).copied()
    }
}
