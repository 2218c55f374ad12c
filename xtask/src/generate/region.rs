//! Generated lines in a file that is otherwise written by hand.
//!
//! They stand between a line with `[generated: NAME` and a line with `generated]`, in whatever is a
//! comment there, and are indented like the first of the two.

use crate::tree;

/// What opens a region, before its name.
pub const BEGIN: &str = "[generated: ";
/// What closes it.
pub const END: &str = "generated]";

/// The file with each of its regions, named here in their order, filled.
pub fn fill(path: &str, regions: &[(&str, String)]) -> Result<String, String> {
    let text =
        std::fs::read_to_string(tree::root().join(path)).map_err(|e| format!("{path}: {e}"))?;
    replace(&text, regions).map_err(|problem| format!("{path}: {problem}"))
}

fn replace(text: &str, regions: &[(&str, String)]) -> Result<String, String> {
    let mut out = String::new();
    let mut wanted = regions.iter();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        out.push_str(line);
        out.push('\n');
        let Some((before, name)) = line.split_once(BEGIN) else { continue };
        let name = name.trim_end_matches("-->").trim();
        let (expected, content) =
            wanted.next().ok_or_else(|| format!("nothing is known of the region {name:?}"))?;
        if *expected != name {
            return Err(format!("the region {expected:?} should stand before {name:?}"));
        }
        let indent: String = before.chars().take_while(|c| c.is_whitespace()).collect();
        for line in content.lines() {
            out.push_str(format!("{indent}{line}").trim_end());
            out.push('\n');
        }
        let end = lines.by_ref().find(|line| line.contains(END));
        out.push_str(end.ok_or_else(|| format!("the region {name:?} has no end"))?);
        out.push('\n');
    }
    match wanted.next() {
        Some((missing, _)) => Err(format!("there is no region {missing:?}")),
        None => Ok(out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_between_the_marks_are_replaced() {
        let text = "a\n    # [generated: x\n    old\n    # generated]\nb\n";
        let made = replace(text, &[("x", "new\n\nlines\n".into())]).unwrap();
        assert_eq!(made, "a\n    # [generated: x\n    new\n\n    lines\n    # generated]\nb\n");
        assert_eq!(replace(&made, &[("x", "new\n\nlines\n".into())]).unwrap(), made);
        for (text, words) in [
            (text.replace("generated]", ""), "has no end"),
            (text.replace(": x", ": y"), "should stand before"),
            ("a\n".to_owned(), "no region"),
            (text.repeat(2), "nothing is known"),
        ] {
            let problem = replace(&text, &[("x", String::new())]).unwrap_err();
            assert!(problem.contains(words), "{problem}");
        }
    }
}
