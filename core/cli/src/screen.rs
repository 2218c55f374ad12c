//! What people read of a result: names with their values, and tables, in the width there is.
//!
//! A table that is too wide shortens its longest texts, never its numbers. Where that would leave too
//! little of them, or there is one row alone, each row becomes a record: a name and a value to a line,
//! and nothing is left out.

use comfy_table::{Cell, CellAlignment, Table, presets};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::clean::{clean, clean_lines};

/// The least that is left of a text in a table.
const KEPT_MIN: usize = 8;

/// The most of a text in a table whose width nobody knows.
const KEPT_MAX: usize = 100;

/// How a result is laid out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The columns there are; None when nobody looks, or when nothing is to be shortened.
    pub(crate) width: Option<usize>,
    /// Nothing is shortened or broken into lines.
    pub(crate) wide: bool,
    /// Rows of tables become records.
    pub(crate) record: bool,
}

/// What is shown, before it is known how much room there is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Screen(Vec<Part>);

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Fields(Vec<(String, String)>),
    Table { header: Vec<String>, rows: Vec<Vec<String>> },
}

impl From<String> for Screen {
    fn from(text: String) -> Screen {
        Screen(vec![Part::Text(text)])
    }
}

/// A table with a header; columns whose header ends with `#` are numbers (the mark is not shown).
pub(crate) fn table<R, C>(header: &[&str], rows: R) -> Screen
where
    R: IntoIterator<Item = Vec<C>>,
    C: AsRef<str>,
{
    let cells = |row: Vec<C>| row.iter().map(|cell| clean(cell.as_ref())).collect();
    let header = header.iter().map(|name| (*name).to_owned()).collect();
    Screen(vec![Part::Table { header, rows: rows.into_iter().map(cells).collect() }])
}

/// Names and values in two columns.
pub(crate) fn fields<'a>(fields: impl IntoIterator<Item = (&'a str, String)>) -> Screen {
    let field = |(name, value): (&str, String)| (name.to_owned(), clean(&value));
    Screen(vec![Part::Fields(fields.into_iter().map(field).collect())])
}

impl Screen {
    /// This, and the other below.
    pub(crate) fn then(mut self, other: impl Into<Screen>) -> Screen {
        self.0.extend(other.into().0);
        self
    }

    /// The lines, each with its end.
    pub(crate) fn draw(&self, layout: Layout) -> String {
        self.0.iter().map(|part| part.draw(layout)).collect()
    }
}

impl Part {
    fn draw(&self, layout: Layout) -> String {
        match self {
            Part::Text(text) => {
                let end = if text.ends_with('\n') || text.is_empty() { "" } else { "\n" };
                format!("{}{end}", clean_lines(text))
            }
            Part::Fields(fields) => {
                let fields: Vec<_> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                aligned(&fields, layout)
            }
            Part::Table { header, rows } => match room(header, rows, layout) {
                Some(widths) => drawn(header, rows, &widths),
                None => records(header, rows, layout),
            },
        }
    }
}

/// The names in a column, the values beside them in as many lines as they need.
fn aligned(fields: &[(&str, &str)], layout: Layout) -> String {
    let indent = fields.iter().map(|(name, _)| name.width()).max().unwrap_or(0) + 2;
    // Less room than this is no column.
    let room = layout.width.map_or(usize::MAX, |width| width.saturating_sub(indent).max(KEPT_MIN));
    let mut out = String::new();
    for (name, value) in fields {
        let mut begin = format!("{name}{}", " ".repeat(indent - name.width()));
        for line in broken(value, room) {
            out.push_str(format!("{begin}{line}").trim_end());
            out.push('\n');
            begin = " ".repeat(indent);
        }
    }
    out
}

/// The text in lines of this width, broken at blanks where there are some.
fn broken(text: &str, width: usize) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    loop {
        let fitting = fitting(rest, width).max(rest.chars().next().map_or(0, char::len_utf8));
        if fitting == rest.len() {
            lines.push(rest);
            return lines;
        }
        let (line, behind) = rest.split_at(fitting);
        let at = match line.rfind(' ') {
            Some(blank) if !behind.starts_with(' ') && blank > 0 => blank,
            _ => fitting,
        };
        let (line, behind) = rest.split_at(at);
        lines.push(line);
        rest = behind.strip_prefix(' ').unwrap_or(behind);
    }
}

/// How many bytes of the text take no more than this width.
fn fitting(text: &str, width: usize) -> usize {
    let mut taken = 0;
    for (place, c) in text.char_indices() {
        taken += c.width().unwrap_or(0);
        if taken > width {
            return place;
        }
    }
    text.len()
}

/// The first characters of a long text, in this width.
pub(crate) fn shorten(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let kept = text.get(..fitting(text, width.saturating_sub(1))).unwrap_or_default();
    format!("{kept}…")
}

fn name(header: &str) -> &str {
    header.trim_end_matches('#')
}

