//! The languages of the matrix: where their runners are, and what has to be installed for them.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::tree;

/// A row of the matrix.
#[derive(Debug)]
pub struct Language {
    /// What `--language` takes.
    pub name: &'static str,
    /// The folder whose Makefile has the targets `conform-build` and `conform-run`; Rust has none.
    folder: Option<&'static str>,
    /// Programs that must be there, and how to get them.
    tools: &'static [(&'static str, &'static str)],
}

const MAKE: (&str, &str) = ("make", "GNU make from the system's packages");
const PYTHON: &[(&str, &str)] =
    &[MAKE, ("python3", "Python 3.9 or newer from https://www.python.org/downloads/")];
const C: &[(&str, &str)] = &[MAKE, ("cc", "a C compiler from the system's packages, such as gcc")];
const CPP: &[(&str, &str)] =
    &[MAKE, ("c++", "a C++17 compiler from the system's packages, such as g++")];
const NODE: &[(&str, &str)] = &[MAKE, ("node", "Node.js 18 or newer from https://nodejs.org/")];
const GO: &[(&str, &str)] = &[MAKE, ("go", "Go from https://go.dev/dl/"), C_FOR_GO];
const C_FOR_GO: (&str, &str) = ("cc", "a C compiler for cgo, such as gcc");

/// Every language, Rust first: the others are compared with it.
pub const LANGUAGES: &[Language] = &[
    Language { name: "rust", folder: None, tools: &[] },
    Language { name: "python-async", folder: Some("python"), tools: PYTHON },
    Language { name: "python-sync", folder: Some("python"), tools: PYTHON },
    Language { name: "node", folder: Some("node"), tools: NODE },
    Language { name: "c", folder: Some("bindings/c"), tools: C },
    Language { name: "cpp", folder: Some("bindings/c"), tools: CPP },
    Language { name: "go", folder: Some("bindings/go"), tools: GO },
];

impl Language {
    /// Why the language can't take part, if so.
    pub fn missing(&self) -> Option<String> {
        let folder = self.folder?;
        let makefile = tree::root().join(folder).join("Makefile");
        let text = std::fs::read_to_string(&makefile).unwrap_or_default();
        for target in ["conform-build:", "conform-run:"] {
            if !text.lines().any(|line| line.starts_with(target)) {
                return Some(format!("{folder}/Makefile has no target {target}"));
            }
        }
        let absent = self.tools.iter().find(|(program, _)| !is_installed(program));
        absent.map(|(program, how)| format!("{program} is not installed; get {how}"))
    }

    /// What builds the runner; Rust's is built with the host.
    pub fn build(&self, target_dir: &Path) -> Option<Command> {
        self.make("conform-build", target_dir)
    }

    /// What runs the runner once.
    pub fn run(&self, target_dir: &Path) -> Command {
        self.make("conform-run", target_dir)
            .unwrap_or_else(|| Command::new(program(target_dir, "conformance_runner")))
    }

    fn make(&self, target: &str, target_dir: &Path) -> Option<Command> {
        let mut command = Command::new("make");
        command
            .args(["--silent", "--no-print-directory", "-C", self.folder?, target])
            .current_dir(tree::root())
            .env("CARGO_TARGET_DIR", target_dir)
            .env("RSTMDB_LANGUAGE", self.name);
        Some(command)
    }
}

/// A binary of this repository that `cargo build` made.
pub fn program(target_dir: &Path, name: &str) -> std::path::PathBuf {
    target_dir.join("debug").join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

fn is_installed(program: &str) -> bool {
    let argument = if program == "go" { "version" } else { "--version" };
    let mut command = Command::new(program);
    command.arg(argument).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_comes_first_and_names_are_unique() {
        assert_eq!(LANGUAGES[0].name, "rust");
        for (index, language) in LANGUAGES.iter().enumerate() {
            assert!(LANGUAGES[..index].iter().all(|other| other.name != language.name));
        }
    }

    #[test]
    fn programs_that_are_not_there_are_noticed() {
        assert!(is_installed("cargo"));
        assert!(!is_installed("rstmdb-no-such-program"));
    }
}
