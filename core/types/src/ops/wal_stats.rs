//! Returns figures of the log.

use serde::{Deserialize, Serialize};

use crate::Offset;

/// Asks for the log's figures.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalStatsRequest {}

/// Figures of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalStatsResult {
    /// The last offset given out.
    pub entry_count: u64,
    /// The number of segment files.
    pub segment_count: u64,
    /// Their size in bytes, without space that is only reserved.
    pub total_size_bytes: u64,
    /// The offset of the last change, 0 in an empty log.
    pub latest_offset: Offset,
    /// The first offset that can still be read; absent where an older server does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_offset: Option<Offset>,
    /// What was read and written since the database was opened.
    pub io_stats: IoStats,
}

/// File operations since the database was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoStats {
    /// Bytes written to the log.
    pub bytes_written: u64,
    /// Bytes read from the log.
    pub bytes_read: u64,
    /// Write calls.
    pub writes: u64,
    /// Read calls.
    pub reads: u64,
    /// Sync calls.
    pub fsyncs: u64,
}
