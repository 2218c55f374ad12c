//! What nodes say to each other.
//!
//! A connection carries messages of one header and a binary body. What is here knows no socket: bytes go into a
//! [`Decoder`] and messages come out, [`Message::encode`] goes the other way, and [`PeerReader`] and [`PeerWriter`] do so over any
//! stream. Bytes of strangers cost no more memory than has arrived, and end the connection with a [`PeerError`] that says why.

mod consensus;
mod decoder;
mod error;
mod fields;
mod header;
mod hello;
mod kind;
mod link;
mod malformed;
mod memory;
mod message;
mod parts;
mod session;

pub use consensus::{
    AppendFrames, Appended, Candidacy, EntryName, Handover, PeerVote, Succession, Verdict,
};
pub use decoder::{Decoder, Envelope};
pub use error::PeerError;
pub use header::{HEADER_BYTES, Header};
pub use hello::{Hello, Levels, PeerRefusal, Range};
pub use kind::{MessageKind, PIECE_BYTES_MAX};
pub use link::{PeerReader, PeerWriter};
pub use malformed::MessageError;
pub use memory::PeerMemory;
pub use message::{Ack, Chunk, FollowFrom, FrameName, Frames, Heartbeat, Message};
pub use parts::Offer;
pub use session::PassedSession;
