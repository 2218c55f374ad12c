//! Puts the definition of an import where it belongs: in a version that has it, or a new one.

use rstmdb::blocking::Database;
use rstmdb::{ErrorCode, Json, PutMachineRequest, PutMachineResult, Result};

use crate::output::Output;
use crate::session::versions;

/// The definition that the instances shall have.
#[derive(Debug)]
pub(super) struct TargetMachine {
    pub(super) machine: String,
    pub(super) version: Option<u32>,
    pub(super) definition: Json,
    pub(super) is_learned: bool,
}

/// Stores the definition; a version that has it already is taken as it is.
pub(super) fn store(
    database: &Database,
    target: &TargetMachine,
    output: Output,
) -> Result<PutMachineResult> {
    let existing = versions(database, &target.machine)?;
    let put = |version: u32| {
        let definition = target.definition.clone();
        database.put_machine(PutMachineRequest::new(target.machine.as_str(), version, definition))
    };
    let stored = match target.version {
        Some(version) => put(version)?,
        None => {
            let mut stored = None;
            for version in existing.iter().rev() {
                match put(*version) {
                    Err(error) if error.code() == ErrorCode::MachineVersionExists => {}
                    other => {
                        stored = Some(other?);
                        break;
                    }
                }
            }
            match (stored, existing.last()) {
                (Some(stored), _) => stored,
                (None, None) => put(1)?,
                (None, Some(last)) => {
                    let stored = put(last.saturating_add(1))?;
                    output.note(&format!(
                        "machine {:?} has another definition: this one is version {}; instances \
                         that exist keep theirs",
                        target.machine, stored.version
                    ));
                    stored
                }
            }
        }
    };
    // What was learned is what was seen: there is nothing its owner could mean differently.
    for warning in stored.warnings.iter().filter(|_| !target.is_learned) {
        output.note(&format!("warning: {}: {}", warning.path, warning.message));
    }
    Ok(stored)
}
