//! Checkpoints: all that replay would give, in one file, written while writes go on.
//!
//! A checkpoint has an offset: every effect up to it is included, and some later ones may be. Each
//! entry carries the offset of its last change, so replaying the log from the checkpoint's offset on
//! skips what an entry has already.

pub(crate) mod begin;
pub(crate) mod format;
pub(crate) mod load;
pub(crate) mod policy;
pub(crate) mod write;

pub(crate) const CHECKPOINT_DIRECTORY: &str = "checkpoints";
/// How the name of a whole one ends.
pub(crate) const CHECKPOINT_ENDING: &str = ".ckpt";

/// The path of a checkpoint.
pub(crate) fn checkpoint_path(file: &str) -> String {
    format!("{CHECKPOINT_DIRECTORY}/{file}")
}
