//! Has all members compare what they hold.

use serde::{Deserialize, Serialize};

use crate::{Offset, Text};

/// Asks all members for a digest of all instances at one place in the log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterVerifyRequest {}

/// What they came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterVerifyResult {
    /// The place in the log.
    pub offset: Offset,
    /// Whether all members answered, and hold the same.
    pub ok: bool,
    /// The digest that most of those hold that answered, 16 hex digits; absent when there is no most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Text>,
    /// All members, by number.
    pub members: Vec<VerifiedMember>,
}

/// What a member came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedMember {
    /// Its number.
    pub node: u64,
    /// What people call it.
    pub name: Text,
    /// Its digest at that place; absent when it did not come to one in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Text>,
    /// Whether it holds what most hold.
    pub agrees: bool,
    /// What is wrong, and what helps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Text>,
}
