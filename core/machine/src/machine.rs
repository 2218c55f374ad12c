//! A machine: a checked definition, ready to decide events.

use rstmdb_types::{Json, Text, TimestampMs};

use crate::action::Action;
use crate::definition::Definition;
use crate::expression::{Allowance, Guard, InstanceFacts, Scope};
use crate::merge::PayloadMerge;
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
    level: u32,
    /// None for a machine that only goes from state to state, as those of the first language level do.
    pub(crate) doings: Option<Box<Doings>>,
}

#[derive(Debug)]
pub(crate) struct Transition {
    /// None where nothing is left or entered.
    pub(crate) to: Option<StateId>,
    pub(crate) guard: Option<Guard>,
}

/// What a machine has that does more than go from state to state.
#[derive(Debug, Default)]
pub(crate) struct Doings {
    /// By state.
    pub(crate) entry: Vec<Vec<Action>>,
    pub(crate) exit: Vec<Vec<Action>>,
    /// By transition.
    pub(crate) actions: Vec<Vec<Action>>,
    pub(crate) merge: Vec<Option<PayloadMerge>>,
    /// What transitions do that don't say how they merge.
    pub(crate) default_merge: Option<PayloadMerge>,
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
    /// When the instance was created.
    pub created_at_ms: TimestampMs,
    /// What its guards may cost.
    pub allowance: Allowance,
}

impl<'a> Situation<'a> {
    pub(crate) fn scope(&self, state: &'a str, event: &'a str) -> Scope<'a> {
        Scope {
            ctx: self.ctx.root(),
            payload: self.payload.map(Json::root),
            state,
            now_ms: self.now_ms,
            event,
            instance: InstanceFacts {
                id: self.instance_id,
                machine: self.machine,
                version: self.version,
                created_at_ms: self.created_at_ms,
            },
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
    pub(crate) to: Option<StateId>,
}

impl Machine {
    /// All but the guards.
    pub(crate) fn new(definition: &Definition) -> Machine {
        let states = Names::new(&definition.states);
        let events = Names::new(definition.transitions.iter().filter_map(|t| t.event.as_ref()));
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
                .map(|t| Transition { to: t.to.as_deref().map(target), guard: None })
                .collect(),
            table: Table::new(definition, &states, &events),
            states,
            events,
            finals,
            level: definition.level(),
            doings: None,
        }
    }

    /// Moves what was parsed over from the definition.
    pub(crate) fn with_parsed(mut self, definition: Definition) -> Machine {
        let mut doings = Doings { default_merge: definition.merge, ..Doings::default() };
        let mut does = doings.default_merge.is_some();
        for (transition, written) in self.transitions.iter_mut().zip(definition.transitions) {
            does |= written.event.is_none() || written.merge.is_some() || written.written.is_some();
            transition.guard = written.guard;
            doings.actions.push(written.actions);
            doings.merge.push(written.merge);
        }
        // A state may stand twice in a definition if it is no more than a name.
        let states = self.states.as_slice().len();
        doings.entry.resize_with(states, Vec::new);
        doings.exit.resize_with(states, Vec::new);
        for (name, body) in definition.states.iter().zip(definition.bodies) {
            does |= !body.entry.is_empty() || !body.exit.is_empty();
            let state = self.states.find(name).unwrap_or(0) as usize;
            if let (Some(entry), Some(exit)) =
                (doings.entry.get_mut(state), doings.exit.get_mut(state))
            {
                entry.extend(body.entry);
                exit.extend(body.exit);
            }
        }
        self.doings = does.then(|| Box::new(doings));
        self
    }

    /// Whether it does no more than go from state to state and merge payloads.
    pub fn is_plain(&self) -> bool {
        self.doings.is_none()
    }

    /// The number that stands for the event of transitions that answer none.
    pub(crate) fn always(&self) -> EventId {
        self.events.as_slice().len() as EventId
    }

    /// The definition's normal form, as GET_MACHINE shows it.
    pub fn normal_form(&self) -> &Json {
        &self.normal_form
    }

    /// The language level that the definition needs: 1 unless it uses what came later.
    pub fn level(&self) -> u32 {
        self.level
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
