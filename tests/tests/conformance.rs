//! Runs the conformance scenarios on the model, on the engine in memory and in a directory, and on a
//! server, without and with TLS.
//!
//! `RSTMDB_TARGET` chooses one target: `model`, `mem:`, `file:`, `rstmdb:` or `rstmdbs:`. `RSTMDB_SCENARIO` runs only the
//! scenarios whose file or name contains it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::path::PathBuf;

use rstmdb_testkit::model::Settings;
use rstmdb_testkit::scenario::{self, Scenario};
use rstmdb_testkit::server::Certificates;
use rstmdb_testkit::target::{DatabaseTarget, ModelTarget, Target, options_of};
use rstmdb_testkit::values;
use rstmdb_types::error::reason;
use rstmdb_types::{Feature, Operation};
use serde_json::Value;

/// Reasons that no scenario can bring about: they need a failing disk, a second process, an older
/// log than there is, a URL, or a server that goes away.
const REASONS_WITHOUT_SCENARIO: &[&str] = &[
    reason::ANSWER_TOO_LARGE,
    reason::CANCELLED,
    reason::CLOSED,
    reason::CONNECTION_LOST,
    reason::CORRUPT,
    reason::DISK_FULL,
    reason::INVALID_OPTION,
    reason::IO,
    reason::LAG_EXCEEDED,
    reason::LOCKED,
    reason::LOG_MISMATCH,
    reason::NEWER_FORMAT,
    reason::NOT_LEADER,
    reason::OFFSET_COMPACTED,
    reason::OUTCOME_UNKNOWN,
    reason::REOPENING,
    reason::REPLICA,
    reason::TIMEOUT,
    reason::TOO_FEW_REPLICAS,
    reason::WRITES_STOPPED,
    reason::WRITE_FAILED,
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("conformance")
}

/// Every scenario file: its operation and its scenarios. Panics on one that is malformed.
fn files() -> Vec<(Operation, Vec<Scenario>)> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder().join("scenarios"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        let file = scenario::read(&text).unwrap_or_else(|fault| panic!("{path:?}: {fault}"));
        let stem = path.file_stem().unwrap().to_str().unwrap();
        assert_eq!(stem, file.0.name(), "a scenario file is named after its operation");
        file
    };
    paths.iter().map(read).collect()
}

/// Runs every scenario on a target of its own and lists all that fail.
fn run(target: &str, open: &dyn Fn(&Scenario) -> Box<dyn Target>) {
    if std::env::var("RSTMDB_TARGET").is_ok_and(|chosen| chosen != target) {
        return;
    }
    let wanted = std::env::var("RSTMDB_SCENARIO").unwrap_or_default();
    let mut faults = Vec::new();
    let mut count = 0;
    for (operation, scenarios) in files() {
        for scenario in scenarios {
            if !operation.name().contains(&wanted) && !scenario.name.contains(&wanted) {
                continue;
            }
            let mut target = open(&scenario);
            if !target.can_reopen() && scenario.requires.iter().any(|name| name == "reopen") {
                continue;
            }
            count += 1;
            if let Err(fault) = scenario.run(&mut *target) {
                faults.push(format!("{}: {fault}", operation.name()));
            }
        }
    }
    assert!(count > 0, "no scenario was run");
    let list = faults.join("\n\n");
    assert!(faults.is_empty(), "{target}: {} of {count} scenarios fail\n\n{list}", faults.len());
}

#[test]
fn the_model_conforms() {
    run("model", &|scenario| Box::new(ModelTarget::new(scenario.settings.clone())));
}

#[test]
fn a_database_in_memory_conforms() {
    run("mem:", &|scenario| {
        Box::new(DatabaseTarget::memory(options_of(&scenario.settings)).unwrap())
    });
}

#[test]
fn a_database_in_a_directory_conforms() {
    let root = tempfile::tempdir().unwrap();
    run("file:", &|scenario| {
        let directory = tempfile::tempdir_in(root.path()).unwrap().keep();
        Box::new(DatabaseTarget::directory(&directory, options_of(&scenario.settings)).unwrap())
    });
}

#[test]
fn a_database_on_a_server_conforms() {
    let root = tempfile::tempdir().unwrap();
    run("rstmdb:", &|scenario| {
        let directory = tempfile::tempdir_in(root.path()).unwrap().keep();
        Box::new(DatabaseTarget::served(&directory, options_of(&scenario.settings)).unwrap())
    });
}

#[test]
fn values_are_taken_and_refused_as_the_table_says() {
    let table = std::fs::read_to_string(folder().join("values.json")).unwrap();
    let (memory, served) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let options = || options_of(&Settings::default());
    for target in [
        DatabaseTarget::memory(options()),
        DatabaseTarget::directory(memory.path(), options()),
        DatabaseTarget::served(served.path(), options()),
    ] {
        let count =
            values::run(&table, target.unwrap().database()).unwrap_or_else(|it| panic!("{it}"));
        assert!(count >= 60, "the table has {count} values");
    }
}

