//! Who may import whom. The table below is the only place that says so.
//!
//! Nothing points upward or sideways. A new crate needs a row before it builds on another.

use crate::Outcome;
use crate::metadata::{self, Package};

/// A crate and the crates of this repository it may name. Crates that do not exist yet have a row
/// too, so that the direction is settled before the first line is written.
const ALLOWED: &[(&str, &[&str])] = &[
    ("rstmdb-types", &[]),
    ("rstmdb-threads", &[]),
    ("rstmdb-protocol", &["rstmdb-types"]),
    ("rstmdb-client", &["rstmdb-protocol", "rstmdb-threads", "rstmdb-types"]),
    ("rstmdb-machine", &["rstmdb-types"]),
    ("rstmdb-engine", &["rstmdb-machine", "rstmdb-threads", "rstmdb-types"]),
    ("rstmdb-cluster", &["rstmdb-engine", "rstmdb-protocol", "rstmdb-types"]),
    ("rstmdb", &["rstmdb-types", "rstmdb-threads", "rstmdb-engine", "rstmdb-client"]),
    (
        "rstmdb-server",
        &["rstmdb-types", "rstmdb-engine", "rstmdb-protocol", "rstmdb-client", "rstmdb-cluster"],
    ),
    ("rstmdb-cli", &["rstmdb"]),
    ("rstmdb-bridge", &["rstmdb", "rstmdb-threads"]),
    ("rstmdb-python", &["rstmdb-bridge"]),
    ("rstmdb-node", &["rstmdb-bridge"]),
    ("rstmdb-c", &["rstmdb-bridge"]),
    ("rstmdb-jvm", &["rstmdb-bridge"]),
    (
        "rstmdb-testkit",
        &[
            "rstmdb-types",
            "rstmdb-protocol",
            "rstmdb-client",
            "rstmdb-machine",
            "rstmdb-engine",
            "rstmdb-server",
            "rstmdb",
        ],
    ),
    ("rstmdb-tests", EVERYTHING),
    ("rstmdb-benches", EVERYTHING),
    ("rstmdb-chaos", EVERYTHING),
    ("xtask", &["rstmdb-types", "rstmdb-machine"]),
];

/// For the crates nothing depends on.
const EVERYTHING: &[&str] = &[
    "rstmdb-types",
    "rstmdb-protocol",
    "rstmdb-client",
    "rstmdb-machine",
    "rstmdb-engine",
    "rstmdb-cluster",
    "rstmdb",
    "rstmdb-server",
    "rstmdb-testkit",
];

/// Beside these, `TESTKIT` may only be a dev-dependency.
const TESTKIT_USERS: &[&str] = &["rstmdb-tests", "rstmdb-benches", "rstmdb-chaos"];
const TESTKIT: &str = "rstmdb-testkit";

/// What the tests of a crate may name beside its row.
const DEV_ALLOWED: &[(&str, &[&str])] = &[
    ("rstmdb-engine", &["rstmdb"]),
    ("rstmdb-server", &["rstmdb"]),
    ("rstmdb-cli", &["rstmdb-engine", "rstmdb-server"]),
];

/// Outside packages that would break a promise: no async runtime and no consensus below the server.
const REFUSED: &[(&str, &[&str])] = &[
    ("rstmdb-types", RUNTIMES),
    ("rstmdb-threads", RUNTIMES),
    ("rstmdb-protocol", RUNTIMES),
    ("rstmdb-machine", RUNTIMES),
    ("rstmdb-engine", RUNTIMES),
];
const RUNTIMES: &[&str] = &["tokio", "async-std", "smol"];

/// Consensus is in one crate, so that one crate changes when the library does.
const CONSENSUS: &str = "openraft";
const CONSENSUS_USER: &str = "rstmdb-cluster";

/// Compares the workspace's manifests with the table.
pub fn check() -> Outcome {
    let packages = metadata::workspace().map_err(|e| vec![e])?;
    let (edges, problems) = violations(&packages);
    if problems.is_empty() {
        Ok(format!("{edges} edges between {} crates", packages.len()))
    } else {
        Err(problems)
    }
}

