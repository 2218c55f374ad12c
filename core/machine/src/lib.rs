//! State machine definitions, guards, and the decision which transition an event takes.
//!
//! Pure: no files, no clock, no randomness. Time and names arrive in a [`Situation`], and the same
//! situation gives the same answer on every node. Definitions are parsed and checked once, when
//! they are put; deciding an event afterwards allocates nothing unless the event is refused.
//!
//! # Definitions
//!
//! ```
//! use rstmdb_machine::{Machine, Situation};
//! use rstmdb_types::{Json, Limits};
//! let definition = Json::parse(r#"{
//!     "states": ["created", "paid", "cancelled"],
//!     "initial": "created",
//!     "final": ["cancelled"],
//!     "transitions": [
//!         {"from": "created", "event": "PAY", "to": "paid", "guard": "ctx.total > 0"},
//!         {"from": "*", "event": "CANCEL", "to": "cancelled"}
//!     ]
//! }"#).unwrap();
//! let (machine, warnings) = Machine::parse(&definition, &Limits::default(), false)?;
//! assert!(warnings.is_empty());
//! let ctx = Json::parse(r#"{"total":5}"#).unwrap();
//! let situation = Situation {
//!     machine: "order", version: 1, instance_id: "o-1", state: machine.initial(),
//!     ctx: &ctx, payload: None, now_ms: 0,
//! };
//! let decision = machine.decide(&situation, "PAY")?;
//! assert_eq!(machine.states()[decision.to as usize], "paid");
//! # Ok::<(), rstmdb_types::Error>(())
//! ```
//!
//! - `states` and `initial` name the states; `meta` is any JSON and is only kept.
//! - A transition has `from` (a state or a list of them), `event`, `to` and optionally a `guard`,
//!   whose language is described in [`guard`]. Several may share a state and an event: they are tried in the order of the
//!   definition and the first whose guard passes is taken. If none passes: `GUARD_FAILED`.
//! - `"*"` in `from` stands for every state, unless a state has that name. Explicit transitions
//!   **hide** it: where a state has a transition of its own for the event, the `"*"` ones are not
//!   tried, even if all its guards fail. It never applies to a final state.
//! - An instance in a state of `final` is completed: every event gets `INVALID_TRANSITION` with
//!   reason `instance_completed`. A final state in `from` is an error.
//! - State and event names are held to the limit `name_bytes_max`.
//!
//! # Warnings
//!
//! What the existing server lets pass, or what is allowed but hardly meant, is a warning, and an
//! error with `strict`: `unknown_key`, `duplicate_state`, `duplicate_final`, `duplicate_source`,
//! `empty_name`, `no_source` (an empty `from`), `initial_is_final`, `unreachable_choice` (behind
//! one without a guard), `unused_wildcard`, `unreachable_state`, `dead_end_state` (no event leaves
//! it and it is not final; only where `final` is used) and `more_warnings` behind the hundredth.
#![deny(missing_docs)]

mod check;
mod decide;
mod definition;
pub mod guard;
mod machine;
mod normal_form;
mod parse;
mod refusal;
mod table;
mod warnings;

pub use guard::{Explanation, GUARD_DEPTH_MAX, GUARD_NODES_MAX, Guard, Scope, SeenValue};
pub use machine::{Decision, Machine, Situation};

/// The index of a state in [`Machine::states`].
pub type StateId = u32;

/// The index of an event in [`Machine::events`].
pub type EventId = u32;
