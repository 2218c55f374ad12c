//! Which nodes a database has, and which of them takes writes: told with the hello, or with the credentials where
//! those are asked for, and again whenever it changes. Extended dialect.
//!
//! A client lives on what it understands of it. A node that is no node is skipped, a member that is none is absent,
//! and what makes no sense as a whole is as if nothing had been told: a connection never fails of it.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// So many nodes are looked at; nobody has as many.
const NODES_MAX: usize = 1024;

/// The nodes of a database, as one of them knows them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Cluster {
    /// The id of the database. Nodes that tell another one hold another database.
    pub id: String,
    /// Grows whenever who takes writes may have changed. What is told with a lower one is old.
    pub epoch: u64,
    /// The node that tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<u64>,
    /// The node that takes writes, when it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader: Option<u64>,
    /// All nodes that clients may talk to.
    pub nodes: Vec<ClusterNode>,
}

/// A node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ClusterNode {
    /// Its number, never used again for another.
    pub id: u64,
    /// Where clients reach it, `HOST:PORT`; absent when it does not know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// `standalone`, `primary`, `replica`, `leader`, `follower` or `learner`; a newer server may say others.
    pub role: String,
    /// Where it stands, as the operator calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// How far it was behind when it was last heard of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_ms: Option<u64>,
}

impl Cluster {
    /// A database that has one node, number 0, which says nothing of its address.
    pub fn alone(id: String) -> Cluster {
        let node = ClusterNode { role: "standalone".to_owned(), ..ClusterNode::default() };
        Cluster { id, epoch: 0, node: Some(0), leader: Some(0), nodes: vec![node] }
    }

    /// Reads what a server told, as far as it is understood.
    pub fn read(told: &Value) -> Option<Cluster> {
        let number = |name: &str| told.get(name).and_then(Value::as_u64);
        let nodes = told.get("nodes").and_then(Value::as_array).map(Vec::as_slice);
        let nodes = nodes.unwrap_or_default().iter().take(NODES_MAX).filter_map(ClusterNode::read);
        Some(Cluster {
            id: told.get("id").and_then(Value::as_str).filter(|id| !id.is_empty())?.to_owned(),
            epoch: number("epoch").unwrap_or(0),
            node: number("node"),
            leader: number("leader"),
            nodes: nodes.collect(),
        })
    }

    /// The node of this number.
    pub fn find(&self, id: u64) -> Option<&ClusterNode> {
        self.nodes.iter().find(|node| node.id == id)
    }
}

impl ClusterNode {
    fn read(told: &Value) -> Option<ClusterNode> {
        let text = |name: &str| told.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(ClusterNode {
            id: told.get("id").and_then(Value::as_u64)?,
            address: text("address").filter(|address| !address.is_empty()),
            role: text("role").unwrap_or_default(),
            zone: text("zone"),
            lag_ms: told.get("lag_ms").and_then(Value::as_u64),
        })
    }
}

/// Reads a member that may be absent, or anything.
pub(crate) fn lenient<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Cluster>, D::Error> {
    Ok(Cluster::read(&Value::deserialize(from)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut told = Cluster::alone("0f".to_owned());
        let node = ClusterNode {
            id: 7,
            address: Some("b:1".into()),
            role: "replica".into(),
            ..ClusterNode::default()
        };
        told.nodes.push(ClusterNode { zone: Some("z".into()), lag_ms: Some(3), ..node });
        let text = serde_json::to_string(&told).unwrap();
        assert_eq!(Cluster::read(&serde_json::from_str(&text).unwrap()), Some(told));
    }

    #[test]
    fn what_is_not_understood_is_skipped() {
        let told = json!({
            "id": "x", "epoch": "many", "leader": -1, "map_version": 7,
            "nodes": [1, null, {"id": "a"}, {"id": 2, "address": 3, "role": [], "moon": true}],
        });
        let node = ClusterNode { id: 2, ..ClusterNode::default() };
        let read = Cluster { id: "x".into(), nodes: vec![node], ..Cluster::default() };
        assert_eq!(Cluster::read(&told), Some(read));
        for garbage in [json!(null), json!(7), json!([]), json!({"id": ""}), json!({"nodes": 1})] {
            assert_eq!(Cluster::read(&garbage), None, "{garbage}");
        }
        let nodes: Vec<_> = (0..5000).map(|id| json!({"id": id})).collect();
        let read = Cluster::read(&json!({"id": "x", "nodes": nodes})).unwrap();
        assert_eq!(read.nodes.len(), NODES_MAX);
    }
}
