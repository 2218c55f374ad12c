//! Ways back for changes of the database as a whole.

use std::sync::Arc;

use rstmdb_types::Offset;

use super::keys::KeyTable;
use super::machines::MachineEntry;

/// How to take back a change that is of no partition.
pub(crate) enum MachineUndo {
    Insert,
    Flush { machines: Vec<Arc<MachineEntry>>, keys: KeyTable },
    Boundary(Offset),
    PurgeFloor(Offset),
}
