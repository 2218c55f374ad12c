//! What belongs to the process as a whole, and what becomes of it in a child made by `fork`.

use std::sync::atomic::{AtomicU64, Ordering};

static FORKS: AtomicU64 = AtomicU64::new(0);

/// Tells rstmdb that this process is a child made by `fork`: threads of its parent are not there.
///
/// Databases opened after this get threads of their own. Those that were opened before it may not be
/// used any more, nor dropped: their locks may be held by threads that do not exist. It only sets
/// numbers, so it may be called where little else is allowed, as in a handler of `pthread_atfork`.
pub fn after_fork() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    #[cfg(feature = "remote")]
    rstmdb_client::after_fork();
}

/// How often this process, and those it descends from, were told of a fork.
pub fn forks() -> u64 {
    FORKS.load(Ordering::Relaxed)
}
