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
    /// Those that wait for frames to be synced are told in the order of the frames.
    SyncedInOrder,
    /// Who leads and has a frame refused takes back what came of it, and all behind it.
    RefusalEndsRun,
    /// Nobody follows who is of an epoch before the last that was heard of.
    Fencing,
    /// What is not on the disk does not count there when its node asks for votes.
    UnsyncedCountsNot,
    /// Who steps down leaves its log as it is: what is in it may count.
    LogOutlivesRun,
    /// What was taken back is in no later batch.
    TakenBackForGood,
    /// A checkpoint names the place in the log that its data is of.
    PlaceOfItsData,
}

impl Safeguard {
    /// Every guard.
    pub const ALL: [Safeguard; 22] = [
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
        Safeguard::SyncedInOrder,
        Safeguard::RefusalEndsRun,
        Safeguard::Fencing,
        Safeguard::UnsyncedCountsNot,
        Safeguard::LogOutlivesRun,
        Safeguard::TakenBackForGood,
        Safeguard::PlaceOfItsData,
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

    /// Whether a guard is on.
    pub fn enabled(guard: Safeguard) -> bool {
        OFF.load(Ordering::Relaxed) & (1 << guard as u32) == 0
    }
}

#[cfg(feature = "guard-check")]
pub use switches::{enabled, set};

/// Whether a guard is on.
#[cfg(not(feature = "guard-check"))]
#[inline(always)]
pub fn enabled(_guard: Safeguard) -> bool {
    true
}
