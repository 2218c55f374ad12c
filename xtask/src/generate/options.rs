//! The table of options: its reference page, its rows for the tests of the languages, and the words
//! that all languages share.

use std::fmt::Write as _;

use rstmdb_types::options::{Half, OptionForm, OptionRow};
use serde_json::{Value, json};

use super::reference::{finish, page, table};

/// The halves of the table, with what a person calls them.
pub const HALVES: [(Half, &str); 2] =
    [(Half::Embedded, "In this process"), (Half::Remote, "On a server")];

/// All rows: those of this process, then those of a server.
pub fn rows() -> impl Iterator<Item = &'static OptionRow> {
    HALVES.iter().flat_map(|(half, _)| half.rows())
}

/// The objects that options of a server hold: the option, the name of the type, its rows. The limits
/// are results too, and come from the shapes.
pub fn objects() -> impl Iterator<Item = (&'static OptionRow, &'static str, &'static [OptionRow])> {
    Half::Remote.rows().iter().filter_map(|row| match row.form {
        OptionForm::Object { name, rows } | OptionForm::FlagOrObject { name, rows } => {
            Some((row, name, rows))
        }
        _ => None,
    })
}

/// What an option does and what it is when it is not given.
pub fn doc(row: &OptionRow) -> String {
    doc_with(row, "")
}

/// The same with something to say between the two.
pub fn doc_with(row: &OptionRow, more: &str) -> String {
    let default = default(row).map(|default| format!(" Default: {default}."));
    format!("{}{more}{}", row.doc, default.unwrap_or_default())
}

/// The value that an option has when it is not given, for people; None where the doc tells.
fn default(row: &OptionRow) -> Option<String> {
    let default = (row.default)();
    match row.form {
        OptionForm::Flag | OptionForm::FlagOrObject { .. } => {
            Some(if default == true { "yes" } else { "no" }.to_owned())
        }
        OptionForm::Integer { .. } => default.as_u64().map(|number| match row.unit() {
            "bytes" => bytes(number),
            _ => thousands(number),
        }),
        OptionForm::Millis => default.as_u64().map(span),
        OptionForm::Fsync => default.as_str().map(|text| format!("`{text}`")),
        OptionForm::Retention => default["bytes"].as_u64().map(bytes),
        OptionForm::Time | OptionForm::Text | OptionForm::Path | OptionForm::Object { .. } => None,
    }
}

