//! Notices that the process is a child made by `fork`.
//!
//! Threads do not follow into a child, and locks stay as they were: what was opened before is
//! unusable there. A handle remembers the process it belongs to.

use std::sync::Once;

use rstmdb_threads::process;

/// Which process this is; a child has another number than its parent.
pub(crate) fn process() -> u64 {
    process::forks()
}

/// Sees to it that a child learns what it is.
pub(crate) fn watch_for_forks() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(register);
}

#[cfg(unix)]
#[allow(unsafe_code)]
fn register() {
    extern "C" fn in_child() {
        process::after_fork();
    }
    // SAFETY: the handler only sets numbers, which is allowed between fork and exec, and it is never
    // removed: the code that holds it is not unloaded while the process runs.
    unsafe {
        libc::pthread_atfork(None, None, Some(in_child));
    }
}

#[cfg(not(unix))]
fn register() {}
