//! The rstmdb command line: one-shot commands, a shell, imports and tools over the facade.
//!
//! Standard output is data, standard error is talk. The only part meant for other crates is
//! [`import`], whose parser is fuzzed; [`run`] is the whole program.

mod args;
mod bench;
mod clean;
mod commands;
mod demo;
mod diagram;
mod error;
mod help_markdown;
pub mod import;
mod import_peer;
mod in_flight;
mod interrupt;
mod names;
mod output;
mod place;
mod progress;
mod quote;
mod replay;
mod screen;
mod session;
mod shell;
mod talk;

pub use args::run;
