//! The one door through which every transport reaches the database.
//!
//! A transport parses what it received, makes three calls and prints what they return. It makes a
//! [`Caller`] for each session and asks it
//!
//! - [`Caller::admit`]: may they, and not too fast;
//! - [`Caller::execute`]: a [`Request`](rstmdb_types::Request) carried out;
//! - [`Caller::stream`]: a watch begun, whose [`Events`] follow.
//!
//! Time and new ids are stamped here, and everything is counted here. Nothing else in the server knows
//! the engine: a session lives on when the one it worked with is replaced (see [`Calls::replace`]).

mod admit;
mod caller;
mod driver;
mod execute;
mod failure;
mod hold;
mod pending;
mod place;
mod stream;

pub use caller::Caller;
pub use driver::{Later, NodeDriver, NodeStream};
pub use execute::Call;
pub use failure::CountedError;
pub use pending::{Commit, Pending};
pub use place::Calls;
pub(crate) use place::make_private;
pub use rstmdb_engine::Engine;
pub use stream::Events;

pub(crate) use execute::{QUICK_BYTES_MAX, is_quick};
pub(crate) use pending::failed;
pub(crate) use rstmdb_engine::KnownContexts;
pub(crate) use stream::Selection;
