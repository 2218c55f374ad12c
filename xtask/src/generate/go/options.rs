//! `options.gen.go`: a function for each option, and a struct for each that is an object.

use std::collections::BTreeMap;

use rstmdb_types::options::{Half, OptionForm, OptionRow};

use super::types::lower;
use super::{comment, go_name, in_go, start, structs, words};
use crate::generate::options::{HALVES, doc, objects};
use crate::generate::source::Shapes;

/// Options whose value is a type that Go has already, written by hand in `bindings/go/options.go`.
const BY_HAND: &[&str] = &["limits", "tls"];

/// The text of the file.
pub fn options() -> Result<String, String> {
    let words = words(&structs(&Shapes::read()?)?);
    let mut out = start("A function for each option of a database.");
    out.push_str("\nimport \"time\"\n");
    for (row, name, rows) in objects().filter(|(row, ..)| !BY_HAND.contains(&row.name)) {
        out.push_str(&structure(row, name, rows, &words)?);
    }
    for (half, _) in HALVES {
        for row in half.rows().iter().filter(|row| !BY_HAND.contains(&row.name)) {
            out.push_str(&function(row, half, &words));
        }
    }
    Ok(out)
}

/// `allow_flush_all` is set by `WithFlushAll`, and `keep_alive_ms`, a time.Duration, by
/// `WithKeepAlive`.
pub fn function_name(row: &OptionRow) -> String {
    match row.name {
        "tls" => "WithTLS".to_owned(),
        name => format!("With{}", field_name(name)),
    }
}

fn field_name(name: &str) -> String {
    let name = name.strip_prefix("allow_").unwrap_or(name);
    go_name(name.strip_suffix("_ms").unwrap_or(name))
}

fn function(row: &OptionRow, half: Half, words: &BTreeMap<String, String>) -> String {
    let (parameter, value) = match row.form {
        OptionForm::Flag => ("yes bool", "yes"),
        OptionForm::Integer { .. } if row.unit() == "bytes" => ("bytes uint64", "bytes"),
        OptionForm::Integer { .. } => ("count int", "count"),
        OptionForm::Millis => ("span time.Duration", "span.Milliseconds()"),
        OptionForm::Time => ("now time.Time", "now.UnixMilli()"),
        OptionForm::Text | OptionForm::Path => ("text string", "text"),
        OptionForm::Fsync => ("policy Fsync", "string(policy)"),
        OptionForm::Retention => ("retention Retention", "retention.value"),
        OptionForm::Object { name, .. } | OptionForm::FlagOrObject { name, .. } => {
            (&*format!("values {name}"), "values.values()")
        }
    };
    let (name, option) = (function_name(row), row.name);
    let place = if half == Half::Embedded { "databases of this process" } else { "servers" };
    let text = format!("{name} is for {place}. {}", in_go(&doc(row), words));
    let text = text.replace(", in milliseconds since 1970", "");
    format!(
        "\n{}func {name}({parameter}) Option {{\n\treturn WithSetting({option:?}, {value})\n}}\n",
        comment("", &text)
    )
}

/// An object: fields that are zero are not given.
fn structure(
    row: &OptionRow,
    name: &str,
    rows: &[OptionRow],
    words: &BTreeMap<String, String>,
) -> Result<String, String> {
    let text = format!(
        "{name} is the value of {}: {} Zero fields are left as they are.",
        function_name(row),
        lower(&in_go(row.doc, words))
    );
    let mut fields = String::new();
    let mut sets = String::new();
    for (index, row) in rows.iter().enumerate() {
        let field = field_name(row.name);
        let (kind, condition, value, more) = match row.form {
            OptionForm::Integer { .. } => {
                ("int", "!= 0", format!("max(o.{field}, 0)"), " Negative for 0.")
            }
            OptionForm::Millis => ("time.Duration", "> 0", format!("o.{field}.Milliseconds()"), ""),
            OptionForm::Text | OptionForm::Path => ("string", "!= \"\"", format!("o.{field}"), ""),
            _ => return Err(format!("{name}.{}: Go has no form for it in a struct", row.name)),
        };
        let blank = if index > 0 { "\n" } else { "" };
        let text = format!("{}{more}", in_go(&doc(row), words));
        fields.push_str(&format!("{blank}{}\t{field} {kind}\n", comment("\t", &text)));
        sets.push_str(&format!(
            "\tif o.{field} {condition} {{\n\t\tvalues[{:?}] = {value}\n\t}}\n",
            row.name
        ));
    }
    Ok(format!(
        "\n{}type {name} struct {{\n{fields}}}\n\nfunc (o {name}) values() map[string]any {{\n\
         \tvalues := map[string]any{{}}\n{sets}\treturn values\n}}\n",
        comment("", &text)
    ))
}
