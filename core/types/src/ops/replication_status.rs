//! Tells the part of the database in replication.

use serde::{Deserialize, Serialize};

use crate::Text;

/// Asks for the part in replication.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicationStatusRequest {}

/// The part in replication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicationStatusResult {
    /// `standalone` when there is none.
    pub role: Text,
}
