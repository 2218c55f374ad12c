//! Has another member lead.

use serde::{Deserialize, Serialize};

use crate::Text;

/// Asks for another leader.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterTransferRequest {
    /// The number of the one that is to lead; absent: a voter that has most of the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
}

/// Who leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterTransferResult {
    /// Its number.
    pub leader: u64,
    /// Where clients reach it.
    pub address: Text,
}
