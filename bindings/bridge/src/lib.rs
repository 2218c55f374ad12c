//! What the language bindings share: databases opened by URL and options, results that are waited
//! for, called back or given up, watches that are pulled from, panics as errors, and forks.
//!
//! Nothing here knows a language. A binding converts arguments, starts an operation here, and converts
//! its result; the types are those of the facade, [`types`].
#![deny(missing_docs)]

mod active;
mod callbacks;
mod completions;
mod database;
mod echo;
mod error;
mod fork;
pub mod log;
mod lookout;
mod options;
mod started;
mod watch;

pub use callbacks::{AfterGroup, after_group, on_callback_thread};
pub use completions::Turn;
pub use database::Database;
pub use error::{context_json, error_json, guard};
pub use rstmdb as types;
pub use rstmdb::OperationRequest;
pub use started::{CallbackTicket, Started, Waiting};
pub use watch::{Events, Watch};
