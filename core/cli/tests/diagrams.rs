//! Diagrams of machines whose names mean something to Mermaid or DOT: only what a strict grammar
//! allows is written, and every label reads back as its name. `make diagrams` asks the real parsers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code fails by panicking"
)]

mod common;

use common::Place;
use serde_json::json;

fn hard_names() -> Vec<String> {
    serde_json::from_str(include_str!("../../../tests/diagrams/names.json")).unwrap()
}

/// A place with a machine `hard` that has a state and an event for each name.
fn place(names: &[String]) -> Place {
    let place = Place::new();
    let next = |index: usize| &names[(index + 1) % names.len()];
    let transitions: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(index, name)| json!({ "from": name, "event": name, "to": next(index) }))
        .collect();
    let definition = json!({
        "states": names, "initial": names[0], "final": [], "transitions": transitions
    });
    let file = place.file("hard.json", definition.to_string());
    place.ok(&["put-machine", "--lenient", "-n", "hard", "-v", "1", &format!("@{file}")]);
    place
}

/// What is shown for a name: nothing that a terminal obeys or hides.
fn shown(name: &str) -> String {
    let hidden = |c: &char| {
        c.is_control()
            || "\u{200b}\u{200d}\u{200e}\u{202e}\u{2066}\u{2069}\u{2028}\u{2029}\u{feff}\u{fffe}\u{ad}\u{e0041}\u{fe0f}"
                .contains(*c)
    };
    name.chars()
        .map(|c| if hidden(&c) { c.escape_default().to_string() } else { c.to_string() })
        .collect()
}

/// The text that a Mermaid label stands for; None when something in it might mean something.
fn read_mermaid(label: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = label;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '#' => {
                let (code, behind) = rest.split_once(';')?;
                out.push(char::from_u32(code.parse().ok()?)?);
                rest = behind;
            }
            'ﬂ' | '¶' => return None,
            c if c.is_ascii_alphanumeric() || " (),.=!?/'_-+".contains(c) => out.push(c),
            c if c.is_ascii() || c.is_whitespace() => return None,
            c => out.push(c),
        }
    }
    (label == label.trim() && !label.is_empty()).then_some(out)
}

/// The text that a quoted DOT string stands for as a label.
fn read_dot(label: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = label.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return None,
            '\\' => out.push(chars.next().filter(|c| "\\\"".contains(*c))?),
            '&' => {
                chars.as_str().strip_prefix("amp;")?;
                chars.nth(3);
                out.push('&');
            }
            c if c.is_control() => return None,
            c => out.push(c),
        }
    }
    Some(out)
}

#[test]
fn hard_names_are_labels_of_made_ids() {
    let names = hard_names();
    assert!(names.len() >= 200, "{}", names.len());
    let place = place(&names);
    let visible = |name: &str| if name.is_empty() { "\"\"".to_owned() } else { shown(name) };
    let to = |index: usize| (index + 1) % names.len();

    let mermaid = place.ok(&["diagram", "hard"]);
    let mut lines = mermaid.lines();
    assert_eq!(lines.next(), Some("stateDiagram-v2"));
    for (index, name) in names.iter().enumerate() {
        let line = lines.next().unwrap();
        let label = line.strip_prefix("    state \"").unwrap();
        let label = label.strip_suffix(&format!("\" as s{index}")).unwrap();
        assert_eq!(read_mermaid(label), Some(visible(name)), "{line}");
    }
    assert_eq!(lines.next(), Some("    [*] --> s0"));
    for (index, name) in names.iter().enumerate() {
        let line = lines.next().unwrap();
        let label = line.strip_prefix(&format!("    s{index} --> s{} : ", to(index))).unwrap();
        assert_eq!(read_mermaid(label), Some(visible(name)), "{line}");
    }
    assert_eq!(lines.next(), None);

    let dot = place.ok(&["diagram", "hard", "--format", "dot"]);
    let node = |index: usize| format!("    s{index} [label=\"");
    let arrow = |index: usize| format!("    s{index} -> s{} [label=\"", to(index));
    for (index, name) in names.iter().enumerate() {
        for begin in [node(index), arrow(index)] {
            let line = dot.lines().find(|line| line.starts_with(&begin)).unwrap();
            let label = line[begin.len()..].strip_suffix("\"];").unwrap();
            assert_eq!(read_dot(label), Some(visible(name)), "{line}");
        }
    }
    assert_eq!(dot.lines().count(), 2 * names.len() + 7);
}
