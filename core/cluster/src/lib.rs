//! Groups of nodes.
#![deny(missing_docs)]

pub mod follow;
pub mod net;
pub mod peer;
pub mod raft;

/// Bytes as hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
