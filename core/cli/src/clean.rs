//! What others wrote, on the terminal of whoever reads it: nothing is obeyed, nothing is hidden.
//!
//! A name may hold what moves the cursor, rings the bell, turns the direction of the line around or
//! takes no room. All of it is shown as an escape: in text as `\u{…}`, in JSON as `\uXXXX`, which
//! reads back as the same text.

use std::fmt::Write;

/// Text as one line.
pub(crate) fn clean(text: &str) -> String {
    escaped(text, is_hidden)
}

/// Text whose line ends are meant.
pub(crate) fn clean_lines(text: &str) -> String {
    escaped(text, |c| c != '\n' && is_hidden(c))
}

fn escaped(text: &str, is_meant: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match is_meant(c) {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    out
}

/// A line of JSON; what is hidden can only stand in its strings.
pub(crate) fn clean_json(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    for c in line.chars() {
        if !is_hidden(c) {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a string does not fail.
            let _ = write!(out, "\\u{unit:04x}");
        }
    }
    out
}

/// Whether a character is obeyed by a terminal or shown as nothing: controls, marks of direction,
/// separators of lines, everything of no width that is not drawn over another character, and what never
/// is a character, which XML refuses.
pub(crate) fn is_hidden(c: char) -> bool {
    let is_no_character = u32::from(c) & 0xfffe == 0xfffe || matches!(c, '\u{fdd0}'..='\u{fdef}');
    c.is_control()
        || is_no_character
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{70f}' | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_obeyed_or_hidden_is_shown() {
        assert_eq!(clean("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(clean_lines("a\u{9b}2J\nb\r"), "a\\u{9b}2J\nb\\r");
        for hidden in "\u{7f}\u{85}\u{ad}\u{61c}\u{200b}\u{200d}\u{200f}\u{202e}\u{2066}\u{2028}\
                       \u{feff}\u{fffe}\u{e0041}\u{3164}\u{fe0f}"
            .chars()
        {
            let text = format!("a{hidden}b");
            assert_eq!(clean(&text), format!("a\\u{{{:x}}}b", u32::from(hidden)));
            let json = clean_json(&serde_json::to_string(&text).unwrap());
            assert!(json.is_ascii(), "{json}");
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }

    #[test]
    fn what_people_write_stays() {
        let text = "naïve e\u{301} 日本語 שלום 👍 – \u{a0} \\ \"";
        assert_eq!(clean(text), text);
        assert_eq!(clean_json(text), text);
    }
}
