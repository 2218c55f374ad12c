//! A place in a log that somebody goes on from later.

use crate::{Offset, Text};

/// Where to go on in the log: the next offset, and the history that the change before it belongs to. The same
/// offset means something else in another history, such as that of a restored copy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogPosition {
    /// The next offset, for `from_offset`.
    pub next: Offset,
    /// The history's id, for `history_id`; none where nobody has told it.
    pub history_id: Option<Text>,
}
