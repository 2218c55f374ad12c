//! Every language against Rust calling the facade, turn by turn.
//!
//! A language's program prints a line of JSON for each figure. It is built and run by the targets
//! `bench-build` and `bench-run` of its Makefile and measures what `rust.rs` measures: the same
//! machine, instances, contexts and payloads. Each turn runs all programs once, and Rust right before each of
//! them: a share is that of two neighbours, so that a machine that gets slower meanwhile slows both.

mod program;
mod rust;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Bench;
use crate::measure::{Goal, Row, Samples, Section, Unit};
use crate::network;
use program::Language;

/// The languages beside Rust, and the folder whose Makefile builds and runs their programs. C++ is a thin cover on C.
const LANGUAGES: [Language; 5] = [
    Language { name: "c", folder: "bindings/c" },
    Language { name: "go", folder: "bindings/go" },
    Language { name: "node", folder: "node" },
    Language { name: "python-sync", folder: "python" },
    Language { name: "python-async", folder: "python" },
];

/// One figure in all turns, by language and name.
type Figures = BTreeMap<(&'static str, String), Samples>;

const RUST: &str = "rust";

/// The name of Rust's figure right before a language's.
fn beside(name: &str) -> String {
    format!("rust beside: {name}")
}

/// How often and how long.
struct Scale {
    turns: usize,
    seconds: Duration,
}

pub fn run(bench: &Bench) -> Section {
    let scale = match bench.scale.quick {
        true => Scale { turns: 1, seconds: Duration::from_millis(200) },
        false => Scale { turns: 5, seconds: Duration::from_secs(1) },
    };
    let languages: Vec<&Language> =
        LANGUAGES.iter().filter(|language| program::build(language)).collect();
    // The published Python client and ours talk to the same server.
    let folder = bench.folder();
    let talks = languages.iter().any(|language| language.folder == "python");
    let server = talks.then(|| network::our_server(folder.path()));
    let url = server.as_ref().map(|server| format!("rstmdb://{}", server.address));
    let mut figures = Figures::new();
    for turn in 0..scale.turns {
        let mut keep = |language: &'static str, name: String, value: f64| {
            figures.entry((language, name)).or_default().0.push(value);
        };
        if languages.is_empty() {
            for (name, value) in rust::measure(bench, scale.seconds) {
                keep(RUST, name.to_owned(), value);
            }
        }
        for language in &languages {
            for (name, value) in rust::measure(bench, scale.seconds) {
                keep(RUST, name.to_owned(), value);
                keep(language.name, beside(name), value);
            }
            let folder = bench.folder();
            let printed = program::measure(language, scale.seconds, folder.path(), url.as_deref());
            for (name, value) in printed {
                keep(language.name, name, value);
            }
        }
        eprintln!("languages: turn {} of {} is done", turn + 1, scale.turns);
    }
    Section { title: "Languages, against Rust on the facade", rows: rows(&figures, scale.turns) }
}

/// What a figure is a share of.
#[derive(Clone, Copy)]
enum Against {
    /// The figure of Rust with this name.
    Rust(&'static str),
    /// What it is called, and the figure of the same language with this name.
    Own(&'static str, &'static str),
    Nothing,
}

/// The names of figures, their units, and what they are compared with.
const CASES: [(&str, Unit, Against); 10] = [
    ("mem_apply", Unit::PerSecond, Against::Rust("mem_apply")),
    ("mem_apply_64", Unit::PerSecond, Against::Rust("mem_apply")),
    ("durable_apply_64", Unit::PerSecond, Against::Rust("durable_apply_64")),
    ("batch_1000", Unit::PerSecond, Against::Rust("batch_1000")),
    ("guarded_never", Unit::PerSecond, Against::Own("SQLite NORMAL", "sqlite_normal")),
    ("guarded_durable", Unit::PerSecond, Against::Own("SQLite FULL", "sqlite_full")),
    ("guarded_durable_64", Unit::PerSecond, Against::Own("SQLite FULL", "sqlite_full")),
    ("ours_64", Unit::PerSecond, Against::Own("the published client", "peer_64")),
    ("open_ms", Unit::Millis, Against::Nothing),
    ("import_ms", Unit::Millis, Against::Nothing),
];

/// What a language is held to.
fn goal(language: &str, case: &str) -> Goal {
    match (case, language) {
        (_, "rust") => Goal::Reported,
        ("mem_apply", "c") => Goal::RatioAtLeast(0.6),
        ("mem_apply", "go") => Goal::RatioAtLeast(0.3),
        ("mem_apply", "python-sync") => Goal::RatioAtLeast(0.5),
        ("mem_apply_64", "node") => Goal::RatioAtLeast(0.2),
        ("mem_apply_64", "python-async") => Goal::RatioAtLeast(0.1),
        ("durable_apply_64", _) => Goal::RatioAtLeast(0.8),
        ("batch_1000", _) => Goal::RatioAtLeast(0.6),
        ("guarded_durable_64", _) => Goal::RatioAtLeast(10.0),
        ("ours_64", "python-async") => Goal::RatioAtLeast(4.0),
        ("open_ms", _) => Goal::AtMost(50.0),
        ("import_ms", _) => Goal::AtMost(30.0),
        _ => Goal::Reported,
    }
}

/// What the figure of Rust beside those of the others is.
fn in_words(case: &str) -> &'static str {
    match case {
        "mem_apply" => "Rust, 1 thread",
        "durable_apply_64" => "Rust, 64 in flight",
        _ => "Rust, batches of 1,000",
    }
}

