//! State machine definitions, guards, and the decision which transition an event takes.
//!
//! Pure: no files, no clock, no randomness. Time and names arrive in a [`Situation`], and the same
//! situation gives the same answer on every node. Definitions are parsed and checked once, when
//! they are put; deciding an event afterwards allocates nothing unless the event is refused.
#![deny(missing_docs)]

mod check;
mod definition;
mod guard;
mod machine;
mod normal_form;
mod refusal;
mod suggest;
mod table;
mod warnings;

pub use guard::{Explanation, GUARD_DEPTH_MAX, GUARD_NODES_MAX, Guard, Scope, SeenValue};
pub use machine::{Decision, Machine, Situation};

/// The index of a state in [`Machine::states`].
pub type StateId = u32;

/// The index of an event in [`Machine::events`].
pub type EventId = u32;
