//! The recovery guards, each of which some test must need.
//!
//! In ordinary builds every guard is on and the question costs nothing. With the feature
//! `guard-check` a test can switch one off and show that something then goes wrong.

/// A measure against losing or inventing data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Safeguard {
    /// A torn tail is cut off before anything is appended.
    TruncateTail,
    /// A created or renamed file is made durable by syncing its directory.
    DirectorySync,
    /// After a failed sync nothing more is acknowledged.
    Poison,
    /// A frame's checksum covers its header.
    HeaderChecksum,
    /// Offsets must follow each other without gap or repeat.
    SequenceGap,
    /// Nothing is shown before those who decide have decided.
    CommitMark,
    /// Who no longer decides takes back what was not decided.
    StepDown,
    /// A frame that does not go on from the log is void.
    VoidRule,
    /// The manifest expects less of the log before the log is cut.
    ManifestBeforeCut,
    /// Who read ahead forgets it when the log is cut.
    ReadAgainAfterCut,
    /// All that a record changes is locked before it is applied.
    WholeRecords,
    /// A frame is acknowledged when it is on the disk.
    SyncBeforeAnswer,
    /// A vote is on the disk before it is answered.
    VoteBeforeAnswer,
    /// What a leader shows waits until it is certain that it leads.
    ReadRounds,
    /// A member that does not lead refuses reads that must not be behind.
    LeaderReads,
}

impl Safeguard {
    /// Every guard.
    pub const ALL: [Safeguard; 15] = [
        Safeguard::TruncateTail,
        Safeguard::DirectorySync,
        Safeguard::Poison,
        Safeguard::HeaderChecksum,
        Safeguard::SequenceGap,
        Safeguard::CommitMark,
        Safeguard::StepDown,
        Safeguard::VoidRule,
        Safeguard::ManifestBeforeCut,
        Safeguard::ReadAgainAfterCut,
        Safeguard::WholeRecords,
        Safeguard::SyncBeforeAnswer,
        Safeguard::VoteBeforeAnswer,
        Safeguard::ReadRounds,
        Safeguard::LeaderReads,
    ];
}

#[cfg(feature = "guard-check")]
mod switches {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::Safeguard;

    static OFF: AtomicU32 = AtomicU32::new(0);

    /// Switches a guard off or on, for the whole process.
    pub fn set(guard: Safeguard, on: bool) {
        if on {
            OFF.fetch_and(!(1 << guard as u32), Ordering::SeqCst);
        } else {
            OFF.fetch_or(1 << guard as u32, Ordering::SeqCst);
        }
    }

    pub(crate) fn enabled(guard: Safeguard) -> bool {
        OFF.load(Ordering::Relaxed) & (1 << guard as u32) == 0
    }
}

#[cfg(feature = "guard-check")]
pub(crate) use switches::enabled;
#[cfg(feature = "guard-check")]
pub use switches::set;

#[cfg(not(feature = "guard-check"))]
#[inline(always)]
pub(crate) fn enabled(_guard: Safeguard) -> bool {
    true
}
