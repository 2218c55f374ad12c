//! The conformance matrix: every language's runner on every target, compared with Rust's.
//!
//! `tests/conformance/SPEC.md` says what a runner is. Rust is the reference: a language passes when it
//! passes and skips what Rust does, fails nothing, and answers the random programs byte by byte as
//! the reference model.

pub mod languages;
mod report;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};

use self::languages::{LANGUAGES, Language, program};
use self::report::{Report, first_difference};
use crate::tree;

/// Where databases are.
const TARGETS: &[&str] = &["mem:", "file:", "rstmdb://"];
/// How many random programs every language runs on every target.
const PROGRAMS: u64 = 40;

const USAGE: &str = "\
usage: cargo xtask conform [OPTIONS]
  --language NAME    only this one, and Rust: rust, python-async, python-sync, node, c, cpp, go; may be repeated
  --target TARGET    only this one: mem:, file: or rstmdb://
  --scenario TEXT    only scenarios whose operation/NAME contains it, and no programs
  --programs COUNT   so many random programs; 40 unless told
  --seed SEED        the random program of this seed, and no scenarios";

/// What the arguments choose.
#[derive(Debug, Default, PartialEq, Eq)]
struct Choice {
    languages: Vec<String>,
    target: Option<String>,
    scenario: Option<String>,
    programs: Option<u64>,
    seed: Option<u64>,
}

impl Choice {
    fn read(arguments: &[&str]) -> Result<Choice, String> {
        let mut choice = Choice::default();
        let mut arguments = arguments.iter();
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
            let number = || value.parse().map_err(|_| format!("{name} takes a number"));
            match *name {
                "--language" if LANGUAGES.iter().any(|language| language.name == *value) => {
                    choice.languages.push((*value).to_owned());
                }
                "--target" if TARGETS.contains(value) => choice.target = Some((*value).to_owned()),
                "--scenario" => choice.scenario = Some((*value).to_owned()),
                "--programs" => choice.programs = Some(number()?),
                "--seed" => choice.seed = Some(number()?),
                "--language" | "--target" => return Err(format!("{name} has no {value:?}")),
                _ => return Err(format!("unknown argument {name:?}")),
            }
        }
        Ok(choice)
    }

    fn runs_language(&self, language: &Language) -> bool {
        // Rust always: the others are compared with it.
        let is_named = self.languages.iter().any(|name| name == language.name);
        self.languages.is_empty() || is_named || language.name == LANGUAGES[0].name
    }

    fn runs_target(&self, target: &str) -> bool {
        self.target.as_deref().is_none_or(|chosen| chosen == target)
    }

    /// The first seed and the number of programs.
    fn seeds(&self) -> (u64, u64) {
        match self.seed {
            Some(seed) => (seed, 1),
            None if self.scenario.is_some() => (0, 0),
            None => (0, self.programs.unwrap_or(PROGRAMS)),
        }
    }
}

/// Builds what is chosen, runs it, and prints the matrix.
pub fn run(arguments: &[&str]) -> ExitCode {
    let outcome = Choice::read(arguments).map_err(|fault| format!("{fault}\n{USAGE}"));
    match outcome.and_then(|choice| Matrix::run(&choice)) {
        Ok(matrix) => matrix.print(),
        Err(fault) => {
            eprintln!("conform: {fault}");
            ExitCode::FAILURE
        }
    }
}

/// What ran, and what is wrong with it.
#[derive(Default)]
struct Matrix {
    rows: Vec<(&'static str, Vec<String>)>,
    columns: Vec<&'static str>,
    problems: Vec<String>,
}

impl Matrix {
    fn run(choice: &Choice) -> Result<Matrix, String> {
        let target_dir = target_dir()?;
        build_host(&target_dir)?;
        let (first, count) = choice.seeds();
        // A folder of its own: two runs may be under way.
        let folder = target_dir.join("conform").join(std::process::id().to_string());
        let place = Place { target_dir: target_dir.clone(), folder };
        place.write_programs(first, count)?;
        let host = Host::start(&target_dir)?;
        let columns = TARGETS.iter().copied().filter(|target| choice.runs_target(target)).collect();
        let mut matrix = Matrix { columns, ..Matrix::default() };
        let mut rust: BTreeMap<&str, Report> = BTreeMap::new();
        for language in LANGUAGES.iter().filter(|language| choice.runs_language(language)) {
            if let Some(why) = matrix.unready(language, choice, &target_dir) {
                matrix.rows.push((language.name, vec![why]));
                continue;
            }
            let mut cells = Vec::new();
            for target in matrix.columns.clone() {
                let cell = Cell { language, target, host: &host, place: &place };
                let mut texts = Vec::new();
                if choice.seed.is_none() {
                    let (report, problems) = cell.scenarios(choice, rust.get(target))?;
                    matrix.problems.extend(problems);
                    texts.push(format!("{} passed", report.count("passed")));
                    for word in ["failed", "skipped"] {
                        let count = report.count(word);
                        texts.extend((count > 0).then(|| format!("{count} {word}")));
                    }
                    rust.entry(target).or_insert(report);
                }
                if count > 0 {
                    let problems = cell.programs(count)?;
                    let agreed = count.saturating_sub(problems.len() as u64);
                    let plural = if agreed == 1 { "" } else { "s" };
                    texts.push(format!("{agreed} program{plural}"));
                    matrix.problems.extend(problems);
                }
                cells.push(texts.join(", "));
            }
            eprintln!("conform: {} on {}: done", language.name, matrix.columns.join(" "));
            matrix.rows.push((language.name, cells));
        }
        if matrix.problems.is_empty() {
            // What is left after a failure is there to be looked at.
            let _ = std::fs::remove_dir_all(&place.folder);
        }
        Ok(matrix)
    }

