//! Finds what a definition is allowed to contain but probably does not mean.
//!
//! Every walk here is linear in the size of the definition, whatever its shape.

use std::collections::{HashMap, HashSet};
use std::mem;

use rstmdb_types::Text;

use crate::definition::{Definition, WILDCARD};
use crate::machine::Machine;
use crate::table::{ChoiceRange, Table};
use crate::warnings::{DefinitionDoubt, Warnings, shorten};
use crate::{EventId, StateId};

/// Adds a warning for everything suspicious about the definition as a whole.
pub(crate) fn warn(definition: &Definition, machine: &Machine, warnings: &mut Warnings) {
    repeated("states", DefinitionDoubt::DuplicateState, &definition.states, warnings);
    repeated("final", DefinitionDoubt::DuplicateFinal, &definition.final_states, warnings);
    names_and_sources(definition, warnings);
    if machine.is_final(machine.initial()) {
        warnings.add(DefinitionDoubt::InitialIsFinal, || {
            let name = &definition.initial;
            let message = format!("state {name:?} is final: every instance is complete at once");
            ("initial".to_owned(), message)
        });
    }
    let check = Check { definition, machine };
    check.unreachable_choices(warnings);
    check.unused_wildcards(warnings);
    check.states(warnings);
}

fn repeated(path: &str, doubt: DefinitionDoubt, names: &[Text], warnings: &mut Warnings) {
    let mut seen = HashMap::new();
    for (i, name) in names.iter().enumerate() {
        let first = *seen.entry(name.as_str()).or_insert(i);
        if first != i {
            warnings.add(doubt, || {
                let message = format!("{:?} repeats {path}[{first}]; take it out", shorten(name));
                (format!("{path}[{i}]"), message)
            });
        }
    }
}

fn names_and_sources(definition: &Definition, warnings: &mut Warnings) {
    for (i, name) in definition.states.iter().enumerate() {
        if name.is_empty() {
            warnings.add(DefinitionDoubt::EmptyName, || {
                (format!("states[{i}]"), "the name is empty; name the state".to_owned())
            });
        }
    }
    for (i, transition) in definition.transitions.iter().enumerate() {
        if transition.event.as_ref().is_some_and(|event| event.is_empty()) {
            warnings.add(DefinitionDoubt::EmptyName, || {
                let message = "the name is empty; name the event".to_owned();
                (format!("transitions[{i}].event"), message)
            });
        }
        if transition.from.is_empty() {
            warnings.add(DefinitionDoubt::NoSource, || {
                let message = "the list is empty, so the transition has no effect".to_owned();
                (format!("transitions[{i}].from"), message)
            });
        }
        let path = format!("transitions[{i}].from");
        repeated(&path, DefinitionDoubt::DuplicateSource, &transition.from, warnings);
    }
}

struct Check<'a> {
    definition: &'a Definition,
    machine: &'a Machine,
}

