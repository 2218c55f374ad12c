//! Has a replica take the writes.

use serde::{Deserialize, Serialize};

use crate::error::reason;
use crate::{Error, Result, Text};

/// Asks this server to take the writes from now on. The one that it follows takes no more then, and nothing is lost. One that
/// takes them already does so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaPromoteRequest {
    /// Whether it takes them without asking the one that it follows, which may be gone: what that one has alone is lost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// The most changes that may be lost, as far as is known, with `force`; none without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lose_up_to: Option<u64>,
}

impl ReplicaPromoteRequest {
    /// Refuses what makes no sense together.
    pub fn check(&self) -> Result<()> {
        if self.force || self.lose_up_to.is_none() {
            return Ok(());
        }
        let what = "lose_up_to goes with force: without, nothing is lost";
        Err(Error::invalid(reason::INVALID_REQUEST, what).with("field", "lose_up_to"))
    }
}

/// Who takes the writes now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaPromoteResult {
    /// What this server is now.
    pub role: Text,
    /// The number of the epoch that began.
    pub epoch: u64,
    /// Changes that are known to be lost. There may be more that this server has never heard of.
    pub lost: u64,
    /// How long nobody took writes, as far as this server knows: from the time when the other one was asked.
    pub took_ms: u64,
}