    /// Builds a language's runner. Why it can't run, if so; that is a problem where nothing may be
    /// left out.
    fn unready(
        &mut self,
        language: &Language,
        choice: &Choice,
        target_dir: &Path,
    ) -> Option<String> {
        if let Some(why) = language.missing() {
            let must = std::env::var_os("CI").is_some_and(|value| value == "true")
                || choice.languages.iter().any(|name| name == language.name);
            if must {
                self.problems.push(format!("{}: {why}", language.name));
            }
            return Some(format!("not run: {why}"));
        }
        let mut build = language.build(target_dir)?;
        eprintln!("conform: building the runner of {}", language.name);
        let built = clean(&mut build).stdout(std::io::stderr()).status();
        if built.is_ok_and(|status| status.success()) {
            return None;
        }
        self.problems.push(format!("{}: its runner does not build: {build:?}", language.name));
        Some("does not build".to_owned())
    }

    fn print(&self) -> ExitCode {
        for problem in &self.problems {
            println!("{problem}\n");
        }
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|(_, cells)| cells.get(column));
            let cells = cells.filter(|cell| !cell.starts_with("not run"));
            cells.map(String::len).max().unwrap_or(0).max(self.columns[column].len())
        };
        let line = |name: &str, cells: &[&str]| {
            let mut text = format!("{name:<14}");
            for (column, cell) in cells.iter().enumerate() {
                text.push_str(&format!("{cell:<width$}   ", width = width(column)));
            }
            println!("{}", text.trim_end());
        };
        line("", &self.columns);
        for (name, cells) in &self.rows {
            line(name, &cells.iter().map(String::as_str).collect::<Vec<_>>());
        }
        if self.problems.is_empty() {
            println!("conform: all that ran agree");
            return ExitCode::SUCCESS;
        }
        println!("conform: FAILED: {} problem(s), listed above", self.problems.len());
        ExitCode::FAILURE
    }
}

/// Where programs are written and answers are left.
struct Place {
    target_dir: PathBuf,
    folder: PathBuf,
}

impl Place {
    fn write_programs(&self, first: u64, count: u64) -> Result<(), String> {
        let removed = std::fs::remove_dir_all(&self.folder);
        if removed.is_err() && self.folder.exists() {
            return Err(format!("{} can't be removed", self.folder.display()));
        }
        let (first, count) = (first.to_string(), count.to_string());
        let status = Command::new(program(&self.target_dir, "conformance_runner"))
            .arg("write-programs")
            .arg(&self.folder)
            .args([first, count])
            .status();
        match status {
            Ok(status) if status.success() => Ok(()),
            other => Err(format!("the programs can't be written: {other:?}")),
        }
    }

    fn read(&self, path: &Path) -> Result<String, String> {
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
    }
}

/// One language on one target.
struct Cell<'a> {
    language: &'a Language,
    target: &'a str,
    host: &'a Host,
    place: &'a Place,
}

