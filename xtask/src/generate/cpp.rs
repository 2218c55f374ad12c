//! `include/rstmdb.hpp`: the template `bindings/c/rstmdb.hpp.in` with everything that follows the
//! table of operations and the tables of errors; and the list of operations for C and C++ tests.

mod options;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use rstmdb_types::{ErrorCode, ErrorKind, Operation};

use super::source::{Member, Shape, Shapes};
use crate::tidy::GENERATED_MARK;
use crate::tree;

const TEMPLATE: &str = "bindings/c/rstmdb.hpp.in";

/// The wrapper for C++.
pub fn header() -> Result<String, String> {
    let template = std::fs::read_to_string(tree::root().join(TEMPLATE))
        .map_err(|error| format!("{TEMPLATE}: {error}"))?;
    let shapes = Shapes::read()?;
    let parts = [
        ("@ERROR_CODES@", error_codes()),
        ("@ERROR_KINDS@", error_kinds()),
        ("@ERROR_CLASSES@", error_classes()),
        ("@RAISE@", raise()),
        ("@OPERATIONS@", operations()),
        ("@REQUESTS@", requests(&shapes)?),
        ("@OPTIONS@", options::options()),
        ("@CALLS@", calls()),
        ("@METHODS@", methods(&shapes)?),
    ];
    let mut text = format!("// {GENERATED_MARK} from {TEMPLATE} and core/types\n");
    for line in template.lines() {
        let part = parts.iter().find(|(name, _)| line.trim_start() == format!("// {name}"));
        let Some((_, part)) = part else {
            let _ = writeln!(text, "{line}");
            continue;
        };
        let indent = &line[..line.len() - line.trim_start().len()];
        for line in part.trim_end().lines() {
            let indent = if line.is_empty() { "" } else { indent };
            let _ = writeln!(text, "{indent}{line}");
        }
    }
    match text.lines().find(|line| line.trim_start().starts_with("// @")) {
        Some(line) => Err(format!("{TEMPLATE}: nothing is known of {line:?}")),
        None => Ok(text),
    }
}

/// Every operation as a row of a macro, so that a test calls each by its own function.
pub fn operation_list() -> Result<String, String> {
    let mut text = format!("/* {GENERATED_MARK} from core/types/src/operation.rs */\n\n");
    let rows = |watches: bool| {
        let chosen =
            Operation::ALL.iter().filter(move |operation| is_watch(**operation) == watches);
        chosen.map(|o| format!("X({}, {})", o.wire_name(), o.name())).collect::<Vec<_>>()
    };
    let _ = writeln!(text, "#define RSTMDB_CALLS(X) \\\n    {}\n", rows(false).join(" \\\n    "));
    let _ = writeln!(text, "#define RSTMDB_WATCHES(X) \\\n    {}", rows(true).join(" \\\n    "));
    Ok(text)
}

fn is_watch(operation: Operation) -> bool {
    matches!(operation, Operation::WatchInstance | Operation::WatchAll)
}

fn error_codes() -> String {
    let mut text = "/// What went wrong, with the numbers of rstmdb.h.\n".to_owned();
    text.push_str("enum class ErrorCode : std::int32_t {\n");
    for code in ErrorCode::ALL {
        let _ = writeln!(text, "    /// {}", code.doc());
        let _ = writeln!(text, "    {code:?} = RSTMDB_ERROR_{},", code.as_str());
    }
    text + "};\n"
}

fn error_kinds() -> String {
    let mut text = "/// What the caller should do about an error.\n".to_owned();
    text.push_str("enum class ErrorKind : std::int32_t {\n");
    for kind in ErrorKind::ALL {
        let _ = writeln!(text, "    /// {}", kind.doc());
        let _ = writeln!(text, "    {kind:?} = RSTMDB_KIND_{},", kind.as_str().to_uppercase());
    }
    text + "};\n"
}

/// The constructor of what the wrapper refuses before it asks the library.
const OWN_ERROR: &str = "    /// What the wrapper itself refuses, by the member of the request.\n    \
    InvalidError(const std::string &member, const std::string &message) : Error(member, message) {}\n";

fn error_classes() -> String {
    let mut text = String::new();
    for kind in ErrorKind::ALL {
        let _ = writeln!(
            text,
            "/// {}\nclass {kind:?}Error : public Error {{\n  public:\n    explicit {kind:?}Error(const \
             rstmdb_error *error) : Error(error) {{}}\n{}}};\n",
            kind.doc(),
            if *kind == ErrorKind::Invalid { OWN_ERROR } else { "" }
        );
    }
    text
}

fn raise() -> String {
    let mut text = String::new();
    for kind in ErrorKind::ALL {
        let _ = writeln!(text, "case ErrorKind::{kind:?}:\n    throw {kind:?}Error(error);");
    }
    text
}

