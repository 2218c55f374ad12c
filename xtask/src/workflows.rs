//! The workflows call make alone, and only targets that there are.
//!
//! They can't run here, so a target that was renamed would show on the code host first.

use crate::Outcome;
use crate::tree;

const FOLDER: &str = ".github/workflows/";
/// What may be run beside make: what the machines of the host lack.
const PREPARATIONS: &[&str] = &["sudo apt-get update && ", "apk add ", "echo ", "curl "];

/// Looks at every `run` of every workflow.
pub fn check() -> Outcome {
    let mut problems = Vec::new();
    let mut calls = 0;
    for file in tree::text_files() {
        let is_workflow = file.path.starts_with(FOLDER);
        for (number, line) in file.text.lines().enumerate().filter(|_| is_workflow) {
            let Some(command) = command(line) else { continue };
            calls += 1;
            if let Err(problem) = check_command(command) {
                problems.push(format!("{}:{}: {problem}", file.path, number + 1));
            }
        }
    }
    if calls == 0 {
        problems.push(format!("no workflow in {FOLDER} runs anything"));
    }
    if problems.is_empty() { Ok(format!("{calls} commands of workflows")) } else { Err(problems) }
}

/// The command of a line `- run: COMMAND`.
fn command(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = line.strip_prefix("- ").unwrap_or(line);
    // A block of several lines prepares a machine; see `PREPARATIONS`.
    line.strip_prefix("run: ").filter(|command| *command != "|")
}

fn check_command(command: &str) -> Result<(), String> {
    if PREPARATIONS.iter().any(|start| command.starts_with(start)) {
        return Ok(());
    }
    let mut words = command.split_whitespace();
    if words.next() != Some("make") {
        return Err(format!("{command:?} is not a call of make; give it a target"));
    }
    let mut words = words.peekable();
    let folder = match words.next_if_eq(&"-C").and_then(|_| words.next()) {
        Some(folder) => format!("{folder}/"),
        None => String::new(),
    };
    let target = words.next().filter(|word| !word.contains('='));
    let target = target.ok_or_else(|| format!("{command:?} names no target"))?;
    let makefile = format!("{folder}Makefile");
    let text = std::fs::read_to_string(tree::root().join(&makefile));
    let text = text.map_err(|error| format!("{makefile}: {error}"))?;
    let start = format!("{target}:");
    if text.lines().any(|line| line.starts_with(&start)) {
        return Ok(());
    }
    Err(format!("{makefile} has no target {target}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found() {
        assert_eq!(command("      - run: make test"), Some("make test"));
        assert_eq!(command("        run: make check"), Some("make check"));
        assert_eq!(command("        run: |"), None);
        assert_eq!(command("      - uses: actions/checkout@v6"), None);
    }

    #[test]
    fn only_targets_that_exist_pass() {
        for good in
            ["make test", "make -C packaging version", "make conform ARGS=\"--target mem:\""]
        {
            assert_eq!(check_command(good), Ok(()));
        }
        for (bad, expected) in [
            ("make tset", "no target tset"),
            ("make -C packaging tset", "packaging/Makefile has no target"),
            ("make -C nowhere test", "nowhere/Makefile"),
            ("cargo test", "not a call of make"),
            ("make ARGS=1", "names no target"),
        ] {
            let problem = check_command(bad).unwrap_err();
            assert!(problem.contains(expected), "{bad}: {problem}");
        }
    }

    #[test]
    fn the_workflows_of_this_repository_pass() {
        assert!(check().is_ok(), "{:?}", check());
    }
}
