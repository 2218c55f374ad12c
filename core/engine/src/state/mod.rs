//! The state in memory: machines, instances, their order and their idempotency keys.
//!
//! Instances are spread over partitions by the hash of their id, each behind its own lock. Every
//! change, live or replayed, goes through the same few methods of [`Partition`].

pub(crate) mod ids;
pub(crate) mod index;
pub(crate) mod keys;
pub(crate) mod locked;
pub(crate) mod machines;
pub(crate) mod partition;
pub(crate) mod parts;
pub(crate) mod side;
pub(crate) mod stamp;
pub(crate) mod undo;

pub(crate) use index::CellFilter;
pub(crate) use keys::{Answer, KeyEntry, KeyTable, Owner};
pub(crate) use machines::{MachineEntry, Machines};
pub(crate) use partition::{Partition, Slot};
pub(crate) use parts::State;