fn operations() -> String {
    let mut text = "/// An operation, with its number in rstmdb.h.\n".to_owned();
    text.push_str("enum class Operation : std::int32_t {\n");
    for operation in Operation::ALL {
        let _ = writeln!(text, "    /// {}", operation.doc());
        let _ = writeln!(text, "    {operation:?} = RSTMDB_OPERATION_{},", operation.wire_name());
    }
    text + "};\n"
}

/// The cases of a switch over the operations: each by the function that waits, the watches by none.
fn calls() -> String {
    let mut text = String::new();
    for operation in Operation::ALL.iter().filter(|operation| !is_watch(**operation)) {
        let _ = writeln!(
            text,
            "case Operation::{operation:?}:\n    return blocking(rstmdb_{}, request);",
            operation.name()
        );
    }
    for operation in Operation::ALL.iter().filter(|operation| is_watch(**operation)) {
        let _ = writeln!(text, "case Operation::{operation:?}:");
    }
    text + "    break;\n"
}

/// The requests of all operations, and before each what it is made of.
fn requests(shapes: &Shapes) -> Result<String, String> {
    let mut text = String::new();
    let mut written = BTreeSet::new();
    for operation in Operation::ALL {
        add_type(operation.type_names().0, shapes, &mut written, &mut text)?;
    }
    Ok(text)
}

fn add_type(
    name: &str,
    shapes: &Shapes,
    written: &mut BTreeSet<String>,
    text: &mut String,
) -> Result<(), String> {
    if !written.insert(name.to_owned()) {
        return Ok(());
    }
    let shape = shapes.get(name)?;
    for member in &shape.members {
        let inner = inner(&member.kind);
        if scalar(inner).is_none() && !inner.is_empty() {
            add_type(inner, shapes, written, text)?;
        }
    }
    match (shape.is_enum, shape.members.iter().any(|member| !member.kind.is_empty())) {
        (false, _) => structure(name, shape, shapes, text)?,
        (true, false) => enumeration(name, shape, text),
        (true, true) => variants(name, shape, text),
    }
    Ok(())
}

/// `Vec<X>` holds an `X`.
fn inner(kind: &str) -> &str {
    kind.strip_prefix("Vec<").and_then(|kind| kind.strip_suffix('>')).unwrap_or(kind)
}

fn scalar(kind: &str) -> Option<&'static str> {
    match kind {
        "Text" | "String" => Some("std::string"),
        "Json" => Some("Json"),
        "bool" => Some("bool"),
        "u32" => Some("std::uint32_t"),
        "u64" | "Offset" => Some("std::uint64_t"),
        _ => None,
    }
}

fn structure(name: &str, shape: &Shape, shapes: &Shapes, text: &mut String) -> Result<(), String> {
    let _ = writeln!(text, "/// {}\nstruct {name} {{", wrapped(&shape.doc, 96).join("\n/// "));
    let mut writes = String::new();
    for Member { name: member, doc, kind, required } in &shape.members {
        push_doc(text, doc);
        let is_list = kind.starts_with("Vec<");
        let base = inner(kind);
        let base_type = scalar(base).unwrap_or(base);
        let value =
            if is_list { format!("std::vector<{base_type}>") } else { base_type.to_owned() };
        let value = if *required || is_list { value } else { format!("std::optional<{value}>") };
        let _ = writeln!(text, "    {value} {member}{{}};");
        let is_enum = shapes.0.get(base).is_some_and(|shape| {
            shape.is_enum && shape.members.iter().all(|member| member.kind.is_empty())
        });
        writes.push_str(&match (is_list, scalar(base), is_enum) {
            (true, Some("std::string"), _) if *required => {
                format!("        writer.member(\"{member}\", {member});\n")
            }
            (true, Some("std::string"), _) => format!(
                "        if (!{member}.empty()) {{\n            writer.member(\"{member}\", \
                 {member});\n        }}\n"
            ),
            (true, None, false) => format!(
                "        writer.list(\"{member}\", std::vector<Json>({member}.begin(), \
                 {member}.end()));\n"
            ),
            (false, Some(_), _) => format!("        writer.member(\"{member}\", {member});\n"),
            (false, None, true) if *required => {
                format!("        writer.member(\"{member}\", std::string(to_string({member})));\n")
            }
            (false, None, true) => format!(
                "        if ({member}) {{\n            writer.member(\"{member}\", \
                 std::string(to_string(*{member})));\n        }}\n"
            ),
            _ => return Err(format!("{name}.{member}: C++ has no form for {kind}")),
        });
    }
    text.push_str("\n    /// The request as JSON.\n    std::string to_json() const {\n");
    let _ =
        writeln!(text, "        detail::Writer writer;\n{writes}        return writer.finish();");
    text.push_str("    }\n};\n\n");
    if shape.members.is_empty() {
        // `struct X { };` reads better without the blank line before its only member.
        *text = text.replace(&format!("struct {name} {{\n\n"), &format!("struct {name} {{\n"));
    }
    Ok(())
}

