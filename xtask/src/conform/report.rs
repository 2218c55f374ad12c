//! What a runner reported, and how it compares with what Rust's did.

use std::collections::BTreeMap;

use rstmdb_types::Operation;
use serde_json::Value;

/// The outcomes of one run of a runner, by scenario.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    /// `passed`, `failed` or `skipped`, and the message.
    pub outcomes: BTreeMap<String, (String, String)>,
    /// Lines that don't belong there, sums that don't fit, names that came twice.
    pub faults: Vec<String>,
}

impl Report {
    /// Reads the lines of a runner.
    pub fn read(output: &str, exit_ok: bool) -> Report {
        let mut report = Report::default();
        let mut sums = None;
        for line in output.lines().filter(|line| !line.trim().is_empty()) {
            let value: Value = serde_json::from_str(line).unwrap_or_default();
            let text = |name: &str| value[name].as_str().map(str::to_owned);
            match (text("scenario"), text("outcome")) {
                (Some(name), Some(outcome)) if sums.is_none() => {
                    let entry = (outcome, text("message").unwrap_or_default());
                    if report.outcomes.insert(name.clone(), entry).is_some() {
                        report.faults.push(format!("{name}: reported twice"));
                    }
                }
                (None, None) if value.get("passed").is_some() && sums.is_none() => {
                    sums = Some(value);
                }
                _ => report.faults.push(format!("a line that is no report: {line:?}")),
            }
        }
        let counts = ["passed", "failed", "skipped"].map(|outcome| report.count(outcome));
        let known: u64 = counts.iter().sum();
        if known != report.outcomes.len() as u64 {
            report.faults.push("an outcome is not passed, failed or skipped".to_owned());
        }
        match sums {
            None => report.faults.push("the runner ended without its sums".to_owned()),
            Some(sums) => {
                let said = ["passed", "failed", "skipped"].map(|name| sums[name].as_u64());
                if said != counts.map(Some) {
                    report.faults.push(format!("the sums are {sums}, but counted were {counts:?}"));
                }
            }
        }
        let [passed, failed, _] = counts;
        if exit_ok != (failed == 0 && passed > 0) {
            let word = if exit_ok { "success" } else { "a failure" };
            report.faults.push(format!("the exit code says {word}, the lines do not"));
        }
        report
    }

    /// How many have an outcome.
    pub fn count(&self, outcome: &str) -> u64 {
        self.outcomes.values().filter(|(got, _)| got == outcome).count() as u64
    }

    /// The failures, each with its message.
    pub fn failures(&self) -> Vec<String> {
        let failed = self.outcomes.iter().filter(|(_, (outcome, _))| outcome == "failed");
        failed.map(|(name, (_, message))| format!("{name}: {message}")).collect()
    }

    /// Where a language does not pass and skip the same scenarios as Rust.
    pub fn differences(&self, rust: &Report) -> Vec<String> {
        let mut names: Vec<&String> = self.outcomes.keys().chain(rust.outcomes.keys()).collect();
        names.sort();
        names.dedup();
        let outcome = |report: &Report, name: &String| {
            report.outcomes.get(name).map_or("not run".to_owned(), |(outcome, _)| outcome.clone())
        };
        let pairs = names.into_iter().map(|name| (name, outcome(self, name), outcome(rust, name)));
        pairs
            .filter(|(_, here, there)| here != there && here != "failed")
            .map(|(name, here, there)| format!("{name}: {here} here, {there} in Rust"))
            .collect()
    }

    /// The operations of which no scenario passed.
    pub fn untested(&self) -> Vec<String> {
        let passed: Vec<&str> = self
            .outcomes
            .iter()
            .filter(|(_, (outcome, _))| outcome == "passed")
            .filter_map(|(name, _)| name.split('/').next())
            .collect();
        let untested =
            Operation::ALL.iter().filter(|operation| !passed.contains(&operation.name()));
        untested.map(|operation| format!("{}: no scenario passed", operation.name())).collect()
    }
}

