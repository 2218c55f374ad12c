//! The options as structs of C++, whose members may be absent.

use std::fmt::Write as _;

use rstmdb_types::options::{EMBEDDED, OptionForm, OptionRow};

use super::push_doc;
use crate::generate::options::{doc, objects, rows};

/// The structs, inner ones first.
pub fn options() -> String {
    let mut text = String::new();
    for row in EMBEDDED {
        if let OptionForm::Object { name, rows } = row.form {
            structure(&mut text, name, row.doc, rows.iter());
        }
    }
    for (row, name, rows) in objects() {
        structure(&mut text, &title(name), row.doc, rows.iter());
    }
    let about = "How a database is opened. An option that does not fit the URL is refused.";
    structure(&mut text, "Options", about, rows());
    text
}

/// `Retry` is `RetryOptions`.
fn title(name: &str) -> String {
    match name {
        "Limits" => name.to_owned(),
        _ => format!("{}Options", name.trim_end_matches("Options")),
    }
}

fn structure<'a>(
    text: &mut String,
    name: &str,
    about: &str,
    rows: impl Iterator<Item = &'a OptionRow>,
) {
    let _ = writeln!(text, "/// {about}\nstruct {name} {{");
    let mut writes = String::new();
    for row in rows {
        push_doc(text, &doc(row));
        let (kind, is_json) = kind(row);
        // A span of time knows its unit.
        let member = match row.form {
            OptionForm::Millis => row.name.trim_end_matches("_ms"),
            _ => row.name,
        };
        let _ = writeln!(text, "    std::optional<{kind}> {member}{{}};");
        let _ = match is_json {
            false => writeln!(writes, "        writer.member({:?}, {member});", row.name),
            true => writeln!(
                writes,
                "        if ({member}) {{\n            writer.member({:?}, Json({member}->to_json()));\n        \
                 }}",
                row.name
            ),
        };
    }
    let _ = writeln!(
        text,
        "\n    /// As JSON, without what is absent.\n    std::string to_json() const {{\n        \
         detail::Writer writer;\n{writes}        return writer.finish();\n    }}\n}};\n"
    );
}

/// The type in C++, and whether it makes its JSON itself.
fn kind(row: &OptionRow) -> (String, bool) {
    let scalar = match row.form {
        OptionForm::Flag => "bool",
        OptionForm::Integer { most } if most == u64::from(u32::MAX) => "std::uint32_t",
        OptionForm::Integer { .. } => "std::uint64_t",
        OptionForm::Millis => "std::chrono::milliseconds",
        OptionForm::Time => "std::int64_t",
        OptionForm::Text | OptionForm::Path | OptionForm::Fsync => "std::string",
        OptionForm::Retention => return ("Retention".to_owned(), true),
        OptionForm::Object { name, .. } | OptionForm::FlagOrObject { name, .. } => {
            return (title(name), true);
        }
    };
    (scalar.to_owned(), false)
}
