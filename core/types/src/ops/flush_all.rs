//! Removes all machines and instances.

use serde::{Deserialize, Serialize};

/// Asks to remove everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlushAllRequest {}

/// What was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlushAllResult {
    /// Always true.
    pub flushed: bool,
    /// Instances removed.
    pub instances_removed: u64,
    /// Machine versions removed.
    pub machines_removed: u64,
}