/// Where the answers of a program differ from the model's first.
pub fn first_difference(program: &str, expected: &str, got: &str) -> Option<String> {
    if expected == got {
        return None;
    }
    let program: Value = serde_json::from_str(program).unwrap_or_default();
    let mut lines = expected.split('\n').zip(got.split('\n')).enumerate();
    Some(match lines.find(|(_, (expected, got))| expected != got) {
        Some((index, (expected, got))) => format!(
            "step {index}: {}\n    model:  {}\n    answer: {}",
            program["steps"][index],
            around(expected, got),
            around(got, expected)
        ),
        None => format!("{} lines, expected {}", got.lines().count(), expected.lines().count()),
    })
}

/// The part of a line where it begins to differ from another.
fn around<'a>(line: &'a str, other: &str) -> &'a str {
    let same = line.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    let mut start = same.saturating_sub(60);
    let mut end = (same + 140).min(line.len());
    while !line.is_char_boundary(start) {
        start -= 1;
    }
    while !line.is_char_boundary(end) {
        end += 1;
    }
    &line[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(outcomes: &[(&str, &str)]) -> String {
        let mut text = String::new();
        for (name, outcome) in outcomes {
            text.push_str(&format!(
                "{{\"scenario\":\"{name}\",\"outcome\":\"{outcome}\",\"message\":\"m\"}}\n"
            ));
        }
        let count = |wanted| outcomes.iter().filter(|(_, outcome)| *outcome == wanted).count();
        let [passed, failed, skipped] = ["passed", "failed", "skipped"].map(count);
        text + &format!("{{\"passed\":{passed},\"failed\":{failed},\"skipped\":{skipped}}}\n")
    }

    #[test]
    fn a_good_report_has_no_faults() {
        let report = Report::read(&lines(&[("ping/a", "passed"), ("ping/b", "skipped")]), true);
        assert_eq!(report.faults, Vec::<String>::new());
        assert_eq!([report.count("passed"), report.count("skipped")], [1, 1]);
        assert_eq!(report.differences(&report), Vec::<String>::new());
        assert_eq!(report.untested().len(), Operation::ALL.len() - 1);
    }

    #[test]
    fn a_report_that_lies_is_found_out() {
        let good = lines(&[("ping/a", "passed")]);
        for (output, exit_ok, expected) in [
            (good.clone(), false, "exit code"),
            (lines(&[("ping/a", "failed")]), true, "exit code"),
            (lines(&[("ping/a", "skipped")]), true, "exit code"),
            (String::new(), false, "without its sums"),
            (format!("hello\n{good}"), true, "no report"),
            (good.replace("\"passed\":1", "\"passed\":2"), true, "counted were"),
            (lines(&[("ping/a", "passed"), ("ping/a", "passed")]), true, "twice"),
            (good.replace("\"outcome\":\"passed\"", "\"outcome\":\"fine\""), true, "not passed"),
        ] {
            let faults = Report::read(&output, exit_ok).faults;
            assert!(faults.iter().any(|fault| fault.contains(expected)), "{expected}: {faults:?}");
        }
    }

    #[test]
    fn languages_run_what_rust_runs() {
        let rust = Report::read(&lines(&[("ping/a", "passed"), ("ping/b", "skipped")]), true);
        let other = Report::read(&lines(&[("ping/a", "skipped"), ("ping/c", "passed")]), true);
        assert_eq!(
            other.differences(&rust),
            [
                "ping/a: skipped here, passed in Rust",
                "ping/b: not run here, skipped in Rust",
                "ping/c: passed here, not run in Rust"
            ]
        );
    }

    #[test]
    fn the_first_difference_names_the_step() {
        let program = r#"{"steps":[{"op":"PING"},{"op":"INFO"}]}"#;
        assert_eq!(first_difference(program, "1\n2\n", "1\n2\n"), None);
        let difference = first_difference(program, "1\n2\n", "1\n3\n").unwrap();
        assert!(difference.contains("step 1: {\"op\":\"INFO\"}"), "{difference}");
        let difference = first_difference(program, "1\n2\n", "1\n").unwrap();
        assert!(difference.contains("model:  2"), "{difference}");
    }
}
