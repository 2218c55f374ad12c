//! Chaos from outside: builds servers and the clients of all languages that are there, and calls the program of `tests/chaos`.

use std::process::{Command, ExitCode};

use crate::conform::languages::{LANGUAGES, program};
use crate::conform::{clean, target_dir};
use crate::tree;

/// Those of the matrix that take part: C and C++ are what Go is built on.
const CLIENTS: &[&str] = &["rust", "python-sync", "node", "go", "python-async"];

/// Builds what is needed and calls the program with these arguments.
pub fn run(arguments: &[&str]) -> ExitCode {
    match prepare() {
        Ok(mut command) => match command.args(arguments).status() {
            Ok(status) if status.success() => ExitCode::SUCCESS,
            Ok(_) => ExitCode::FAILURE,
            Err(error) => failed(&error.to_string()),
        },
        Err(why) => failed(&why),
    }
}

fn failed(why: &str) -> ExitCode {
    eprintln!("chaos: {why}");
    ExitCode::FAILURE
}

fn prepare() -> Result<Command, String> {
    let target_dir = target_dir()?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--locked", "--quiet", "--package", "rstmdb-chaos"])
        .args(["--package", "rstmdb-server", "--bin", "rstmdb", "--bin", "rstmdb-chaos"])
        .args(["--package", "rstmdb-tests", "--bin", "conformance_runner"])
        .current_dir(tree::root())
        .env("CARGO_TARGET_DIR", &target_dir)
        .status();
    if !status.is_ok_and(|status| status.success()) {
        return Err("the programs do not build".to_owned());
    }
    let mut command = Command::new(program(&target_dir, "rstmdb-chaos"));
    command.arg("--server").arg(program(&target_dir, "rstmdb"));
    command.env("RSTMDB_SCENARIOS", tree::root().join("tests/conformance/scenarios"));
    for name in CLIENTS {
        let language = LANGUAGES.iter().find(|language| language.name == *name);
        let language = language.ok_or_else(|| format!("the matrix has no {name}"))?;
        let built = match (language.missing(), language.build(&target_dir)) {
            (Some(why), _) => Err(why),
            (None, None) => Ok(()),
            (None, Some(mut build)) => match clean(&mut build).stdout(std::io::stderr()).status() {
                Ok(status) if status.success() => Ok(()),
                other => Err(format!("its runner does not build: {other:?}")),
            },
        };
        if let Err(why) = built {
            if std::env::var_os("CI").is_some_and(|value| value == "true") {
                return Err(format!("{name}: {why}"));
            }
            println!("chaos: without clients in {name}: {why}");
            continue;
        }
        let run = language.run(&target_dir);
        let words: Vec<String> = std::iter::once((*name).to_owned())
            .chain(std::iter::once(run.get_program().to_string_lossy().into_owned()))
            .chain(run.get_args().map(|word| word.to_string_lossy().into_owned()))
            .collect();
        command.arg("--client").arg(serde_json::json!(words).to_string());
    }
    clean(&mut command).current_dir(tree::root()).env("CARGO_TARGET_DIR", &target_dir);
    Ok(command)
}
