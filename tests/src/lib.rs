//! What the behaviour tests share: lives of a database on a disk that loses power.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod calls;
pub mod life;
pub mod peer;
pub mod recorder;
pub mod sample;
pub mod seeds;
pub mod vectors;
pub mod workload;
pub mod writer;