/// `64 MiB`, where that is exact.
fn bytes(number: u64) -> String {
    scaled(number, &[(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")], "bytes")
}

/// `24 h`, where that is exact.
fn span(ms: u64) -> String {
    scaled(ms, &[(3_600_000, "h"), (60_000, "min"), (1000, "s")], "ms")
}

fn scaled(number: u64, units: &[(u64, &str)], smallest: &str) -> String {
    let unit = units.iter().find(|(size, _)| number >= *size && number.is_multiple_of(*size));
    let (size, name) = unit.copied().unwrap_or((1, smallest));
    format!("{} {name}", thousands(number / size))
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The rows as a table for people. Links lead to pages in `folder`.
pub fn rows_table(rows: &[OptionRow], folder: &str) -> String {
    let mut text = String::new();
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            let default = default(row).unwrap_or_default();
            vec![format!("`{}`", row.name), kind(row, folder), default, row.doc.to_owned()]
        })
        .collect();
    table(&mut text, &["option", "type", "default", "meaning"], &rows);
    text
}

/// The type in JSON.
fn kind(row: &OptionRow, folder: &str) -> String {
    match row.form {
        OptionForm::Flag => "boolean".to_owned(),
        OptionForm::Integer { .. } if row.unit() == "bytes" => "integer, bytes".to_owned(),
        OptionForm::Integer { .. } => "integer".to_owned(),
        OptionForm::Millis | OptionForm::Time => "integer, ms".to_owned(),
        OptionForm::Text | OptionForm::Fsync => "string".to_owned(),
        OptionForm::Path => "string, a path".to_owned(),
        OptionForm::Retention => r#"`"forever"`, `{"bytes": …}` or `{"age_ms": …}`"#.to_owned(),
        OptionForm::Object { name: "Limits", .. } => {
            format!("object of [limits]({folder}limits.md)")
        }
        OptionForm::Object { .. } => format!("object, see {}", row.name),
        OptionForm::FlagOrObject { .. } => format!("boolean, or object, see {}", row.name),
    }
}

/// The tables of one half, and those of the objects in it.
pub fn half_tables(half: Half, folder: &str) -> String {
    let mut text = rows_table(half.rows(), folder);
    for (row, _, rows) in objects().filter(|_| half == Half::Remote) {
        let _ = writeln!(text, "The members of `{}`:\n", row.name);
        text.push_str(&rows_table(rows, folder));
    }
    text
}

/// `docs/reference/options.md`.
pub fn reference() -> Result<String, String> {
    let mut text = page("Options", "core/types/src/options.rs");
    text.push_str(
        "How a database is opened. The names are those of JSON and of Python; `pool_size` is \
         `poolSize` in\nTypeScript, `WithPoolSize` in Go, a member of `rstmdb::Options` in C++ and a field of \
         `RemoteOptions` in Rust, where\ntimes are a `Duration` and have no `_ms`. What is not given has its \
         default, and `null` is not given. An option that\ndoes not exist, belongs to the other kind of \
         database or does not fit is refused with `BAD_REQUEST` and the reason\n`invalid_option`; `context` \
         names it as `option`.\n\n",
    );
    for (half, title) in HALVES {
        let _ = writeln!(text, "## {title}\n");
        text.push_str(&half_tables(half, ""));
    }
    Ok(finish(text))
}

/// The rows of `surface.json`.
pub fn surface() -> Vec<Value> {
    let all = HALVES.iter().flat_map(|(half, _)| half.rows().iter().map(move |row| (*half, row)));
    all.map(|(half, row)| {
        let mut shown = data(row);
        shown["for"] = json!(if half == Half::Embedded { "embedded" } else { "server" });
        shown
    })
    .collect()
}

fn data(row: &OptionRow) -> Value {
    let (form, members) = match row.form {
        OptionForm::Flag => ("flag", None),
        OptionForm::Integer { .. } => ("integer", None),
        OptionForm::Millis => ("milliseconds", None),
        OptionForm::Time => ("time", None),
        OptionForm::Text => ("text", None),
        OptionForm::Path => ("path", None),
        OptionForm::Fsync => ("fsync", None),
        OptionForm::Retention => ("retention", None),
        OptionForm::Object { rows, .. } => ("object", Some(rows)),
        OptionForm::FlagOrObject { rows, .. } => ("flag or object", Some(rows)),
    };
    // A text that is a default tells a version or a name, which is another in every language.
    let default = if matches!(row.form, OptionForm::Text) { Value::Null } else { (row.default)() };
    let mut shown = json!({ "name": row.name, "form": form, "default": default });
    if let Some(rows) = members {
        shown["members"] = rows.iter().map(data).collect();
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_people() {
        assert_eq!((bytes(64 << 20), bytes(1500)), ("64 MiB".into(), "1,500 bytes".into()));
        assert_eq!((span(86_400_000), span(20)), ("24 h".into(), "20 ms".into()));
        assert_eq!(thousands(1_000_000), "1,000,000");
    }

    #[test]
    fn the_page_and_the_surface_have_every_option() {
        let page = reference().unwrap();
        let surface = surface();
        assert_eq!(surface.len(), rows().count());
        for row in rows().chain(objects().flat_map(|(_, _, rows)| rows)) {
            assert!(page.contains(&format!("| `{}` |", row.name)), "{}", row.name);
        }
        assert!(page.contains("| `segment_bytes_max` | integer, bytes | 64 MiB |"));
    }
}