impl Check<'_> {
    fn state_ids(&self) -> impl Iterator<Item = StateId> + use<> {
        0..self.machine.states().len() as StateId
    }

    fn table(&self) -> &Table {
        self.machine.table()
    }

    fn is_guarded(&self, transition: u32) -> bool {
        let transition = self.definition.transitions.get(transition as usize);
        transition.is_some_and(|transition| transition.guard.is_some())
    }

    fn name(&self, state: StateId) -> &str {
        self.machine.states().get(state as usize).map_or("", Text::as_str)
    }

    /// The choices that can be taken: up to and including the first without a guard.
    fn live(&self, row: ChoiceRange) -> (&[u32], &[u32]) {
        let choices = self.table().choices(row);
        let unguarded = choices.iter().position(|&choice| !self.is_guarded(choice));
        choices.split_at(unguarded.map_or(choices.len(), |position| position + 1))
    }

    /// Choices behind an unguarded one for the same state and event.
    fn unreachable_choices(&self, warnings: &mut Warnings) {
        let explicit = self.state_ids().flat_map(|state| {
            self.table().explicit(state).iter().map(move |row| (self.name(state), *row))
        });
        let wildcards = self.table().wildcards().iter().map(|row| (WILDCARD, *row));
        for (state, row) in explicit.chain(wildcards) {
            let (live, dead) = self.live(row);
            for &choice in dead {
                warnings.add(DefinitionDoubt::UnreachableChoice, || {
                    let taken = live.last().copied().unwrap_or(0);
                    let path = self.source_path(choice, state);
                    let message = format!(
                        "this choice is never taken: transitions[{taken}] has no guard and takes \
                         the event in state {:?} first; move it behind",
                        shorten(state)
                    );
                    (path, message)
                });
            }
        }
    }

    /// Where a transition names a state as its source.
    fn source_path(&self, transition: u32, state: &str) -> String {
        let from = self.definition.transitions.get(transition as usize).map(|t| &t.from);
        match from.and_then(|from| from.iter().position(|name| name == state)) {
            Some(position) if from.is_some_and(|from| from.len() > 1) => {
                format!("transitions[{transition}].from[{position}]")
            }
            _ => format!("transitions[{transition}]"),
        }
    }

    /// `"*"` transitions whose event has an explicit transition in every state.
    fn unused_wildcards(&self, warnings: &mut Warnings) {
        let open = self.state_ids().filter(|&state| !self.machine.is_final(state)).count();
        let mut explicit: HashMap<EventId, usize> = HashMap::new();
        for row in self.state_ids().flat_map(|state| self.table().explicit(state)) {
            *explicit.entry(row.event).or_default() += 1;
        }
        for row in self.table().wildcards() {
            if explicit.get(&row.event).copied().unwrap_or(0) < open {
                continue;
            }
            for &choice in self.table().choices(*row) {
                warnings.add(DefinitionDoubt::UnusedWildcard, || {
                    let message = "\"*\" stands for no state here: each has a transition of its \
                                   own for the event or is final";
                    (self.source_path(choice, WILDCARD), message.to_owned())
                });
            }
        }
    }

    /// States that no event leads to, or that no event leaves although others are final.
    fn states(&self, warnings: &mut Warnings) {
        let reached = self.reached();
        let mut seen = HashSet::new();
        for (i, name) in self.definition.states.iter().enumerate() {
            let Some(state) = self.machine.state_id(name).filter(|&state| seen.insert(state))
            else {
                continue;
            };
            if !reached.contains(&state) {
                warnings.add(DefinitionDoubt::UnreachableState, || {
                    let message = format!(
                        "no transitions lead from {:?} to state {:?}",
                        shorten(&self.definition.initial),
                        shorten(name)
                    );
                    (format!("states[{i}]"), message)
                });
            }
            let leaves = !self.table().explicit(state).is_empty()
                || !self.table().wildcards().is_empty()
                || self.machine.is_final(state);
            // Without `final` a state that no event leaves is the only way to say "done".
            if !leaves && !self.definition.final_states.is_empty() {
                warnings.add(DefinitionDoubt::DeadEndState, || {
                    let message = format!(
                        "no event leaves state {:?}; add it to final if instances end there",
                        shorten(name)
                    );
                    (format!("states[{i}]"), message)
                });
            }
        }
    }

    /// The states that can be reached from the initial one, whatever the guards say.
    fn reached(&self) -> HashSet<StateId> {
        let mut reached = HashSet::from([self.machine.initial()]);
        let mut pending = vec![self.machine.initial()];
        // A wildcard is followed once, from the first state it applies to. It is looked at again
        // only where an explicit transition hides it, so the walk stays linear.
        let mut wildcards = self.table().wildcards().to_vec();
        while let Some(state) = pending.pop() {
            let explicit = self.table().explicit(state);
            let mut rows = explicit.to_vec();
            if !self.machine.is_final(state) {
                let hidden = |row: &ChoiceRange| Table::find(explicit, row.event).is_some();
                let (kept, followed) = mem::take(&mut wildcards).into_iter().partition(hidden);
                wildcards = kept;
                rows.extend::<Vec<ChoiceRange>>(followed);
            }
            for choice in rows.into_iter().flat_map(|row| self.live(row).0) {
                let to = self.machine.choice(*choice).and_then(|choice| choice.to);
                if let Some(to) = to.filter(|to| reached.insert(*to)) {
                    pending.push(to);
                }
            }
        }
        reached
    }
}
