//! A machine: a checked definition, ready to decide events.

use rstmdb_types::{Json, Text, TimestampMs};

use crate::definition::Definition;
use crate::guard::{Guard, Scope};
use crate::table::{Names, Table};
use crate::{EventId, StateId, normal_form};

/// An immutable state machine; the crate's documentation has the rules it follows.
#[derive(Debug)]
pub struct Machine {
    normal_form: Json,
    checksum: String,
    pub(crate) states: Names,
    pub(crate) events: Names,
    initial: StateId,
    finals: Vec<bool>,
    pub(crate) transitions: Vec<Transition>,
    table: Table,
}

#[derive(Debug)]
pub(crate) struct Transition {
    pub(crate) to: StateId,
    pub(crate) guard: Option<Guard>,
}

/// Everything an event is decided on, apart from its name.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// The machine's name, for messages.
    pub machine: &'a str,
    /// The machine's version, for messages.
    pub version: u32,
    /// The instance's id, for messages.
    pub instance_id: &'a str,
    /// The instance's current state.
    pub state: StateId,
    /// The stored context, before the payload is merged into it.
    pub ctx: &'a Json,
    /// The event's payload.
    pub payload: Option<&'a Json>,
    /// The command's timestamp, which guards see as `now`.
    pub now_ms: TimestampMs,
}

impl<'a> Situation<'a> {
    pub(crate) fn scope(&self, state: &'a str) -> Scope<'a> {
        Scope {
            ctx: self.ctx.root(),
            payload: self.payload.map(Json::root),
            state,
            now_ms: self.now_ms,
        }
    }
}

/// The transition an event takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The event.
    pub event: EventId,
    /// The state it leads to.
    pub to: StateId,
}

/// One transition an event might take, as a refusal sees it.
pub(crate) struct Choice<'a> {
    pub(crate) guard: Option<&'a Guard>,
    pub(crate) to: StateId,
}

impl Machine {
    /// All but the guards.
    pub(crate) fn new(definition: &Definition) -> Machine {
        let states = Names::new(&definition.states);
        let events = Names::new(definition.transitions.iter().map(|t| &t.event));
        let mut finals = vec![false; states.as_slice().len()];
        for name in &definition.final_states {
            if let Some(state) = states.find(name)
                && let Some(is_final) = finals.get_mut(state as usize)
            {
                *is_final = true;
            }
        }
        let target = |name: &str| states.find(name).unwrap_or(0);
        let transitions = definition.transitions.iter();
        Machine {
            normal_form: normal_form::normal_form(definition),
            checksum: normal_form::checksum(definition),
            initial: target(&definition.initial),
            transitions: transitions
                .map(|t| Transition { to: target(&t.to), guard: None })
                .collect(),
            table: Table::new(definition, &states, &events),
            states,
            events,
            finals,
        }
    }

    /// Moves the parsed guards over from the definition.
    pub(crate) fn with_guards(mut self, definition: Definition) -> Machine {
        for (transition, written) in self.transitions.iter_mut().zip(definition.transitions) {
            transition.guard = written.guard;
        }
        self
    }

    /// The definition's normal form, as GET_MACHINE shows it.
    pub fn normal_form(&self) -> &Json {
        &self.normal_form
    }

    /// The checksum of the normal form, 8 lower-case hex digits.
    pub fn checksum(&self) -> &str {
        &self.checksum
    }

    /// The distinct states in order of first mention.
    pub fn states(&self) -> &[Text] {
        self.states.as_slice()
    }

    /// The distinct events in order of first mention.
    pub fn events(&self) -> &[Text] {
        self.events.as_slice()
    }

    /// The index of a state.
    pub fn state_id(&self, name: &str) -> Option<StateId> {
        self.states.find(name)
    }

    /// The index of an event.
    pub fn event_id(&self, name: &str) -> Option<EventId> {
        self.events.find(name)
    }

    /// The state a new instance starts in.
    pub fn initial(&self) -> StateId {
        self.initial
    }

    /// Whether an instance in this state is completed.
    pub fn is_final(&self, state: StateId) -> bool {
        self.finals.get(state as usize).copied().unwrap_or(false)
    }

    /// The transitions an event may take in a state, in the order they are tried.
    pub(crate) fn choices(&self, state: StateId, event: EventId) -> &[u32] {
        let row = Table::find(self.table.explicit(state), event).or_else(|| {
            let rows = if self.is_final(state) { &[] } else { self.table.wildcards() };
            Table::find(rows, event)
        });
        row.map_or(&[], |row| self.table.choices(row))
    }

    /// The events that have a transition in a state, in the order of [`Machine::events`].
    pub(crate) fn accepted(&self, state: StateId) -> impl Iterator<Item = EventId> {
        let explicit = self.table.explicit(state);
        let wildcards = if self.is_final(state) { &[] } else { self.table.wildcards() };
        let mut explicit = explicit.iter().map(|row| row.event).peekable();
        let mut wildcards = wildcards.iter().map(|row| row.event).peekable();
        std::iter::from_fn(move || match (explicit.peek(), wildcards.peek()) {
            (Some(a), Some(b)) if a == b => {
                wildcards.next();
                explicit.next()
            }
            (Some(a), Some(b)) if a > b => wildcards.next(),
            (Some(_), _) => explicit.next(),
            (None, _) => wildcards.next(),
        })
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// One transition by its index in the definition.
    pub(crate) fn choice(&self, index: u32) -> Option<Choice<'_>> {
        let transition = self.transitions.get(index as usize)?;
        Some(Choice { guard: transition.guard.as_ref(), to: transition.to })
    }
}
