//! The C interface: `include/rstmdb.h` is generated from this crate.
//!
//! Every function checks what it is given, catches every panic, and answers with a status; nothing
//! unwinds into C. Requests and results are JSON text. What a pointer must be is said at each function
//! and in the header's first comment; everything else is checked.

pub mod boundary;
pub mod callback;
pub mod database;
pub mod error;
pub mod log;
pub mod memory;
pub mod numbers;
pub mod operations;
pub mod requests;
pub mod watch;