fn violations(packages: &[Package]) -> (usize, Vec<String>) {
    let mut edges = 0;
    let mut problems = Vec::new();
    for package in packages {
        let name = package.name.as_str();
        let Some((_, allowed)) = ALLOWED.iter().find(|(row, _)| *row == name) else {
            problems.push(format!("{name} has no row in the table of xtask/src/arrows.rs"));
            continue;
        };
        let refused = REFUSED.iter().find(|(row, _)| *row == name).map_or(&[][..], |(_, r)| r);
        for dependency in &package.dependencies {
            let target = dependency.name.as_str();
            if refused.contains(&target) {
                problems.push(format!("{name} -> {target}: {name} must work without it"));
            }
            if target.starts_with(CONSENSUS) && name != CONSENSUS_USER {
                problems.push(format!("{name} -> {target}: {CONSENSUS_USER} alone may name it"));
            }
            let inside = dependency.path.is_some() || ALLOWED.iter().any(|(row, _)| *row == target);
            if !inside {
                continue;
            }
            edges += 1;
            if target == TESTKIT && !TESTKIT_USERS.contains(&name) {
                if !dependency.dev {
                    problems.push(format!("{name} -> {target}: allowed as a dev-dependency alone"));
                }
            } else if dependency.dev && is_for_tests(name, target) {
                // Its tests start a server of their own.
            } else if !allowed.contains(&target) {
                let list = if allowed.is_empty() { "none".into() } else { allowed.join(", ") };
                problems.push(format!("{name} -> {target}: {name} may import: {list}"));
            }
        }
    }
    (edges, problems)
}

fn is_for_tests(name: &str, target: &str) -> bool {
    DEV_ALLOWED.iter().any(|(row, allowed)| *row == name && allowed.contains(&target))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Dependency;

    fn package(name: &str, dependencies: &[(&str, bool)]) -> Package {
        Package {
            name: name.into(),
            dependencies: dependencies
                .iter()
                .map(|(name, dev)| Dependency {
                    name: (*name).into(),
                    dev: *dev,
                    ..Dependency::default()
                })
                .collect(),
            ..Package::default()
        }
    }

    fn problems(name: &str, dependencies: &[(&str, bool)]) -> Vec<String> {
        violations(&[package(name, dependencies)]).1
    }

    #[test]
    fn tests_may_name_more() {
        assert_eq!(problems("rstmdb-cli", &[("rstmdb-server", true)]), Vec::<String>::new());
        assert_eq!(problems("rstmdb-cli", &[("rstmdb-server", false)]).len(), 1);
    }

    #[test]
    fn names_the_edge_and_what_is_allowed() {
        assert_eq!(
            problems("rstmdb-machine", &[("rstmdb-engine", false)]),
            ["rstmdb-machine -> rstmdb-engine: rstmdb-machine may import: rstmdb-types"]
        );
        assert_eq!(
            problems("rstmdb-types", &[("rstmdb", true)]),
            ["rstmdb-types -> rstmdb: rstmdb-types may import: none"]
        );
        assert!(problems("rstmdb-engine", &[("rstmdb-types", false), ("serde", false)]).is_empty());
    }

    #[test]
    fn testkit_is_for_tests() {
        assert!(problems("rstmdb-engine", &[("rstmdb-testkit", true)]).is_empty());
        assert!(problems("rstmdb-tests", &[("rstmdb-testkit", false)]).is_empty());
        assert_eq!(problems("rstmdb-cli", &[("rstmdb-testkit", false)]).len(), 1);
        assert_eq!(problems("xtask", &[("rstmdb-testkit", false)]).len(), 1);
    }

    #[test]
    fn refuses_unknown_crates_and_runtimes_in_the_core() {
        assert_eq!(problems("rstmdb-utils", &[]).len(), 1);
        assert_eq!(problems("rstmdb-engine", &[("tokio", false)]).len(), 1);
        assert_eq!(problems("rstmdb-engine", &[("openraft", true)]).len(), 1);
        assert_eq!(problems("rstmdb-server", &[("openraft-rt-tokio", false)]).len(), 1);
        assert!(problems("rstmdb-cluster", &[("openraft", false)]).is_empty());
    }

    #[test]
    fn the_table_has_no_cycle() {
        // Each row may only name rows whose own closure does not lead back.
        fn reaches(from: &str, to: &str) -> bool {
            let row = ALLOWED.iter().find(|(row, _)| *row == from);
            row.is_some_and(|(_, list)| list.iter().any(|next| *next == to || reaches(next, to)))
        }
        for (name, _) in ALLOWED {
            assert!(!reaches(name, name), "{name}");
        }
    }
}