/// The widths of a table's columns; None when its rows are better shown as records.
fn room(header: &[String], rows: &[Vec<String>], layout: Layout) -> Option<Vec<usize>> {
    if layout.record {
        return None;
    }
    let natural = |index: usize, head: &String| {
        let cells = rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.width());
        cells.max().unwrap_or(0).max(name(head).width())
    };
    let mut widths: Vec<usize> = header.iter().enumerate().map(|(i, h)| natural(i, h)).collect();
    let is_text = |index: usize| header.get(index).is_some_and(|head| !head.ends_with('#'));
    let Some(width) = layout.width else {
        if !layout.wide {
            let texts = widths.iter_mut().enumerate().filter(|(index, _)| is_text(*index));
            texts.for_each(|(_, width)| *width = (*width).min(KEPT_MAX));
        }
        return Some(widths);
    };
    // A border and a blank at each side of a cell, and the last border.
    let lines = 3 * widths.len() + 1;
    let needed = lines + widths.iter().sum::<usize>();
    if needed <= width {
        return Some(widths);
    }
    if rows.len() <= 1 {
        return None;
    }
    let texts: Vec<usize> = (0..widths.len()).filter(|index| is_text(*index)).collect();
    let of_texts = |level: usize| -> usize {
        texts.iter().filter_map(|index| widths.get(*index)).map(|width| (*width).min(level)).sum()
    };
    let others = needed - of_texts(usize::MAX);
    // The longest lose first, down to what fits.
    let level = (KEPT_MIN..width).rev().find(|level| others + of_texts(*level) <= width)?;
    for index in texts {
        if let Some(width) = widths.get_mut(index) {
            *width = (*width).min(level);
        }
    }
    Some(widths)
}

fn drawn(header: &[String], rows: &[Vec<String>], widths: &[usize]) -> String {
    let cut = |cells: &[String]| -> Vec<Cell> {
        cells.iter().zip(widths).map(|(cell, width)| Cell::new(shorten(cell, *width))).collect()
    };
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    let names: Vec<String> = header.iter().map(|head| name(head).to_owned()).collect();
    table.set_header(cut(&names));
    for row in rows {
        table.add_row(cut(row));
    }
    for (index, head) in header.iter().enumerate() {
        if let Some(column) = table.column_mut(index).filter(|_| head.ends_with('#')) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    format!("{}\n", table.trim_fmt())
}

/// A record for each row, with a line without anything between them.
fn records(header: &[String], rows: &[Vec<String>], layout: Layout) -> String {
    let record = |row: &Vec<String>| {
        let fields: Vec<_> =
            header.iter().zip(row).map(|(head, cell)| (name(head), cell.as_str())).collect();
        aligned(&fields, layout)
    };
    rows.iter().map(record).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn_in(width: usize, rows: &[[&str; 3]]) -> String {
        let rows = rows.iter().map(|row| row.to_vec());
        let layout = Layout { width: Some(width), ..Layout::default() };
        table(&["id", "count#", "context"], rows).draw(layout)
    }

    const ROWS: [[&str; 3]; 2] = [
        ["order-1", "1234567", r#"{"total": 10, "name": "somebody with a long name"}"#],
        ["日本語日本語日本語", "2", "{}"],
    ];

    #[test]
    fn tables_shorten_the_longest_texts_and_no_number() {
        for width in [40, 45, 60, 79, 80] {
            let text = drawn_in(width, &ROWS);
            let widest = text.lines().map(UnicodeWidthStr::width).max().unwrap();
            assert!(widest <= width && widest > width - 2, "{width}: {widest}\n{text}");
            assert!(text.contains("1234567") && text.contains('…'), "{text}");
        }
        assert!(!drawn_in(100, &ROWS).contains('…'));
    }

    #[test]
    fn what_is_too_narrow_or_alone_becomes_records() {
        let text = drawn_in(30, &ROWS);
        assert!(text.starts_with(
            "id       order-1\ncount    1234567\ncontext  {\"total\": 10, \"name\":\n"
        ));
        assert!(text.contains("\n\nid       日本語"), "{text}");
        assert!(text.lines().all(|line| line.width() <= 30), "{text}");
        assert!(!text.contains('…'), "{text}");
        let alone = drawn_in(60, &ROWS[..1]);
        assert!(alone.starts_with("id       order-1\n"), "{alone}");
        assert!(drawn_in(60, &[["a", "1", "{}"]]).starts_with('┌'));
    }

    #[test]
    fn wide_shows_all_in_any_width() {
        let long = "x".repeat(500);
        let screen = table(&["id", "context"], [["a", &long], ["b", "c"]].map(Vec::from));
        assert!(!screen.draw(Layout::default()).contains(&long));
        let wide = Layout { wide: true, ..Layout::default() };
        assert!(screen.draw(wide).contains(&long));
        assert!(screen.draw(Layout { record: true, ..wide }).contains(&long));
    }

    #[test]
    fn values_go_on_below_themselves() {
        let layout = Layout { width: Some(24), ..Layout::default() };
        let screen = fields([("name", "one two three four five".to_owned()), ("n", "7".into())]);
        assert_eq!(screen.draw(layout), "name  one two three four\n      five\nn     7\n");
        let unbroken = fields([("name", "x".repeat(30))]).draw(layout);
        assert_eq!(unbroken, format!("name  {}\n      {}\n", "x".repeat(18), "x".repeat(12)));
    }

    #[test]
    fn numbers_stand_right() {
        let text = table(&["state", "count#"], [vec!["paid", "1"], vec!["new", "1,000"]]);
        let text = text.draw(Layout::default());
        assert!(text.contains("│ paid  ┆     1 │\n│ new   ┆ 1,000 │\n"), "{text}");
    }
}
