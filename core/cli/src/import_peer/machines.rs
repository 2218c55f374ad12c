//! Copies the definitions, all versions in order.

use std::collections::HashSet;

use rstmdb::blocking::Database;
use rstmdb::{Error, ErrorKind, GetMachineRequest, PutMachineRequest, Text};
use serde_json::json;

use super::report::CopyReport;
use super::source::PeerSource;
use crate::error::CommandResult;
use crate::talk::Talk;

/// The versions that are not here as they are there; their instances can't be created.
pub(super) type RefusedVersions = HashSet<(Text, u32)>;

pub(super) fn copy(
    source: &PeerSource,
    database: &Database,
    talk: &Talk,
    report: &mut CopyReport,
) -> CommandResult<RefusedVersions> {
    let mut refused = RefusedVersions::new();
    for item in source.machines()? {
        let mut versions = item.versions;
        versions.sort_unstable();
        for version in versions {
            let machine = item.machine.clone();
            let request = GetMachineRequest { machine: machine.clone(), version };
            let definition = source.database.get_machine(request)?.definition;
            let request = PutMachineRequest::new(machine.clone(), version, definition);
            match database.put_machine(request) {
                Ok(stored) if stored.created => report.machines_stored += 1,
                Ok(_) => report.machines_existing += 1,
                Err(error) if is_about_the_definition(&error) => {
                    report.machines_refused += 1;
                    tell(talk, &machine, version, &error);
                    refused.insert((machine, version));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(refused)
}

fn is_about_the_definition(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Invalid | ErrorKind::AlreadyExists | ErrorKind::Rejected)
}

fn tell(talk: &Talk, machine: &str, version: u32, error: &Error) {
    let (code, message) = (error.code(), error.message());
    talk.row(
        || (format!("refused: machine {machine} version {version}: {code}: "), message.to_owned()),
        || {
            json!({ "refused": {
                "machine": machine, "version": version, "code": code, "reason": error.reason(),
                "message": message,
            } })
        },
    );
}