fn describe(language: &str, case: &str) -> String {
    let what = match case {
        "mem_apply" => "`mem:`, one at a time",
        "mem_apply_64" => "`mem:`, 64 in flight",
        "durable_apply_64" => "directory, every write synced, 64 in flight",
        "batch_1000" => "`mem:`, batches of 1,000",
        "guarded_never" => "with a guard, directory, `never`, one at a time",
        "guarded_durable" => "with a guard, directory, every write synced, one at a time",
        "guarded_durable_64" => "with a guard, directory, every write synced, 64 in flight",
        "ours_64" => "on a server, 64 tasks",
        "open_ms" => "open an empty directory to the first answer",
        "import_ms" => "import",
        other => other,
    };
    format!("{language}: {what}")
}

/// Rows by case, Rust first in each.
fn rows(figures: &Figures, turns: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    let names = std::iter::once(RUST).chain(LANGUAGES.iter().map(|language| language.name));
    let names: Vec<&str> = names.collect();
    // A turn in which a program failed would shift the turns after it.
    let whole = |language, case: String| {
        figures.get(&(language, case)).filter(|samples| samples.0.len() == turns)
    };
    for (case, unit, against) in CASES {
        for name in names.iter().copied() {
            let Some(ours) = figures.get(&(name, case.to_owned())) else { continue };
            let mut row = Row::new(describe(name, case), unit, ours.clone());
            let other = match against {
                Against::Rust(case) => Some((in_words(case), whole(name, beside(case)))),
                Against::Own(words, case) => Some((words, whole(name, case.to_owned()))),
                Against::Nothing => None,
            };
            if let Some((words, Some(samples))) = other
                && ours.0.len() == turns
            {
                row = row.against(words, samples);
            }
            rows.push(row.goal(goal(name, case)));
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_shares_of_rust() {
        let mut figures = Figures::new();
        for (language, name, values) in [
            ("rust", "mem_apply", [100.0, 200.0]),
            ("c", "rust beside: mem_apply", [100.0, 200.0]),
            ("c", "mem_apply", [60.0, 120.0]),
            ("python-async", "rust beside: mem_apply", [100.0, 200.0]),
            ("python-async", "mem_apply_64", [5.0, 10.0]),
            ("python-async", "ours_64", [8.0, 8.0]),
            ("python-async", "peer_64", [1.0, 2.0]),
            ("node", "guarded_durable_64", [50.0, 60.0]),
            ("node", "sqlite_full", [4.0, 5.0]),
            ("go", "open_ms", [60.0, 70.0]),
        ] {
            figures.insert((language, name.to_owned()), Samples(values.to_vec()));
        }
        let rows = rows(&figures, 2);
        let shown: Vec<(&str, Option<bool>)> =
            rows.iter().map(|row| (row.case.split(':').next().unwrap(), row.met())).collect();
        assert_eq!(
            shown,
            [
                ("rust", None),
                ("c", Some(true)),
                ("python-async", Some(false)),
                ("node", Some(true)),
                ("python-async", Some(true)),
                ("go", Some(false))
            ]
        );
        assert!(rows[1].markdown(false).contains("0.60x"), "{}", rows[1].markdown(false));
    }

    #[test]
    fn a_program_that_failed_once_is_not_compared() {
        let mut figures = Figures::new();
        figures.insert(("rust", "mem_apply".to_owned()), Samples(vec![1.0, 2.0]));
        figures.insert(("c", beside("mem_apply")), Samples(vec![1.0, 2.0]));
        figures.insert(("c", "mem_apply".to_owned()), Samples(vec![2.0]));
        let rows = rows(&figures, 2);
        assert_eq!(rows[1].met(), Some(false));
        assert!(rows[1].ratio.is_none());
    }
}
