//! Puts the definition of an import where it belongs: in a version that has it, or a new one.

use rstmdb::blocking::Database;
use rstmdb::{CountInstancesRequest, ErrorCode, Json, PutMachineRequest, PutMachineResult, Result};

use crate::output::{Output, number};
use crate::session::versions;

/// The definition that the instances shall have.
#[derive(Debug)]
pub(super) struct TargetMachine {
    pub(super) machine: String,
    pub(super) version: Option<u32>,
    pub(super) definition: Json,
    pub(super) is_learned: bool,
}

/// What became of the definition.
#[derive(Debug)]
pub(super) struct StoredMachine {
    pub(super) result: PutMachineResult,
    /// Whether the machine was there before, in whatever version.
    pub(super) was_there: bool,
}

/// Stores the definition; a version that has it already is taken as it is.
pub(super) fn store(
    database: &Database,
    target: &TargetMachine,
    output: Output,
) -> Result<StoredMachine> {
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
                    output.note(&what_becomes_of_instances(database, target, stored.version)?);
                    stored
                }
            }
        }
    };
    // What was learned is what was seen: there is nothing its owner could mean differently.
    for warning in stored.warnings.iter().filter(|_| !target.is_learned) {
        output.note(&format!("warning: {}: {}", warning.path, warning.message));
    }
    Ok(StoredMachine { result: stored, was_there: !existing.is_empty() })
}

/// Says that instances don't move to a new version.
fn what_becomes_of_instances(
    database: &Database,
    target: &TargetMachine,
    version: u32,
) -> Result<String> {
    let machine = &target.machine;
    let about =
        format!("machine {machine:?} has another definition: this one is version {version}");
    let request =
        CountInstancesRequest { machine: Some(machine.as_str().into()), ..Default::default() };
    let count = match database.count_instances(request)?.total() {
        0 => return Ok(about),
        1 => "the instance that exists keeps its own".to_owned(),
        count => format!("the {} instances that exist keep theirs", number(count)),
    };
    Ok(format!(
        "{about}; {count}: their next rows are held to it, those it does not allow are refused, and \
         new cases get version {version}. To have a case in version {version} delete its instance \
         and import its whole log again"
    ))
}
