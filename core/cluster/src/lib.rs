//! Groups of nodes.
#![deny(missing_docs)]

pub mod peer;
