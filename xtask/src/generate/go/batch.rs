//! `batch.gen.go`: the operations that a batch may hold, and their results.

use std::fmt::Write as _;

use super::{comment, start, type_name};
use crate::generate::source::Shapes;

/// A function that makes each operation, and the sum of their results.
pub fn batch() -> Result<String, String> {
    let shapes = Shapes::read()?;
    let mut out = start("The operations that a batch may hold, and their results.");
    out.push_str("\nimport \"strings\"\n");
    let operations = shapes.get("BatchOperation")?;
    for operation in &operations.members {
        let request = type_name(&operation.kind);
        let name = request.trim_end_matches("Request");
        let text = format!("Batch{name} makes an operation of a batch: {}", operation.doc);
        let _ = write!(
            out,
            "\n{}func Batch{name}(request {request}) BatchOperation {{\n\
             \treturn BatchOperation{{Op{name}.String(), &request}}\n}}\n",
            comment("", &text)
        );
    }
    out.push_str(
        "\n// batchParams reads the parameters of an operation, nil when a batch may not hold it.\n\
         func batchParams(operation string, d *decoder) appender {\n\tswitch operation {\n",
    );
    for operation in &operations.members {
        let request = type_name(&operation.kind);
        let _ = write!(out, "\tcase {:?}:\n\t\treturn decoded[{request}](d)\n", operation.name);
    }
    let mut names: Vec<&str> = operations.members.iter().map(|member| &*member.name).collect();
    names.sort_unstable();
    let last = names.pop().unwrap_or_default();
    let _ = write!(
        out,
        "\t}}\n\treturn nil\n}}\n\nconst batchOperations = \"{} or {last}\"\n",
        names.join(", ")
    );
    results(&mut out, &shapes)?;
    Ok(out)
}

/// The results as a struct with a field for each. They are told apart by a member that no other one
/// has; one of them has none and is the rest.
fn results(out: &mut String, shapes: &Shapes) -> Result<(), String> {
    let all = shapes.get("BatchOperationResult")?;
    out.push_str(
        "\n// BatchOperationResult is the result of one operation of a batch; one of its fields is \
         set.\ntype BatchOperationResult struct {\n",
    );
    for (index, variant) in all.members.iter().enumerate() {
        let (blank, name) = (if index > 0 { "\n" } else { "" }, &variant.name);
        let result = type_name(&variant.kind);
        let _ = write!(out, "{blank}\t// Of {name}.\n\t{name} *{result}\n");
    }
    out.push_str(
        "}\n\nfunc (r *BatchOperationResult) appendJSON(b []byte) ([]byte, error) {\n\tswitch {\n",
    );
    for variant in &all.members {
        let name = &variant.name;
        let _ = write!(out, "\tcase r.{name} != nil:\n\t\treturn r.{name}.appendJSON(b)\n");
    }
    out.push_str(
        "\t}\n\treturn append(b, \"null\"...), nil\n}\n\n\
         func (r *BatchOperationResult) decode(d *decoder) {\n\t*r = BatchOperationResult{}\n\
         \td.peek()\n",
    );
    for variant in &all.members {
        let (name, result) = (&variant.name, type_name(&variant.kind));
        let first = shapes.get(&variant.kind)?.members.first().map(|member| member.name.as_str());
        // What it begins with tells already, where it is a member of its own.
        if let Some(first) = first.filter(|_| {
            shapes.own_members(all, variant).is_ok_and(|own| own.first() == first.as_ref())
        }) {
            let _ = write!(
                out,
                "\tif strings.HasPrefix(d.text[d.at:], `{{\"{first}\":`) {{\n\t\tr.{name} = new({result})\n\
                 \t\tr.{name}.decode(d)\n\t\treturn\n\t}}\n"
            );
        }
    }
    out.push_str(
        "\tlook := decoder{text: d.text, at: d.at}\n\tlook.openObject()\n\
         \tfor look.more('}') {\n\t\tswitch look.key() {\n",
    );
    let mut rest = None;
    for variant in &all.members {
        let (name, result) = (&variant.name, type_name(&variant.kind));
        let read =
            |tabs: &str| format!("{tabs}r.{name} = new({result})\n{tabs}r.{name}.decode(d)\n");
        match shapes.own_member(all, variant)? {
            Some(own) => {
                let _ = write!(out, "\t\tcase {own:?}:\n{}\t\t\treturn\n", read("\t\t\t"));
            }
            None if rest.is_none() => rest = Some(read("\t")),
            None => return Err(format!("nothing tells the result of {name} in a batch apart")),
        }
    }
    let rest = rest.ok_or("no result of a batch is the rest")?;
    let _ = write!(out, "\t\tdefault:\n\t\t\tlook.pass()\n\t\t}}\n\t}}\n{rest}}}\n");
    Ok(())
}
