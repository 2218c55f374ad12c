//! The server in this process and clients that show every byte: bad input, limits, order, power cuts,
//! the recorded exchanges, and random programs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod hostile;
mod limits;
mod power;
mod programs;
mod regressions;
mod vectors;
mod watches;
