//! A picture as text for Graphviz.

use std::fmt::Write;

use super::{ANY, ANY_LABEL, Picture, visible};

pub(super) fn text(picture: &Picture) -> Result<String, std::fmt::Error> {
    let mut out = String::from("digraph machine {\n");
    writeln!(out, "    label=\"{}\"; labelloc=t;", label(&picture.name))?;
    out.push_str("    rankdir=LR;\n    node [shape=box, style=rounded];\n");
    out.push_str("    start [shape=point, label=\"\"];\n");
    for state in &picture.states {
        let count = state.count.as_ref().map(|count| format!("\\n{count}")).unwrap_or_default();
        let is_final = if state.is_final { ", peripheries=2" } else { "" };
        let doings = state.doings.iter().map(|doing| format!("\\n{}", label(doing)));
        let label = format!("{}{count}{}", label(&state.name), doings.collect::<String>());
        writeln!(out, "    {} [label=\"{label}\"{is_final}];", state.id)?;
    }
    if picture.has_wildcard {
        writeln!(out, "    {ANY} [label=\"{ANY_LABEL}\", style=dashed];")?;
    }
    writeln!(out, "    start -> {};", picture.initial)?;
    for arrow in &picture.arrows {
        let guard = arrow.guard.as_ref().map(|guard| label(&format!("[{guard}]")));
        let guard = guard.map(|guard| format!("\\n{guard}")).unwrap_or_default();
        let actions = arrow.actions.as_ref().map(|actions| format!("\\n/ {}", label(actions)));
        let actions = actions.unwrap_or_default();
        let event = label(&arrow.event);
        writeln!(out, "    {} -> {} [label=\"{event}{guard}{actions}\"];", arrow.from, arrow.to)?;
    }
    out.push_str("}\n");
    Ok(out)
}

/// The inside of a quoted string that is a label: there a backslash begins an escape, and an
/// ampersand an entity of HTML.
fn label(text: &str) -> String {
    visible(text).replace('\\', "\\\\").replace('"', "\\\"").replace('&', "&amp;")
}
