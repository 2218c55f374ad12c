//! One file for each group of cases.

pub mod durable;
pub mod footprint;
pub mod memory;
pub mod micro;
pub mod reads;
pub mod recovery;
