//! Looks through the files of a database.

use serde::{Deserialize, Serialize};

use crate::{Offset, Text};

/// Asks to read files of the database. All of them takes several requests: each goes on where the one before
/// told in `next`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyRequest {
    /// Where to go on, as the result before told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Text>,
}

/// What was found in the files that were read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyResult {
    /// The id the database was given when it was created.
    pub database_id: Text,
    /// Whether nothing is wrong with what was read.
    pub ok: bool,
    /// The last change that was on the way to the files when this was asked.
    pub last_offset: Offset,
    /// The segments of the log that were read.
    pub segments: Vec<SegmentReport>,
    /// The checkpoints that were read.
    pub checkpoints: Vec<CheckpointReport>,
    /// What is wrong, in the order it was found.
    pub problems: Vec<Problem>,
    /// Where to go on; absent when everything was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Text>,
}

/// One segment of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentReport {
    /// The file.
    pub file: String,
    /// The first offset in it.
    pub first_offset: Offset,
    /// Intact frames.
    pub frames: u64,
    /// Changes in them.
    pub changes: u64,
    /// Bytes of header and intact frames.
    pub bytes: u64,
}

/// One checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointReport {
    /// The file.
    pub file: String,
    /// Changes up to this offset are in it.
    pub offset: Offset,
    /// Instances in it, deleted ones included.
    pub instances: u64,
    /// Whether all of it is intact.
    pub ok: bool,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The file.
    pub file: String,
    /// The byte where it begins.
    pub position: u64,
    /// The offset that was expected there, in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<Offset>,
    /// What is wrong.
    pub message: String,
    /// What can be done.
    pub remedy: String,
}
