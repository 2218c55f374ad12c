//! Has a server follow another one.

use serde::{Deserialize, Serialize};

use crate::Text;

/// Asks this server to follow another one from now on, or nobody. What it has alone is set aside in files when the other one was
/// promoted since, else it is not taken back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaFollowRequest {
    /// Where clients reach the other one, `host:port`; nothing: it stays as it is, a copy that nobody brings up to date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Text>,
}

/// Whom it follows now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaFollowResult {
    /// What this server is now.
    pub role: Text,
    /// Whom it follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Text>,
}
