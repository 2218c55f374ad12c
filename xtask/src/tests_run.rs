//! Runs `cargo test`, passes its lines on, and ends with one line that says how it went.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

/// What the lines of the test programs add up to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Totals {
    programs: u64,
    passed: u64,
    failed: u64,
    ignored: u64,
    failures: Vec<String>,
}

/// Runs the tests that the arguments choose; a run in which nothing passed is a failure.
pub fn run(arguments: &[&str]) -> ExitCode {
    let started = Instant::now();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let child = Command::new(cargo)
        .args(["test", "--locked", "--no-fail-fast"])
        .args(arguments)
        .current_dir(crate::tree::root())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            eprintln!("cargo test: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut totals = Totals::default();
    let mut out = std::io::stdout();
    let lines = child.stdout.take().expect("stdout is piped");
    for line in BufReader::new(lines).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        totals.add(&line);
        // A reader that went away must not stop the tests.
        let _ = writeln!(out, "{line}");
    }
    let succeeded = child.wait().is_ok_and(|status| status.success());
    println!("{}", totals.summary(succeeded, started.elapsed().as_secs()));
    if succeeded && totals.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Totals {
    fn add(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.programs += 1;
            for part in counts.split(['.', ';']) {
                let mut words = part.split_whitespace();
                if let (Some(Ok(number)), Some(word)) =
                    (words.next().map(str::parse::<u64>), words.next())
                {
                    match word {
                        "passed" => self.passed += number,
                        "failed" => self.failed += number,
                        "ignored" => self.ignored += number,
                        _ => {}
                    }
                }
            }
        } else if let Some(name) =
            line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            self.failures.push(name.to_owned());
        }
    }

    fn summary(&self, succeeded: bool, seconds: u64) -> String {
        let mut text = String::new();
        for name in &self.failures {
            text.push_str(&format!("failed: {name}\n"));
        }
        let Totals { programs, passed, failed, ignored, .. } = self;
        let verdict = match (succeeded, passed) {
            (true, 0) => "NOTHING WAS TESTED",
            (true, _) => "ALL PASSED",
            (false, _) if *failed == 0 => "DID NOT BUILD OR A TEST PROGRAM DIED",
            (false, _) => "FAILED",
        };
        text.push_str(&format!(
            "tests: {verdict}: {passed} passed, {failed} failed, {ignored} ignored in {programs} \
             programs, {seconds} s"
        ));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_up_the_results() {
        let mut totals = Totals::default();
        for line in [
            "running 3 tests",
            "test a::b ... ok",
            "test a::c ... FAILED",
            "test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: ok. 10 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s",
        ] {
            totals.add(line);
        }
        let expected = Totals {
            programs: 2,
            passed: 11,
            failed: 1,
            ignored: 1,
            failures: vec!["a::c".to_owned()],
        };
        assert_eq!(totals, expected);
        assert_eq!(
            totals.summary(false, 7),
            "failed: a::c\ntests: FAILED: 11 passed, 1 failed, 1 ignored in 2 programs, 7 s"
        );
    }

    #[test]
    fn an_empty_run_is_no_success() {
        assert!(Totals::default().summary(true, 0).contains("NOTHING WAS TESTED"));
        assert!(Totals::default().summary(false, 0).contains("DID NOT BUILD"));
    }
}
