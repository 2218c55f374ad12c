//! The Rust runner of the conformance suite, and the writer of its random programs.
//!
//! Without arguments it runs what the environment names, as `tests/conformance/SPEC.md` says. With
//! `write-programs FOLDER FIRST COUNT` it writes programs and, beside them, the answers that the
//! reference model gives: `programs/seed-N.json` and `expected/seed-N.jsonl`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rstmdb_testkit::compare::panicked;
use rstmdb_testkit::exchange::{self, Exchange};
use rstmdb_testkit::scenario;
use rstmdb_testkit::target::{DatabaseTarget, read_options};
use rstmdb_testkit::values;
use serde_json::{Value, json};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] => match variable("RSTMDB_URL") {
            Some(url) => answer_calls(&url),
            None => run(),
        },
        ["write-programs", folder, first, count] => {
            let first: u64 = first.parse().expect("FIRST is a number");
            let count: u64 = count.parse().expect("COUNT is a number");
            write_programs(Path::new(folder), first..first + count);
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("usage: conformance_runner [write-programs FOLDER FIRST COUNT]");
            ExitCode::from(2)
        }
    }
}

fn write_programs(folder: &Path, seeds: std::ops::Range<u64>) {
    let (programs, expected) = (folder.join("programs"), folder.join("expected"));
    std::fs::create_dir_all(&programs).unwrap();
    std::fs::create_dir_all(&expected).unwrap();
    for seed in seeds {
        let exchange = Exchange::generate(seed);
        let program = format!("{}\n", exchange.program);
        std::fs::write(programs.join(format!("seed-{seed}.json")), program).unwrap();
        std::fs::write(expected.join(format!("seed-{seed}.jsonl")), exchange.answers).unwrap();
    }
}

/// Answers steps as they come, until there are no more.
fn answer_calls(url: &str) -> ExitCode {
    let mut target = DatabaseTarget::kept_elsewhere(url).unwrap();
    let mut stepper = exchange::Stepper::default();
    for line in std::io::stdin().lines() {
        let step = serde_json::from_str(&line.unwrap()).unwrap();
        let answer = stepper.line(&step, &mut target).unwrap();
        let mut out = std::io::stdout();
        out.write_all(answer.as_bytes()).and_then(|()| out.flush()).unwrap();
    }
    ExitCode::SUCCESS
}

/// What the environment says.
struct Place {
    target: String,
    host: String,
    root: tempfile::TempDir,
}

impl Place {
    fn open(&self, options: &Value) -> Result<DatabaseTarget, String> {
        let opened = match self.target.as_str() {
            "mem:" => DatabaseTarget::memory(read_options(options)?.0),
            "file:" => {
                let directory = tempfile::tempdir_in(self.root.path()).unwrap().keep();
                DatabaseTarget::directory(&directory, read_options(options)?.0)
            }
            "rstmdb://" => DatabaseTarget::hosted(&self.host, options),
            other => return Err(format!("RSTMDB_TARGET is {other:?}: mem:, file: or rstmdb://")),
        };
        opened.map_err(|error| format!("{error:?}"))
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn run() -> ExitCode {
    let place = Place {
        target: variable("RSTMDB_TARGET").expect("RSTMDB_TARGET is set"),
        host: variable("RSTMDB_HOST").unwrap_or_default(),
        root: tempfile::tempdir().expect("a directory for databases"),
    };
    let mut report = Report::default();
    match variable("RSTMDB_PROGRAMS") {
        Some(folder) => run_programs(&place, Path::new(&folder), &mut report),
        None => run_scenarios(&place, &mut report),
    }
    report.end()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    files
}

fn run_scenarios(place: &Place, report: &mut Report) {
    let folder = variable("RSTMDB_SCENARIOS").expect("RSTMDB_SCENARIOS is set");
    let wanted = variable("RSTMDB_SCENARIO").unwrap_or_default();
    for path in files(Path::new(&folder)) {
        let text = std::fs::read_to_string(&path).unwrap();
        let (operation, scenarios) =
            scenario::read(&text).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        for scenario in scenarios {
            let name = format!("{}/{}", operation.name(), scenario.name);
            if !name.contains(&wanted) {
                continue;
            }
            if place.target == "mem:" && scenario.requires.iter().any(|need| need == "reopen") {
                report.skipped(&name, "the target can't be reopened");
                continue;
            }
            report.ran(&name, &|| {
                let mut target = place.open(&scenario.options)?;
                scenario.run(&mut target)
            });
        }
    }
    if "values/table".contains(&wanted) {
        report.ran("values/table", &|| {
            let table = Path::new(&folder).join("../values.json");
            let table = std::fs::read_to_string(table).map_err(|error| error.to_string())?;
            values::run(&table, place.open(&json!({}))?.database()).map(drop)
        });
    }
}

fn run_programs(place: &Place, folder: &Path, report: &mut Report) {
    let out = PathBuf::from(variable("RSTMDB_OUT").expect("RSTMDB_OUT is set"));
    for path in files(folder) {
        let program: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        report.ran(&format!("programs/{stem}"), &|| {
            let mut target = place.open(&program["options"])?;
            let answers = exchange::run(&program, &mut target).map_err(|e| format!("{e:?}"))?;
            std::fs::write(out.join(format!("{stem}.jsonl")), answers).map_err(|e| e.to_string())
        });
    }
}

/// Prints how it goes, one line each.
#[derive(Default)]
struct Report {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Report {
    fn ran(&mut self, name: &str, body: &dyn Fn() -> Result<(), String>) {
        let outcome =
            catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(panicked(&*panic)));
        match outcome {
            Ok(()) => {
                self.passed += 1;
                line(name, "passed", "");
            }
            Err(fault) => {
                self.failed += 1;
                line(name, "failed", &fault);
            }
        }
    }

    fn skipped(&mut self, name: &str, why: &str) {
        self.skipped += 1;
        line(name, "skipped", why);
    }

    fn end(&self) -> ExitCode {
        let Report { passed, failed, skipped } = self;
        print(&json!({"passed": passed, "failed": failed, "skipped": skipped}));
        if *failed == 0 && *passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

fn line(name: &str, outcome: &str, message: &str) {
    print(&json!({"scenario": name, "outcome": outcome, "message": message}));
}

fn print(value: &Value) {
    let mut out = std::io::stdout();
    writeln!(out, "{value}").and_then(|()| out.flush()).expect("standard output is open");
}
