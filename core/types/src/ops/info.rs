//! Returns name, version, features and limits.

use serde::{Deserialize, Serialize};

use crate::{Limits, Offset, Text};

/// Asks what this database is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InfoRequest {}

/// What this database is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InfoResult {
    /// Always `rstmdb`.
    pub server_name: Text,
    /// The version of rstmdb.
    pub server_version: Text,
    /// `memory`, `file` or `remote`.
    pub backend: Text,
    /// The id the database was given when it was created.
    pub database_id: Text,
    /// What it can do beside the rest, by name; a newer server may list names not known here.
    pub features: Vec<Text>,
    /// Whether writes are accepted; when not, `health` says why.
    pub writable: bool,
    /// `ok`, or what is wrong.
    pub health: Text,
    /// The limits in force.
    pub limits: Limits,
    /// Instances that are not deleted.
    pub instances: u64,
    /// Machine versions.
    pub machines: u64,
    /// The offset of the last change.
    pub latest_offset: Offset,
    /// The history that it belongs to, 16 hex digits; absent before the first change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_id: Option<Text>,
}
