//! `option_types.ts`: the options of a database.

use std::fmt::Write as _;

use rstmdb_types::options::{Half, OptionForm, OptionRow};

use super::{camel, doc, finish, head};
use crate::generate::options::{self, HALVES, objects};

/// `node/src/option_types.ts`.
pub fn options() -> Result<String, String> {
    let mut text = head("The options of a database.");
    text.push_str("import type { Limits } from './types.js';\n\n");
    for (row, name, rows) in objects() {
        let about = format!("The members of the option `{}`.", row.name);
        interface(&mut text, &title(name), &about, rows);
    }
    for (half, _) in HALVES {
        let (name, about) = match half {
            Half::Embedded => {
                ("LocalOptions", "Options of a database in this process: a directory, or `mem:`.")
            }
            Half::Remote => {
                ("ServerOptions", "Options of a database on a server, `rstmdb://` or `rstmdbs://`.")
            }
        };
        interface(&mut text, name, about, half.rows());
    }
    Ok(finish(text))
}

/// `Retry` is `RetryOptions`.
fn title(name: &str) -> String {
    format!("{}Options", name.trim_end_matches("Options"))
}

fn interface(text: &mut String, name: &str, about: &str, rows: &[OptionRow]) {
    doc(text, "", about);
    let _ = writeln!(text, "export interface {name} {{");
    for row in rows {
        doc(text, "  ", &spelled(&options::doc(row)));
        let _ = writeln!(text, "  readonly {}?: {} | undefined;", camel(row.name), kind(row));
    }
    text.push_str("}\n\n");
}

/// The doc with the names of operations and options as they are here.
fn spelled(doc: &str) -> String {
    let parts = doc.split('`').enumerate();
    let parts: Vec<String> = parts
        .map(|(index, part)| match index % 2 == 1 && !part.starts_with("every_") {
            true => camel(part),
            false => part.to_owned(),
        })
        .collect();
    parts.join("`")
}

fn kind(row: &OptionRow) -> String {
    match row.form {
        OptionForm::Flag => "boolean".to_owned(),
        OptionForm::Integer { .. } | OptionForm::Millis | OptionForm::Time => "number".to_owned(),
        OptionForm::Text | OptionForm::Path => "string".to_owned(),
        OptionForm::Fsync => {
            "'every_write' | `every_n:${number}` | `every_ms:${number}` | 'never'".to_owned()
        }
        OptionForm::Retention => {
            "'forever' | { readonly bytes: number } | { readonly ageMs: number }".to_owned()
        }
        OptionForm::Object { name: "Limits", .. } => "Partial<Limits>".to_owned(),
        OptionForm::Object { name, .. } => title(name),
        OptionForm::FlagOrObject { name, .. } => format!("boolean | {}", title(name)),
    }
}
