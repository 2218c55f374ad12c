//! Developer tasks behind the Makefile: checks, generated files, the test run.
//!
//! `cargo xtask check` never writes. A task returns one line that says what it looked at, or the
//! list of everything that is wrong, each with what to do about it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod arrows;
mod artefacts;
mod chaos;
mod circles;
mod compare;
mod conform;
mod generate;
mod licences;
mod markdown;
mod metadata;
mod spdx;
mod tests_run;
mod tidy;
mod tree;
mod versions;
mod words;
mod workflows;

use std::process::ExitCode;

/// One line about what was checked, or what is wrong.
type Outcome = Result<String, Vec<String>>;

/// A name to print, and what to run.
type Task = (&'static str, fn() -> Outcome);

const USAGE: &str = "\
usage: cargo xtask <task>
  check              arrows, circles, words, tidy, licences, workflows, versions and generate --check; writes nothing
  arrows             who imports whom, against the table in xtask/src/arrows.rs
  circles            files of a crate that import each other
  words              names that several types of core have
  tidy               file sizes, headers, leftovers, links and paths in the documentation
  versions           the version, wherever it stands, and no install line that works only when it is published
  licences           licence and origin of every dependency
  generate           write the generated files
  generate --check   fail when one of them is stale
  pathless COMMAND   run a command so that what cargo builds in it has no path of this machine
  artefacts [--glibc 2.28 | --musl] FILE...
                     no path of this machine in what is published, and no newer C library needed
  bench-compare REVISION [--turns 3] [--floor 0.97] [GROUP]...
                     the benchmarks of another revision and of this tree in turns, and their ratios
  conform [OPTIONS]  the conformance scenarios and programs in every language
  chaos [OPTIONS]    groups of servers on a network of namespaces, under faults
  test [ARGUMENTS]   cargo test with ARGUMENTS, and a summary at the end";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["check"] => report(&[
            ("arrows", arrows::check),
            ("circles", circles::check),
            ("words", words::check),
            ("tidy", tidy::check),
            ("licences", licences::check),
            ("workflows", workflows::check),
            ("versions", versions::check),
            ("generate", generate::check),
        ]),
        ["arrows"] => report(&[("arrows", arrows::check)]),
        ["circles"] => report(&[("circles", circles::check)]),
        ["words"] => report(&[("words", words::check)]),
        ["tidy"] => report(&[("tidy", tidy::check)]),
        ["versions"] => report(&[("versions", versions::check)]),
        ["licences"] => report(&[("licences", licences::check)]),
        ["generate"] => report(&[("generate", generate::write)]),
        ["generate", "--check"] => report(&[("generate", generate::check)]),
        ["pathless", command @ ..] => artefacts::pathless(command),
        ["artefacts", rest @ ..] => artefacts::check(rest),
        ["bench-compare", rest @ ..] => compare::run(rest),
        ["conform", rest @ ..] => conform::run(rest),
        ["chaos", rest @ ..] => chaos::run(rest),
        ["test", rest @ ..] => tests_run::run(rest),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// Runs every task, also after a failure, and prints one line for each.
fn report(tasks: &[Task]) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for (name, task) in tasks {
        match task() {
            Ok(line) => println!("{name:<9} ok: {line}"),
            Err(problems) => {
                println!("{name:<9} FAILED: {} problem(s)", problems.len());
                for problem in problems {
                    println!("  {problem}");
                }
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}
