//! Finds what a definition is allowed to contain but probably does not mean.

use rstmdb_types::{DefinitionWarning, Result};

use crate::definition::{self, Definition};
use crate::machine::Machine;

/// Adds what is suspicious about the definition as a whole.
pub(crate) fn warn(_: &Definition, _: &Machine, _: &mut Vec<DefinitionWarning>) {}

/// Gives the warnings back, or the first of them as an error when `strict`.
pub(crate) fn finish(
    warnings: Vec<DefinitionWarning>,
    strict: bool,
) -> Result<Vec<DefinitionWarning>> {
    match warnings.first() {
        Some(first) if strict => Err(definition::invalid(&first.path, &first.message)),
        _ => Ok(warnings),
    }
}
