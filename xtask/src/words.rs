//! One word, one type: what files of `core` show to each other has a name of its own.

use std::collections::BTreeMap;

use crate::Outcome;
use crate::tree::{self, TextFile};

/// Words that are the same thing wherever they stand, and where that is.
const SHARED: &[(&str, &str)] = &[
    ("BatchResult", "what a batch comes to, and the effect that keeps it"),
    ("Commit", "what an answer waits for: the engine's, and that of a server whose engine changes"),
    ("Database", "asynchronous and blocking"),
    ("Mapped", "part of a file that is mapped, and what systems without have in its place"),
    ("Options", "of a database of this process, and of a server"),
    ("Pending", "an answer that is to come: each layer's wraps the one below"),
    ("Runtime", "what runs tasks, and what simulates that"),
    ("Subscription", "events in log order: each layer's wraps the one below"),
    ("Target", "where a database is, as a URL says and as arguments do"),
];

/// Subcommands are named after operations; the reference model says again what it is compared with.
const EXEMPT: [&str; 2] = ["core/cli/src/commands/", "core/testkit/"];

/// Looks at every crate of `core`.
pub fn check() -> Outcome {
    let files = tree::text_files();
    let words = words(&files);
    let is_shared = |word: &str| SHARED.iter().any(|(shared, _)| *shared == word);
    let twice = words.iter().filter(|(word, places)| places.len() > 1 && !is_shared(word));
    let mut problems: Vec<String> = twice
        .map(|(word, places)| format!("{word} is several types: {}", places.join(", ")))
        .collect();
    let alone = |word: &str| words.get(word).is_none_or(|places| places.len() < 2);
    problems.extend(SHARED.iter().filter(|(word, _)| alone(word)).map(|(word, _)| {
        format!("{word} is one type now; take it out of the list in xtask/src/words.rs")
    }));
    match problems.is_empty() {
        true => Ok(format!("{} types, {} words for several", words.len(), SHARED.len())),
        false => Err(problems),
    }
}

/// The types that more than their own file sees, and where each is.
fn words(files: &[TextFile]) -> BTreeMap<&str, Vec<&str>> {
    let mut words: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for file in files.iter().filter(|file| is_looked_at(&file.path)) {
        for word in file.text.lines().filter_map(visible_type) {
            words.entry(word).or_default().push(&file.path);
        }
    }
    words
}

fn is_looked_at(path: &str) -> bool {
    let in_core = path.starts_with("core/") && path.contains("/src/") && path.ends_with(".rs");
    in_core && !path.ends_with("tests.rs") && !EXEMPT.iter().any(|folder| path.starts_with(folder))
}

/// The type that a line declares for others to see.
fn visible_type(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix("pub")?;
    let rest = match rest.strip_prefix('(') {
        Some(scope) => scope.split_once(") ")?.1,
        None => rest.strip_prefix(' ')?,
    };
    let (kind, rest) = rest.split_once(' ')?;
    let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    (["struct", "enum", "trait", "type"].contains(&kind) && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_that_others_see_are_found() {
        let seen =
            ["pub struct A<'a> {", "    pub(crate) enum A {", "pub(in crate::b) type A = u8;"];
        assert!(seen.iter().all(|line| visible_type(line) == Some("A")));
        let unseen =
            ["struct A;", "pub fn a() {", "pub mod a;", "        pub enum $name {", "published"];
        assert!(unseen.iter().all(|line| visible_type(line).is_none()));
    }

    #[test]
    fn a_word_for_two_types_is_found_but_not_among_subcommands() {
        let file = |path: &str| TextFile { path: path.into(), text: "pub struct A;\n".into() };
        let files = ["core/a/src/a.rs", "core/b/src/b.rs", "core/cli/src/commands/c.rs"].map(file);
        assert_eq!(words(&files)["A"], ["core/a/src/a.rs", "core/b/src/b.rs"]);
    }
}
