//! What the tests of servers share: the recorded exchanges, and the server that was published.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod peer;
pub mod vectors;
