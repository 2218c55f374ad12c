//! RCP, the wire protocol of rstmdb: bytes to messages and back. It opens no socket and owns no
//! thread, so a server, a client and a fuzz target all drive it the same way.
//!
//! A connection carries frames ([`frame`]); a frame carries one JSON message ([`message`]). Two
//! dialects share the envelope: the one every published client speaks, and the extended one, which a
//! client asks for by name when it says hello and which carries all members of results.
#![deny(missing_docs)]

pub mod command;
pub mod error;
pub mod frame;
pub mod handshake;
pub mod message;
pub mod read;
pub mod result;
pub mod topology;
mod write;

pub use command::WireCommand;
pub use frame::{Decoded, FrameError, WireMode};
pub use handshake::Dialect;
pub use message::{Malformed, WireRequest};
pub use read::{ReadMode, ReadWish};
pub use topology::{Cluster, ClusterNode};

/// The version of the protocol.
pub const PROTOCOL_VERSION: u16 = 1;
/// The port a server listens on unless told otherwise.
pub const DEFAULT_PORT: u16 = 7401;
/// The most operations in a batch of a client that did not ask for the extended dialect.
pub const BATCH_OPERATIONS_MAX: usize = 100;
