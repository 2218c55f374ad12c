//! Files that are generated, checked in, and compared on every check.

mod c;
mod cli;
mod cpp;
mod go;
mod language;
mod node;
mod options;
mod python;
mod reference;
mod region;
mod source;
mod surface;

use crate::tidy::GENERATED_MARK;
use crate::{Outcome, licences, tree};

/// A generated file and what makes it. The text must say so in its first line, or where its
/// generated lines begin.
struct Generated {
    path: &'static str,
    make: fn() -> Result<String, String>,
}

/// Every generated file. To add one, write a function that returns its text and a row here; what a
/// program prints about itself (its help, say) is such a text too.
const FILES: &[Generated] = &[
    Generated { path: "tests/conformance/surface.json", make: surface::json },
    Generated { path: "docs/reference/errors.md", make: || Ok(reference::errors()) },
    Generated { path: "docs/reference/operations.md", make: reference::operations },
    Generated { path: "docs/reference/definitions.md", make: language::definitions },
    Generated { path: "docs/reference/guards.md", make: language::guards },
    Generated { path: "docs/reference/limits.md", make: reference::limits },
    Generated { path: "docs/reference/options.md", make: options::reference },
    Generated { path: "include/README.md", make: c::readme },
    Generated { path: "docs/reference/cli.md", make: cli::reference },
    Generated { path: "docs/reference/configuration.md", make: cli::configuration },
    Generated { path: "docs/rstmdb.example.yaml", make: cli::example_configuration },
    Generated { path: "include/rstmdb.hpp", make: cpp::header },
    Generated { path: "tests/conformance/c/operations.h", make: cpp::operation_list },
    Generated { path: "bindings/go/types.gen.go", make: go::types },
    Generated { path: "bindings/go/codec.gen.go", make: go::codec },
    Generated { path: "bindings/go/batch.gen.go", make: go::batch },
    Generated { path: "bindings/go/errors.gen.go", make: go::errors },
    Generated { path: "bindings/go/operations.gen.go", make: go::operations },
    Generated { path: "bindings/go/options.gen.go", make: go::options },
    Generated { path: "bindings/go/surface.gen_test.go", make: go::surface },
    Generated { path: "node/src/types.ts", make: node::types },
    Generated { path: "node/src/codec.ts", make: node::codec },
    Generated { path: "node/src/operations.ts", make: node::operations },
    Generated { path: "node/src/option_types.ts", make: node::options },
    Generated { path: "node/src/addon.ts", make: node::native },
    Generated { path: "bindings/c/src/operations.rs", make: c::operations },
    Generated { path: "bindings/c/src/numbers.rs", make: c::numbers },
    // After the files it is made from.
    Generated { path: "include/rstmdb.h", make: c::header },
    Generated { path: "bindings/go/rstmdb.h", make: go::header },
    Generated { path: "bindings/python/src/generated.rs", make: python::native },
    Generated { path: "python/rstmdb/_native.pyi", make: python::stubs },
    Generated { path: "python/rstmdb/_operations.py", make: python::async_operations },
    Generated { path: "python/rstmdb/_sync_operations.py", make: python::sync_operations },
    Generated { path: "python/rstmdb/_names.py", make: python::names },
    Generated { path: "python/rstmdb/_database.py", make: python::database },
    // After the files they are made from.
    Generated { path: "python/rstmdb/_sync_watch.py", make: python::sync_watch },
    Generated { path: "python/rstmdb/sync.py", make: python::sync },
    Generated { path: "python/rstmdb/types.py", make: python::types },
    Generated { path: "python/rstmdb/_members.py", make: python::members },
    Generated { path: "deny.toml", make: || Ok(licences::deny_toml()) },
];

/// Writes the files that are not what they should be.
pub fn write() -> Outcome {
    let mut written = Vec::new();
    let mut problems = Vec::new();
    for file in FILES {
        let path = tree::root().join(file.path);
        match text(file) {
            Err(problem) => problems.push(problem),
            Ok(text) if std::fs::read_to_string(&path).is_ok_and(|old| old == text) => {}
            Ok(text) => {
                let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
                match folder.and_then(|()| std::fs::write(&path, text)) {
                    Ok(()) => written.push(file.path),
                    Err(error) => problems.push(format!("{}: {error}", file.path)),
                }
            }
        }
    }
    match (problems.is_empty(), written.is_empty()) {
        (false, _) => Err(problems),
        (true, true) => Ok(format!("{} files, none changed", FILES.len())),
        (true, false) => Ok(format!("wrote {}", written.join(", "))),
    }
}

/// Fails when a file is not what it should be, and shows the first line that differs.
pub fn check() -> Outcome {
    let problems: Vec<String> = FILES
        .iter()
        .filter_map(|file| {
            let expected = match text(file) {
                Ok(text) => text,
                Err(problem) => return Some(problem),
            };
            let found = std::fs::read_to_string(tree::root().join(file.path)).unwrap_or_default();
            let difference = first_difference(&found, &expected)?;
            Some(format!("{} is stale; run `make generate`\n{difference}", file.path))
        })
        .collect();
    if problems.is_empty() {
        Ok(format!("{} files are up to date", FILES.len()))
    } else {
        Err(problems)
    }
}

fn text(file: &Generated) -> Result<String, String> {
    let text = (file.make)().map_err(|problem| format!("{}: {problem}", file.path))?;
    let first = text.lines().next().unwrap_or_default();
    if first.contains(GENERATED_MARK) || text.contains(region::BEGIN) {
        Ok(text)
    } else {
        Err(format!("{}: the first line does not say {GENERATED_MARK:?}", file.path))
    }
}

/// The first line that differs, as a diff shows it; None when the texts are the same.
fn first_difference(found: &str, expected: &str) -> Option<String> {
    if found == expected {
        return None;
    }
    let mut found = found.split('\n');
    let mut expected = expected.split('\n');
    for number in 1.. {
        let (found, expected) = (found.next(), expected.next());
        if found != expected {
            let line = |mark: char, line: Option<&str>| {
                line.map_or(String::new(), |line| format!("\n    {mark} {line}"))
            };
            return Some(format!("    line {number}:{}{}", line('-', found), line('+', expected)));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_first_line_that_differs() {
        assert_eq!(first_difference("a\n", "a\n"), None);
        assert_eq!(
            first_difference("a\nb\nc", "a\nx\nc").unwrap(),
            "    line 2:\n    - b\n    + x"
        );
        assert_eq!(first_difference("a", "a\n").unwrap(), "    line 2:\n    + ");
        assert!(first_difference("", "a").is_some());
    }

    #[test]
    fn every_file_can_be_made_and_says_so() {
        for file in FILES {
            let text = text(file).unwrap();
            assert!(text.ends_with('\n'), "{}", file.path);
            assert!(text.lines().all(|line| line == line.trim_end()), "{}", file.path);
        }
    }
}