impl Cell<'_> {
    fn command(&self) -> Command {
        let mut command = self.language.run(&self.place.target_dir);
        let scenarios = tree::root().join("tests/conformance/scenarios");
        clean(&mut command).env("RSTMDB_TARGET", self.target).env("RSTMDB_SCENARIOS", scenarios);
        for name in ["RSTMDB_SCENARIO", "RSTMDB_PROGRAMS", "RSTMDB_OUT", "RSTMDB_HOST"] {
            command.env_remove(name);
        }
        if self.target == "rstmdb://" {
            command.env("RSTMDB_HOST", &self.host.address);
        }
        command
    }

    /// Runs the scenarios; the report, and everything that is wrong.
    fn scenarios(
        &self,
        choice: &Choice,
        rust: Option<&Report>,
    ) -> Result<(Report, Vec<String>), String> {
        let mut command = self.command();
        if let Some(scenario) = &choice.scenario {
            command.env("RSTMDB_SCENARIO", scenario);
        }
        let report = self.report(&mut command)?;
        let mut problems = [report.failures(), report.faults.clone()].concat();
        if let Some(rust) = rust {
            problems.extend(report.differences(rust));
        }
        if choice.scenario.is_none() {
            problems.extend(report.untested());
        }
        Ok((report, self.named(problems)))
    }

    /// Runs the random programs and compares the answers; everything that is wrong.
    fn programs(&self, count: u64) -> Result<Vec<String>, String> {
        let out = self.language.name.to_owned() + "-" + self.target.trim_end_matches([':', '/']);
        let out = self.place.folder.join("answers").join(out);
        std::fs::create_dir_all(&out).map_err(|error| error.to_string())?;
        let mut command = self.command();
        command.env("RSTMDB_PROGRAMS", self.place.folder.join("programs")).env("RSTMDB_OUT", &out);
        let report = self.report(&mut command)?;
        let mut problems = report.faults.clone();
        let mut compared = 0;
        let expected = std::fs::read_dir(self.place.folder.join("expected"));
        for entry in expected.map_err(|error| error.to_string())?.flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let program = self.place.folder.join("programs").join(&name).with_extension("json");
            let fault = match self.place.read(&out.join(&name)) {
                Ok(got) => {
                    let (program, expected) = (self.place.read(&program)?, self.place.read(&path)?);
                    first_difference(&program, &expected, &got)
                }
                Err(fault) => {
                    let name = name.to_string_lossy().replace(".jsonl", "");
                    let said = report.outcomes.get(&format!("programs/{name}"));
                    Some(said.map_or(fault, |(_, message)| message.clone()))
                }
            };
            let seed = name.to_string_lossy().replace("seed-", "").replace(".jsonl", "");
            problems.extend(fault.map(|fault| {
                format!(
                    "seed {seed}: {fault}\n    replay: cargo xtask conform --language {} --target \
                     {} --seed {seed}",
                    self.language.name, self.target
                )
            }));
            compared += 1;
        }
        if compared != count {
            problems.push(format!("{compared} of {count} programs were compared"));
        }
        Ok(self.named(problems))
    }

    fn report(&self, command: &mut Command) -> Result<Report, String> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let output = child.and_then(Child::wait_with_output);
        let output = output.map_err(|error| format!("{command:?}: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(Report::read(&text, output.status.success()))
    }

    fn named(&self, problems: Vec<String>) -> Vec<String> {
        let name = |problem| format!("{} on {}: {problem}", self.language.name, self.target);
        problems.into_iter().map(name).collect()
    }
}

/// The host of servers, while this lives.
struct Host {
    address: String,
    child: Child,
    /// Its end is the host's.
    stdin: Option<ChildStdin>,
}

impl Host {
    fn start(target_dir: &Path) -> Result<Host, String> {
        let mut command = Command::new(program(target_dir, "conformance_host"));
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(|error| format!("{command:?}: {error}"))?;
        let mut line = String::new();
        let lines = child.stdout.take().map(BufReader::new);
        let read = lines.map(|mut lines| lines.read_line(&mut line));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        let address = value["listening"].as_str().map(str::to_owned);
        let address = address.ok_or_else(|| format!("the host said {line:?}, {read:?}"))?;
        let stdin = child.stdin.take();
        Ok(Host { address, child, stdin })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // It has nothing more to tell.
        let _ = self.child.wait();
    }
}

fn build_host(target_dir: &Path) -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--locked", "--quiet", "--package", "rstmdb-tests"])
        .args(["--bin", "conformance_host", "--bin", "conformance_runner"])
        .current_dir(tree::root())
        .env("CARGO_TARGET_DIR", target_dir)
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        other => Err(format!("the host does not build: {other:?}")),
    }
}

/// The folder that cargo builds into, as an absolute path.
pub fn target_dir() -> Result<PathBuf, String> {
    let folder = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let folder = tree::root().join(folder);
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(folder)
}

/// A command that does not see that it was called by cargo and by make.
pub fn clean(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let is_cargos =
            ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| name.starts_with(start));
        if is_cargos || ["MAKEFLAGS", "MFLAGS", "MAKELEVEL"].contains(&&*name) {
            command.env_remove(&*name);
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_choose() {
        let choice = Choice::read(&["--language", "go", "--target", "mem:"]).unwrap();
        let chosen = LANGUAGES.iter().filter(|language| choice.runs_language(language));
        assert_eq!(chosen.map(|language| language.name).collect::<Vec<_>>(), ["rust", "go"]);
        assert!(choice.runs_target("mem:") && !choice.runs_target("file:"));
        assert_eq!(choice.seeds(), (0, PROGRAMS));
        assert_eq!(Choice::read(&["--scenario", "ping/"]).unwrap().seeds(), (0, 0));
        assert_eq!(Choice::read(&["--seed", "7"]).unwrap().seeds(), (7, 1));
    }

    #[test]
    fn what_it_can_t_run_is_refused() {
        for (arguments, expected) in [
            (&["--language", "cobol"][..], "cobol"),
            (&["--target", "ftp:"], "ftp:"),
            (&["--programs", "many"], "number"),
            (&["--seed"], "needs a value"),
            (&["--sed", "1"], "--sed"),
        ] {
            let fault = Choice::read(arguments).unwrap_err();
            assert!(fault.contains(expected), "{arguments:?}: {fault}");
        }
    }
}
