//! The network of a group: members reach each other over TCP, with TLS in both directions or on one machine.
//!
//! [`TcpNetwork`] is what the library sends by, [`PeerDesk`] answers what comes. A pair of members has up to three
//! connections in each direction: one for what must not wait (votes, heartbeats), one for the log, one for a
//! checkpoint while it goes over; and one for each client's session that is [passed on](pass_on) to who leads. Who is at the other end is settled by the first message ([`Hello`](crate::peer::Hello)): another
//! group, another database, a number that belongs to somebody else are told so in a sentence, and the connection ends.
//! Strangers cost little: so many connections, so long, and no message of more than 64 KiB.

mod certificate;
mod convert;
mod desk;
mod dial;
mod inquiry;
mod line;
mod local;
mod pass;
mod pipeline;
mod receive;
#[cfg(feature = "simulation")]
pub mod travel;
mod wire;

pub use desk::{PeerCounts, PeerDesk};
pub use dial::{JoinAnswer, PeerStream, ask_to_join};
pub use inquiry::{Inquiries, Invitee};
pub use local::{PeerNode, PeerTls};
pub use pass::{PassedOn, SessionDoor, pass_on};
pub use wire::{TcpNetwork, Wire};
