//! Invites a server into the group.

use serde::{Deserialize, Serialize};

use crate::Text;

/// Asks for a server to be taken in that waits for a group. One that knows an address of the group (`cluster.seeds`) comes by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterAddRequest {
    /// Where members reach it, `host:port`: its `cluster.advertise`.
    pub peer_address: Text,
}

/// The new member. It gets a vote when it has all of the log, if it wants one and the number of voters becomes odd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterAddResult {
    /// Its number.
    pub node: u64,
    /// What people call it.
    pub name: Text,
}
