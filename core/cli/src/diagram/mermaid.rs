//! A picture as Mermaid text.

use std::fmt::Write;

use super::{ANY, ANY_LABEL, Picture, visible};

pub(super) fn text(picture: &Picture) -> Result<String, std::fmt::Error> {
    let mut out = String::from("stateDiagram-v2\n");
    for state in &picture.states {
        let name = label(&state.name);
        let count = state.count.as_ref().map(|count| format!(" ({count})")).unwrap_or_default();
        writeln!(out, "    state \"{name}{count}\" as {}", state.id)?;
        for doing in &state.doings {
            writeln!(out, "    {} : {}", state.id, label(doing))?;
        }
    }
    if picture.has_wildcard {
        writeln!(out, "    state \"{ANY_LABEL}\" as {ANY}")?;
    }
    writeln!(out, "    [*] --> {}", picture.initial)?;
    for arrow in &picture.arrows {
        let guard = arrow.guard.as_ref().map(|guard| label(&format!("[{guard}]")));
        let guard = guard.map(|guard| format!(" {guard}")).unwrap_or_default();
        let actions = arrow.actions.as_ref().map(|actions| format!(" / {}", label(actions)));
        let actions = actions.unwrap_or_default();
        let event = label(&arrow.event);
        writeln!(out, "    {} --> {} : {event}{guard}{actions}", arrow.from, arrow.to)?;
    }
    for state in picture.states.iter().filter(|state| state.is_final) {
        writeln!(out, "    {} --> [*]", state.id)?;
    }
    Ok(out)
}

/// Text in which nothing means anything to Mermaid: signs are written by their number.
fn label(text: &str) -> String {
    let text = visible(text);
    let last = text.chars().count().saturating_sub(1);
    let mut out = String::with_capacity(text.len());
    for (index, c) in text.chars().enumerate() {
        let is_plain = match c {
            // Blanks at the ends would be cut off.
            ' ' => index != 0 && index != last,
            // The first characters of what Mermaid itself puts in place of numbers.
            '\u{fb02}' | '¶' => false,
            '(' | ')' | ',' | '.' | '=' | '!' | '?' | '/' | '\'' | '_' | '-' | '+' => true,
            c => c.is_ascii_alphanumeric() || !(c.is_ascii() || c.is_whitespace()),
        };
        match is_plain {
            true => out.push(c),
            false => out.push_str(&format!("#{};", u32::from(c))),
        }
    }
    out
}
