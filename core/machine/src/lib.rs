//! State machine definitions, guards, and the decision which transition an event takes.
//!
//! Pure: no files, no clock, no randomness. Time and names arrive in a [`Situation`], and the same
//! situation gives the same answer on every node. Definitions are parsed and checked once, when
//! they are put; deciding an event afterwards allocates nothing unless the event is refused.
//!
//! # Definitions
//!
//! ```
//! use rstmdb_machine::{Allowance, Machine, Situation};
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
//!     ctx: &ctx, payload: None, now_ms: 0, created_at_ms: 0, allowance: Allowance::default(),
//! };
//! let decision = machine.decide(&situation, "PAY")?;
//! assert_eq!(machine.states()[decision.to as usize], "paid");
//! # Ok::<(), rstmdb_types::Error>(())
//! ```
//!
//! - An event takes the **first** transition of its state whose guard passes; one without a guard always passes. If none
//!   passes: `GUARD_FAILED`. If the state has none for the event: `INVALID_TRANSITION`.
//! - `"*"` in `from` stands for every state, unless a state has that name. Explicit transitions
//!   **hide** it: where a state has a transition of its own for the event, the `"*"` ones are not
//!   tried, even if all its guards fail. It never applies to a final state.
//! - An instance in a state of `final` is **completed**: every event gets `INVALID_TRANSITION` with
//!   reason `instance_completed`. A final state in `from` is an error.
//! - A transition without a change of state, `to` the one it leaves, is one like any other: its payload is merged and it is logged.
//! - Names are any text, compared byte by byte; those of states and events are held to the limit `name_bytes_max`.
//! - A member twice in one object: the last one holds, as JSON has it. Optional members may be null, which is as if they were absent.
//!
//! What can't mean anything is an error that names the place. What the existing server lets pass, or what is
//! allowed but hardly meant, is a warning ([`language::DefinitionDoubt`]), and an error with `strict`. The language of guards
//! is described in [`expression`], the tables of both are in [`language`].
#![deny(missing_docs)]

mod action;
mod check;
mod decide;
mod definition;
pub mod expression;
mod invalid;
mod keys;
pub mod language;
mod machine;
mod merge;
mod normal_form;
mod parse;
mod refusal;
mod step;
mod table;
mod warnings;

pub use action::Emission;
pub use definition::LANGUAGE_LEVEL;
pub use expression::{
    Allowance, EvaluationBudget, Explanation, Expression, GUARD_DEPTH_MAX, GUARD_NODES_MAX, Guard,
    InstanceFacts, Scope, SeenValue,
};
pub use machine::{Decision, Machine, Situation};
pub use merge::PayloadMerge;
pub use step::{Rest, Stepped};

/// The index of a state in [`Machine::states`].
pub type StateId = u32;

/// The index of an event in [`Machine::events`].
pub type EventId = u32;
