//! Where the paths of a data directory begin: in the directory that is held open, so that whatever comes
//! to stand at its name gets nothing of ours; without one at its name.
//!
//! Symbolic links are followed, and nothing guards against paths that leave the directory: the engine
//! makes the paths.

use std::fs::File;
use std::path::Path;

#[cfg(not(unix))]
mod elsewhere;
#[cfg(unix)]
mod unix;

/// A data directory, by its name or held open.
#[derive(Debug, Clone, Copy)]
pub(super) struct Base<'a> {
    pub root: &'a Path,
    /// The open directory, on systems that open files relative to it.
    #[cfg_attr(not(unix), expect(dead_code, reason = "nothing is opened relative to it here"))]
    pub held: Option<&'a File>,
}
