//! Returns name, version, features and limits.

use serde::{Deserialize, Serialize};

use crate::{KnownLimits, Offset, Text};

/// Asks what this database is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InfoRequest {}

/// What this database is. A server of 0.3.0 tells its name, its version and a limit, and the rest is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InfoResult {
    /// Always `rstmdb`.
    pub server_name: Text,
    /// The version of rstmdb.
    pub server_version: Text,
    /// `memory`, `file` or `remote`.
    pub backend: Text,
    /// The id the database was given when it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database_id: Option<Text>,
    /// What it can do beside the rest, by name; a newer server may list names not known here.
    pub features: Vec<Text>,
    /// Whether writes are accepted; when not, `health` says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writable: Option<bool>,
    /// `ok`, or what is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Text>,
    /// The limits in force.
    pub limits: KnownLimits,
    /// Instances that are not deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instances: Option<u64>,
    /// Machine versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machines: Option<u64>,
    /// The offset of the last change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_offset: Option<Offset>,
    /// The history that it belongs to, 16 hex digits; absent before the first change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_id: Option<Text>,
}
