//! Groups of nodes.
#![deny(missing_docs)]

pub mod follow;
pub mod peer;
pub mod raft;
