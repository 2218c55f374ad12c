//! Tells the part of the database in replication.

use serde::{Deserialize, Serialize};

use crate::{Offset, Text};

/// Asks for the part in replication.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicationStatusRequest {}

/// The part in replication.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicationStatusResult {
    /// `standalone` when there is none.
    pub role: Text,
    /// `async` or `sync`, of a primary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Text>,
    /// Where a replica gets the log from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Text>,
    /// The last change that a replica has applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_applied_sequence: Option<Offset>,
    /// The last change that is committed where writes are taken, as far as is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary_sequence: Option<Offset>,
    /// Changes that a replica is behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_entries: Option<u64>,
    /// The age of the oldest of them, or how long a replica heard nothing, in whole seconds; absent when it never heard
    /// anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<u64>,
    /// The same in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_ms: Option<u64>,
    /// How many follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connected_replicas: Option<u64>,
    /// Those that follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<Vec<ConnectedReplica>>,
    /// What the node is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Text>,
    /// The number of its epoch, which grows with each promotion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Where writes are taken, when that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writes_at: Option<Text>,
    /// Why it is not ready, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Text>,
}

/// One that follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectedReplica {
    /// What it is called.
    pub replica_id: Text,
    /// The last change that it has applied.
    pub last_acked_sequence: Offset,
    /// How many changes it is behind.
    pub lag_entries: u64,
}
