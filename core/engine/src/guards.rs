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
}

impl Safeguard {
    /// Every guard.
    pub const ALL: [Safeguard; 5] = [
        Safeguard::TruncateTail,
        Safeguard::DirectorySync,
        Safeguard::Poison,
        Safeguard::HeaderChecksum,
        Safeguard::SequenceGap,
    ];
}

#[cfg(feature = "guard-check")]
mod switches {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::Safeguard;

    static OFF: AtomicU8 = AtomicU8::new(0);

    /// Switches a guard off or on, for the whole process.
    pub fn set(guard: Safeguard, on: bool) {
        if on {
            OFF.fetch_and(!(1 << guard as u8), Ordering::SeqCst);
        } else {
            OFF.fetch_or(1 << guard as u8, Ordering::SeqCst);
        }
    }

    pub(crate) fn enabled(guard: Safeguard) -> bool {
        OFF.load(Ordering::Relaxed) & (1 << guard as u8) == 0
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
