//! The generated part of the TypeScript package: its types, how they travel, one method for each
//! operation, and the types of the native addon.

mod codec;
mod native;
mod operations;
mod options;
mod shape;
mod types;

pub use codec::codec;
pub use native::native;
pub use operations::operations;
pub use options::options;
pub use types::types;

use std::fmt::Write as _;

use crate::tidy::GENERATED_MARK;

fn head(what: &str) -> String {
    format!("// {GENERATED_MARK}\n\n/**\n * {what}\n *\n * @module\n */\n\n")
}

/// A doc comment; a line of its own for each tag.
fn doc(text: &mut String, indent: &str, words: &str) {
    if words.is_empty() {
        return;
    }
    if !words.contains('\n') && words.len() + indent.len() < 90 {
        let _ = writeln!(text, "{indent}/** {words} */");
        return;
    }
    let _ = writeln!(text, "{indent}/**");
    for line in words.split('\n') {
        let mut width = 0;
        let _ = write!(text, "{indent} *");
        for word in line.split_whitespace() {
            if width + word.len() + indent.len() > 92 {
                let _ = write!(text, "\n{indent} *");
                width = 0;
            }
            let _ = write!(text, " {word}");
            width += word.len() + 1;
        }
        text.push('\n');
    }
    let _ = writeln!(text, "{indent} */");
}

/// What a list holds.
fn item(kind: &str) -> Option<&str> {
    kind.strip_prefix("Vec<").and_then(|kind| kind.strip_suffix('>'))
}

/// `WalEntry:put_machine` is `WalEntryPutMachine`.
fn title(name: &str) -> String {
    let Some((name, tag)) = name.split_once(':') else { return name.to_owned() };
    let words = tag.split('_').map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        format!("{}{rest}", first.to_uppercase())
    });
    std::iter::once(name.to_owned()).chain(words).collect()
}

/// `instance_id` is `instanceId`.
fn camel(name: &str) -> String {
    let mut text = String::new();
    let mut upper = false;
    for c in name.chars() {
        if c == '_' {
            upper = true;
        } else if std::mem::take(&mut upper) {
            text.extend(c.to_uppercase());
        } else {
            text.push(c);
        }
    }
    text
}

fn finish(mut text: String) -> String {
    while text.ends_with("\n\n") {
        text.pop();
    }
    text
}

#[cfg(test)]
mod tests {
    use rstmdb_types::Operation;

    use super::*;

    #[test]
    fn names_are_spelled_as_in_typescript() {
        assert_eq!(camel("last_wal_offset"), "lastWalOffset");
        assert_eq!(title("WalEntry:put_machine"), "WalEntryPutMachine");
        assert_eq!(title("IoStats"), "IoStats");
    }

    #[test]
    fn every_operation_has_types_a_codec_and_a_method() {
        let (types, codec, operations) =
            (types().unwrap(), codec().unwrap(), operations().unwrap());
        for operation in Operation::ALL {
            let (request, result) = operation.type_names();
            for name in [request, result] {
                let declared = ["interface", "type"]
                    .iter()
                    .any(|what| types.contains(&format!("export {what} {name}")));
                assert!(declared, "{name}");
            }
            let name = camel(operation.name());
            assert!(codec.contains(&format!("\n  {name}: {{\n")), "{name}");
            assert!(operations.contains(&format!("\n  {name}(...args")), "{name}");
        }
    }

    #[test]
    fn reads_native_functions() {
        let signature = "start(&self, operation: u32, request: String) -> TextOrTicket {";
        let made = native::native_function(signature, false).unwrap();
        assert_eq!(made, "start(operation: number, request: string): string | number");
        assert!(native::native_function("odd(x: Vec<Vec<u8>>) {", false).is_err());
    }
}
