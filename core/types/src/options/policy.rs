//! Options that are a choice: when to sync, and how much history to keep.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::error::{Error, reason};

/// When the log is synced to the disk, and with it what an acknowledgement promises.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FsyncPolicy {
    /// An answer waits for the sync that covers it; concurrent callers share one sync.
    #[default]
    EveryWrite,
    /// A sync after this many changes; a power failure may take back fewer than that.
    EveryN(u32),
    /// A sync this often while there is something to sync, in milliseconds.
    EveryMs(u32),
    /// No sync but at a clean stop; a power failure may take back what the system had not written.
    Never,
}

impl FromStr for FsyncPolicy {
    type Err = Error;

    fn from_str(text: &str) -> Result<FsyncPolicy, Error> {
        let number = |digits: &str| digits.parse().ok().filter(|n| *n > 0);
        let policy = match text.split_once(':') {
            None if text == "every_write" => Some(FsyncPolicy::EveryWrite),
            None if text == "never" => Some(FsyncPolicy::Never),
            Some(("every_n", n)) => number(n).map(FsyncPolicy::EveryN),
            Some(("every_ms", n)) => number(n).map(FsyncPolicy::EveryMs),
            _ => None,
        };
        policy.ok_or_else(|| {
            Error::invalid(
                reason::INVALID_OPTION,
                format!(
                    "unknown fsync policy {text:?}; use every_write, every_n:100, every_ms:100 or \
                     never"
                ),
            )
            .with("option", "fsync")
        })
    }
}

impl fmt::Display for FsyncPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FsyncPolicy::EveryWrite => f.write_str("every_write"),
            FsyncPolicy::EveryN(n) => write!(f, "every_n:{n}"),
            FsyncPolicy::EveryMs(n) => write!(f, "every_ms:{n}"),
            FsyncPolicy::Never => f.write_str("never"),
        }
    }
}

/// How much of the log is kept below the newest checkpoint, for `history` and replayed watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// All of it.
    Forever,
    /// At most about this many bytes.
    Bytes(u64),
    /// Changes younger than this.
    Age(Duration),
}
