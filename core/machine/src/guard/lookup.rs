//! Follows a path through canonical JSON text.

use rstmdb_types::JsonRef;

use super::Scope;
use super::syntax::{Path, Root, Step};

/// The value at a path; None where there is nothing.
pub(super) fn find<'a>(path: &Path, scope: &Scope<'a>) -> Option<JsonRef<'a>> {
    let root = match path.root {
        Root::Ctx => Some(scope.ctx),
        Root::Payload => scope.payload,
    };
    path.steps.iter().try_fold(root?, |value, step| match step {
        Step::Member(key) => value.get(key),
        Step::Index(index) => value.at(*index),
    })
}