fn enumeration(name: &str, shape: &Shape, text: &mut String) {
    let _ = writeln!(text, "/// {}\nenum class {name} {{", shape.doc);
    for member in &shape.members {
        push_doc(text, &member.doc);
        let _ = writeln!(text, "    {},", member.name);
    }
    let _ = writeln!(text, "}};\n\ninline std::string_view to_string({name} value) {{");
    text.push_str("    switch (value) {\n");
    for Member { name: member, .. } in &shape.members {
        let _ = writeln!(text, "        case {name}::{member}:\n            return \"{member}\";");
    }
    text.push_str("    }\n    return {};\n}\n\n");
}

/// One of several requests, under its operation's name.
fn variants(name: &str, shape: &Shape, text: &mut String) {
    let _ = writeln!(text, "/// {}\nclass {name} {{\n  public:", shape.doc);
    for Member { name: member, doc, kind, .. } in &shape.members {
        push_doc(text, doc);
        let _ = writeln!(
            text,
            "    {name}(const {kind} &params)\n        : json_(\"{{\\\"op\\\":\\\"{member}\\\",\
             \\\"params\\\":\" + params.to_json() + \"}}\") {{}}"
        );
    }
    let _ = writeln!(
        text,
        "\n    operator Json() const {{ return Json(json_); }}\n\n  private:\n    std::string json_;\n\
         }};\n"
    );
}

fn methods(shapes: &Shapes) -> Result<String, String> {
    let mut text = String::new();
    for operation in Operation::ALL {
        let (name, (request, answer)) = (operation.name(), operation.type_names());
        // A request without required members can be left out.
        let bare = shapes.get(request)?.members.iter().all(|member| !member.required);
        let default = if bare { " = {}" } else { "" };
        let (result, blocking, starting, number) = if is_watch(*operation) {
            ("Watch", "watch", "watch_async", format!("Operation::{operation:?}"))
        } else {
            ("std::string", "blocking", "call_async", format!("Operation::{operation:?}"))
        };
        let _ = write!(
            text,
            "/// {doc}\n{members}\
             {result} {name}(const {request} &request{default}) const {{\n    \
             return {blocking}(rstmdb_{name}, request.to_json());\n}}\n\
             template <class T, detail::if_text<T> = 0> {result} {name}(const T &request) const {{\n    \
             return {blocking}(rstmdb_{name}, request);\n}}\n\
             Future<{result}> {name}_async(const {request} &request{default}) const {{\n    \
             return {starting}({number}, request.to_json());\n}}\n\
             template <class T, detail::if_text<T> = 0>\n\
             Future<{result}> {name}_async(const T &request) const {{\n    \
             return {starting}({number}, request);\n}}\n\n",
            doc = operation.doc(),
            members = answer_doc(shapes.get(answer)?),
        );
    }
    Ok(text)
}

/// The members of a result, which comes as JSON.
fn answer_doc(answer: &Shape) -> String {
    let names: Vec<String> = answer
        .members
        .iter()
        .map(|member| format!("`{}`{}", member.name, if member.required { "" } else { "?" }))
        .collect();
    let lines = wrapped(&format!("Result: {}.", names.join(", ")), 88);
    if names.is_empty() { String::new() } else { format!("/// {}\n", lines.join("\n/// ")) }
}

fn push_doc(text: &mut String, doc: &str) {
    for line in wrapped(doc, 92) {
        let _ = writeln!(text, "    /// {line}");
    }
}

/// The words of a text in lines of at most so many bytes.
fn wrapped(words: &str, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= most => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_a_struct_and_two_methods() {
        let text = header().unwrap();
        for operation in Operation::ALL {
            let (name, request) = (operation.name(), operation.type_names().0);
            assert!(text.contains(&format!("struct {request} {{")), "{request}");
            assert!(text.contains(&format!(" {name}(const {request} &")), "{name}");
            assert!(text.contains(&format!(" {name}_async(const {request} &")), "{name}");
            assert_eq!(
                text.contains(&format!("return blocking(rstmdb_{name}, request);")),
                !is_watch(*operation),
                "{name}"
            );
        }
        let list = operation_list().unwrap();
        assert_eq!(list.matches("    X(").count(), Operation::ALL.len());
    }

    #[test]
    fn a_type_without_a_form_is_named() {
        let mut shapes = Shapes::default();
        let member = Member { name: "odd".into(), kind: "f128".into(), ..Member::default() };
        shapes.0.insert("Odd".into(), Shape { members: vec![member], ..Shape::default() });
        let problem = add_type("Odd", &shapes, &mut BTreeSet::new(), &mut String::new());
        assert!(problem.unwrap_err().contains("f128"));
    }
}
