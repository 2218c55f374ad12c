//! Where a checkpoint begins.

use rstmdb_types::Offset;

use crate::log::Ticket;
use crate::log::tip::Named;

/// Where a checkpoint begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begin {
    pub ticket: Ticket,
    /// The log behind this offset stands alone.
    pub boundary: Offset,
    /// The last frame written.
    pub named: Option<Named>,
    /// Where the purge floor was.
    pub purge_floor: Offset,
    /// The flushes so far.
    pub flushes: u64,
    /// Nobody writes meanwhile, so it need not rest, and closing does not end it.
    pub is_alone: bool,
}
