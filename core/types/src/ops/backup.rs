//! Backups of an open database, a piece at a time.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorCode, Result};
use crate::{Offset, Text, TimestampMs};

/// Asks for a piece of a backup. Without a `backup_id` one begins, of everything up to now; the pieces one after the
/// other are the file. Files it is made of are kept while its pieces are asked for, up to a minute between two.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupRequest {
    /// The backup, as the first piece told it. Later it can be gone on with, also after a restart of the
    /// server, as long as the files that it is made of are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_id: Option<Text>,
    /// The byte of the backup that the piece begins with; 0 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// The most bytes of the piece; 1 MiB when absent, and at most 4 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_max: Option<u32>,
}

/// A piece of a backup, and what it is a backup of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupResult {
    /// The backup.
    pub backup_id: Text,
    /// The database it is of.
    pub database_id: Text,
    /// The history that its last change belongs to, 16 hex digits; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_id: Option<Text>,
    /// The last change in the checkpoint that it begins with; 0 when the log tells all of it.
    pub checkpoint_offset: Offset,
    /// The last change in it.
    pub last_offset: Offset,
    /// When that was; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_at: Option<TimestampMs>,
    /// When it was begun, ms since 1970.
    pub begun_at: TimestampMs,
    /// The bytes of all pieces together.
    pub size_bytes: u64,
    /// The byte that this piece begins with.
    pub position: u64,
    /// The bytes of the piece, in base64.
    pub data: Text,
    /// Where the next piece begins; absent when this is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_position: Option<u64>,
}

impl BackupResult {
    /// How the bytes of a piece travel.
    pub fn encode(bytes: &[u8]) -> Text {
        BASE64_STANDARD.encode(bytes).into()
    }

    /// The bytes of the piece.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        BASE64_STANDARD.decode(self.data.as_bytes()).map_err(|error| {
            let message = format!("a piece of a backup is no base64: {error}");
            Error::new(ErrorCode::InternalError, message)
        })
    }
}
