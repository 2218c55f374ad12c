//! Tells what the group of a server is, and how each of its members does.

use serde::{Deserialize, Serialize};

use crate::{Offset, Text};

/// Asks a member for its group. It asks all the others, and tells of those that do not answer too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatusRequest {}

/// The group, as the member sees it that was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatusResult {
    /// What the one that was asked is: `leader`, `follower`, `learner`, `joining` before it belongs to a group; `standalone`,
    /// `primary` or `replica` where there is no group.
    pub role: Text,
    /// Whether a leader is known that most voters answer. Without one nothing is written, and only reads that may be behind are answered.
    pub has_quorum: bool,
    /// The name of the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Text>,
    /// The number of the one that was asked; absent before it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<u64>,
    /// The number of who leads, when that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<u64>,
    /// Where clients reach that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader_address: Option<Text>,
    /// The highest term that is known; each election has a higher one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<u64>,
    /// The level of changes that the group works at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<u64>,
    /// All members, by number.
    pub members: Vec<ClusterMember>,
    /// What somebody should look at, a sentence each.
    pub problems: Vec<Text>,
}

/// A member of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterMember {
    /// Its number, which nobody had before and nobody gets after it.
    pub node: u64,
    /// What people call it.
    pub name: Text,
    /// `leader`, `follower` or `learner`.
    pub role: Text,
    /// Where clients reach it.
    pub address: Text,
    /// Where other members reach it.
    pub peer_address: Text,
    /// Where it stands; several in one zone may fail together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Text>,
    /// Whether it answered the one that was asked. What follows is known of those alone.
    pub answers: bool,
    /// Whether it is not to lead: see `cluster_drain`.
    pub is_drained: bool,
    /// The oldest level of changes that it can work at.
    pub level_min: u64,
    /// The newest one.
    pub level_max: u64,
    /// Its release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Text>,
    /// The term that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<u64>,
    /// The last change that is committed there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed: Option<Offset>,
    /// Changes that are committed where it is led, and not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_entries: Option<u64>,
    /// How old what it shows may be, in milliseconds; 0 where it leads, absent where nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_ms: Option<u64>,
    /// The newest digest of all instances that it came to, 16 hex digits: the same on all members at the same offset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Text>,
    /// The offset of that digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest_offset: Option<Offset>,
    /// Why it does not do its part, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Text>,
}
