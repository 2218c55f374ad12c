//! What nodes say to each other.
//!
//! A connection carries messages of one header and a binary body. What is here knows no socket: bytes go into a
//! [`Decoder`] and messages come out, [`Message::encode`] goes the other way, and [`Incoming`] and [`Outgoing`] do so over any
//! stream. Bytes of strangers cost no more memory than has arrived, and end the connection with a [`PeerError`] that says why.

mod decoder;
mod error;
mod fields;
mod header;
mod hello;
mod link;
mod message;

pub use decoder::{Decoder, Envelope};
pub use error::{MessageError, PeerError};
pub use header::{HEADER_BYTES, Header, MessageKind, PIECE_BYTES_MAX};
pub use hello::{Hello, Levels, Range, Refusal};
pub use link::{Incoming, Outgoing};
pub use message::{Ack, Chunk, Follow, Frames, Heartbeat, Message, Named, Offer};
