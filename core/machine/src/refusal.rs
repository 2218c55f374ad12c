//! The errors of refused events: what was asked, why not, and what would be accepted.

use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode};

use crate::machine::{Machine, Situation};

/// The instance's state is not one of the machine.
pub(crate) fn unknown_state(_: &Machine, situation: &Situation<'_>) -> Error {
    let message =
        format!("machine {:?} has no state number {}", situation.machine, situation.state);
    Error::new(ErrorCode::InternalError, message).with_reason(reason::CORRUPT)
}

/// The state has no transition for the event.
pub(crate) fn invalid_transition(
    machine: &Machine,
    situation: &Situation<'_>,
    event: &str,
) -> Error {
    let error =
        Error::new(ErrorCode::InvalidTransition, format!("event {event:?} is not accepted"));
    match machine.is_final(situation.state) {
        true => error.with_reason(reason::INSTANCE_COMPLETED),
        false => error,
    }
}

/// No guard of the choices passed.
pub(crate) fn guard_failed(_: &Machine, _: &Situation<'_>, event: &str, _: &[u32]) -> Error {
    Error::new(ErrorCode::GuardFailed, format!("a guard refused event {event:?}"))
}
