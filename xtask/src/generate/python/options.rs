//! The options as arguments of `open`, in `_database.py`.

use std::fmt::Write as _;

use rstmdb_types::options::{OptionForm, OptionRow};

use super::wrapped;
use crate::generate::options::{doc_with, rows};
use crate::generate::region;

/// `python/rstmdb/_database.py`, with the arguments of `open`.
pub fn database() -> Result<String, String> {
    let parameters = lines(|row| format!("{}: {} | None = None,", row.name, kind(row)));
    let docs = lines(|row| {
        let text = format!("{}: {}", row.name, doc_with(row, &members(row)));
        format!("    {}", wrapped(&text, "        ", 84))
    });
    let values = lines(|row| format!("{:?}: {},", row.name, row.name));
    region::fill(
        "python/rstmdb/_database.py",
        &[
            ("option arguments", parameters),
            ("documentation", format!("{HEAD}{docs}\"\"\"\n")),
            ("option values", values),
        ],
    )
}

const HEAD: &str = "\"\"\"Opens a database.

Args:
    url: `\"mem:\"` for one in memory, a directory for one in this process, or
        `\"rstmdb://host:7401\"` (`rstmdbs://` with TLS) for one on a server.
";

fn lines(line: impl Fn(&OptionRow) -> String) -> String {
    let mut text = String::new();
    for row in rows() {
        let _ = writeln!(text, "{}", line(row));
    }
    text
}

fn kind(row: &OptionRow) -> &'static str {
    match row.form {
        OptionForm::Flag => "bool",
        OptionForm::Integer { .. } | OptionForm::Time => "int",
        OptionForm::Millis => "int | timedelta",
        OptionForm::Text | OptionForm::Fsync => "str",
        OptionForm::Path => "str | os.PathLike[str]",
        OptionForm::Retention => "str | Mapping[str, int]",
        OptionForm::Object { rows, .. } => {
            match rows.iter().all(|row| matches!(row.form, OptionForm::Integer { .. })) {
                true => "Mapping[str, int]",
                false => "Mapping[str, Any]",
            }
        }
        OptionForm::FlagOrObject { .. } => "bool | Mapping[str, Any]",
    }
}

/// What the type of the argument does not tell.
fn members(row: &OptionRow) -> String {
    match row.form {
        OptionForm::Retention => {
            " `\"forever\"`, `{\"bytes\": n}` or `{\"age_ms\": n}`.".to_owned()
        }
        OptionForm::Object { name: "Limits", .. } => {
            " A mapping such as `{\"context_bytes_max\": 1_000_000}`.".to_owned()
        }
        OptionForm::Object { rows, .. } => format!(" A mapping with {}.", names(rows)),
        OptionForm::FlagOrObject { rows, .. } => format!(" A mapping says how: {}.", names(rows)),
        _ => String::new(),
    }
}

fn names(rows: &[OptionRow]) -> String {
    let names: Vec<String> = rows.iter().map(|row| format!("`{}`", row.name)).collect();
    names.join(", ")
}