#[test]
fn a_database_on_a_server_with_tls_and_token_conforms() {
    let root = tempfile::tempdir().unwrap();
    let certificates = Certificates::create(root.path());
    run("rstmdbs:", &|scenario| {
        let directory = tempfile::tempdir_in(root.path()).unwrap().keep();
        let options = options_of(&scenario.settings);
        Box::new(DatabaseTarget::served_securely(&directory, options, &certificates).unwrap())
    });
}

#[test]
fn every_operation_has_a_file_with_a_success_and_a_failure() {
    let files = files();
    for operation in Operation::ALL {
        let scenarios = files.iter().find(|file| file.0 == *operation);
        let (_, scenarios) = scenarios.unwrap_or_else(|| panic!("{operation:?} has no scenarios"));
        let shows = |success| scenarios.iter().any(|scenario| scenario.shows(*operation, success));
        // No target is a group; the server's tests have some.
        let orders_group =
            Feature::of(*operation) == Some(Feature::Cluster) && operation.can_fail();
        assert_eq!(shows(true), !orders_group, "{operation:?} never succeeds");
        assert_eq!(shows(false), operation.can_fail(), "{operation:?} fails");
    }
}

#[test]
fn every_reason_has_a_scenario_or_a_reason_not_to() {
    let files = files();
    let scenarios = files.iter().flat_map(|(_, scenarios)| scenarios);
    let shown: BTreeSet<String> = scenarios.flat_map(Scenario::reasons).collect();
    for (name, _) in reason::ALL {
        let exempt = REASONS_WITHOUT_SCENARIO.contains(name);
        assert_eq!(shown.contains(*name), !exempt, "{name}");
    }
}

/// What `schema.json` tells an editor is what the runner accepts.
#[test]
fn the_schema_agrees_with_the_runner() {
    let text = std::fs::read_to_string(folder().join("schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&text).unwrap();
    let sorted = |names: &[&str]| -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    };
    let members = |pointer: &str| -> BTreeSet<String> {
        let object = schema.pointer(pointer).unwrap_or_else(|| panic!("no {pointer}"));
        object.as_object().unwrap().keys().cloned().collect()
    };
    let listed = |pointer: &str| -> BTreeSet<String> {
        let list = schema.pointer(pointer).unwrap_or_else(|| panic!("no {pointer}"));
        list.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(members("/properties"), sorted(scenario::FILE_MEMBERS));
    assert_eq!(members("/$defs/scenario/properties"), sorted(scenario::SCENARIO_MEMBERS));
    assert_eq!(members("/$defs/options/properties"), sorted(scenario::OPTIONS));
    assert_eq!(members("/$defs/step/properties"), sorted(scenario::STEP_MEMBERS));
    assert_eq!(members("/$defs/error/properties"), sorted(scenario::ERROR_MEMBERS));
    assert_eq!(members("/$defs/matcher/properties"), sorted(scenario::MATCHERS));
    assert_eq!(members("/$defs/maker/properties"), sorted(scenario::MAKERS));
    let features = "/$defs/scenario/properties/requires/items/enum";
    assert_eq!(listed(features), sorted(scenario::FEATURES));
    let operations: Vec<&str> = Operation::ALL.iter().map(|op| op.wire_name()).collect();
    assert_eq!(listed("/$defs/operation/enum"), sorted(&operations));
    let more = listed("/$defs/step/properties/op/anyOf/1/enum");
    assert_eq!(more, sorted(scenario::RUNNER_OPS));
}

#[test]
fn malformed_scenarios_are_refused() {
    let file = |scenario: &str| {
        let text = format!(r#"{{"operation": "PING", "scenarios": [{scenario}]}}"#);
        scenario::read(&text).map(|_| ())
    };
    file(r#"{"name": "n", "steps": [{"op": "PING"}]}"#).unwrap();
    for (malformed, expected) in [
        (r#"{"steps": [{"op": "PING"}]}"#, "no name"),
        (r#"{"name": "n", "steps": []}"#, "not empty"),
        (r#"{"name": "n", "steps": [{"op": "ping"}]}"#, "unknown op"),
        (r#"{"name": "n", "steps": [{"op": "PING", "expected": {}}]}"#, "expected"),
        (r#"{"name": "n", "steps": [{"op": "PING", "ms": 1}]}"#, "ms"),
        (r#"{"name": "n", "steps": [{"op": "PING", "expect": {}, "error": {}}]}"#, "not both"),
        (r#"{"name": "n", "steps": [{"op": "PING", "expect": {"a": {"$itn": true}}}]}"#, "$itn"),
        (r#"{"name": "n", "steps": [{"op": "PING", "args": {"a": {"$any": true}}}]}"#, "$any"),
        (r#"{"name": "n", "steps": [{"op": "REOPEN"}]}"#, "reopen"),
        (r#"{"name": "n", "requires": ["magic"], "steps": [{"op": "PING"}]}"#, "magic"),
        (r#"{"name": "n", "options": {"limits": {"x": 1}}, "steps": [{"op": "PING"}]}"#, "limits"),
    ] {
        let fault = file(malformed).unwrap_err();
        assert!(fault.contains(expected), "{malformed}: {fault}");
    }
}
