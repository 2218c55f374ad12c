//! The errors of refused events: what was asked, why not, and what would be accepted.

use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Text};
use serde_json::{Map, Value, json};

use crate::StateId;
use crate::expression::Explanation;
use crate::machine::{Machine, Situation};
use crate::warnings::shorten;
use rstmdb_types::names::nearest;

/// How many names or guards a message lists.
const SHOWN_MAX: usize = 8;
/// How many names or guards the context of an error lists.
const LISTED_MAX: usize = 100;

/// The instance's state is not one of the machine: the stored data don't fit together.
pub(crate) fn unknown_state(machine: &Machine, situation: &Situation<'_>) -> Error {
    let message = format!(
        "machine {:?} version {} has no state number {}; it has {} states",
        situation.machine,
        situation.version,
        situation.state,
        machine.states().len()
    );
    Error::new(ErrorCode::InternalError, message)
        .with_reason(reason::CORRUPT)
        .with("machine", situation.machine)
        .with("version", situation.version)
        .with("instance_id", situation.instance_id)
}

/// The state has no transition for the event.
pub(crate) fn invalid_transition(
    machine: &Machine,
    situation: &Situation<'_>,
    event: &str,
) -> Error {
    let state = name(machine, situation.state);
    let shown = shorten(event);
    if machine.is_final(situation.state) {
        let message = format!(
            "instance {:?} of machine {:?} is completed: state {state:?} is final and accepts no \
             events, so not {shown:?}",
            situation.instance_id, situation.machine
        );
        return error(ErrorCode::InvalidTransition, message, machine, situation, event)
            .with_reason(reason::INSTANCE_COMPLETED);
    }
    let accepted: Vec<&str> = machine
        .accepted(situation.state)
        // What is taken without an event has no name.
        .filter_map(|event| machine.events().get(event as usize))
        .map(Text::as_str)
        .take(LISTED_MAX + 1)
        .collect();
    let (message, suggestion) = if machine.event_id(event).is_some() {
        (format!("state {state:?} does not accept event {shown:?}; it accepts "), None)
    } else {
        // The events of this state come first: of equally near names the first is taken.
        let known = accepted.iter().copied().chain(machine.events().iter().map(Text::as_str));
        let suggestion = nearest(event, known);
        let question = match suggestion {
            Some(near) => format!("did you mean {near:?}? "),
            None => String::new(),
        };
        let message = format!(
            "machine {:?} version {} has no event {shown:?}; {question}state {state:?} accepts ",
            situation.machine, situation.version
        );
        (message, suggestion)
    };
    let listed: Vec<&str> = accepted.iter().copied().take(LISTED_MAX).collect();
    let message = message + &list(&accepted);
    let error = error(ErrorCode::InvalidTransition, message, machine, situation, event)
        .with("accepted_events", listed);
    match suggestion {
        Some(near) => error.with("suggestion", near),
        None => error,
    }
}

/// The guards cost more than they may.
pub(crate) fn too_costly(error: Error, situation: &Situation<'_>, event: &str) -> Error {
    error
        .with("machine", situation.machine)
        .with("version", situation.version)
        .with("instance_id", situation.instance_id)
        .with("event", event)
}

/// No guard of the choices passed.
pub(crate) fn guard_failed(
    machine: &Machine,
    situation: &Situation<'_>,
    event: &str,
    choices: &[u32],
) -> Error {
    let state = name(machine, situation.state);
    let scope = situation.scope(state, event);
    let refusals: Vec<Refusal<'_>> = choices
        .iter()
        .filter_map(|&index| machine.choice(index))
        .filter_map(|choice| {
            let guard = choice.guard?;
            let to = name(machine, choice.to.unwrap_or(situation.state));
            Some(Refusal { guard: guard.text(), to, explanation: guard.explain(&scope)? })
        })
        .take(LISTED_MAX)
        .collect();

    let shown = shorten(event);
    let message = match refusals.as_slice() {
        [only] => format!(
            "guard `{}` refused event {shown:?} in state {state:?}: {}",
            shorten(only.guard),
            only.explanation
        ),
        several => {
            let reasons: Vec<String> = several
                .iter()
                .take(SHOWN_MAX)
                .map(|refusal| format!("to {:?} {}", refusal.to, refusal.explanation))
                .collect();
            let more = if choices.len() > SHOWN_MAX { "; and so on" } else { "" };
            format!(
                "all {} guards refused event {shown:?} in state {state:?}: {}{more}",
                choices.len(),
                reasons.join("; ")
            )
        }
    };
    let mut error = error(ErrorCode::GuardFailed, message, machine, situation, event);
    if let Some(first) = refusals.first() {
        error = error
            .with("guard", first.guard)
            .with("failed_term", first.explanation.failed_term.as_str())
            .with("values", first.values());
    }
    if refusals.len() > 1 {
        error = error.with("guards", refusals.iter().map(Refusal::json).collect::<Vec<_>>());
    }
    error
}

struct Refusal<'a> {
    guard: &'a str,
    to: &'a str,
    explanation: Explanation,
}

impl Refusal<'_> {
    /// Path to value; null where there is none.
    fn values(&self) -> Value {
        let values = self.explanation.values.iter();
        Value::Object(
            values
                .map(|seen| (seen.path.clone(), seen.value.clone().unwrap_or(Value::Null)))
                .collect::<Map<_, _>>(),
        )
    }

    fn json(&self) -> Value {
        json!({
            "guard": self.guard,
            "to": self.to,
            "failed_term": self.explanation.failed_term,
            "values": self.values(),
        })
    }
}

/// An error with the facts every refusal has.
pub(crate) fn error(
    code: ErrorCode,
    message: String,
    machine: &Machine,
    situation: &Situation<'_>,
    event: &str,
) -> Error {
    Error::new(code, message)
        .with("machine", situation.machine)
        .with("version", situation.version)
        .with("instance_id", situation.instance_id)
        .with("event", event)
        .with("state", name(machine, situation.state))
}

fn name(machine: &Machine, state: StateId) -> &str {
    machine.states().get(state as usize).map_or("", Text::as_str)
}

fn list(names: &[&str]) -> String {
    if names.is_empty() {
        return "no events".to_owned();
    }
    let shown: Vec<String> =
        names.iter().take(SHOWN_MAX).map(|name| format!("{:?}", shorten(name))).collect();
    let more = if names.len() > SHOWN_MAX { " and others" } else { "" };
    shown.join(", ") + more
}
