//! `operations.ts`: one method for each operation.

use std::fmt::Write as _;

use rstmdb_types::Operation;

use super::shape::{Side, is_generic, kind};
use super::{camel, doc, finish, head};
use crate::generate::source::{Member, Shapes};

/// `node/src/operations.ts`.
pub fn operations() -> Result<String, String> {
    let shapes = Shapes::read()?;
    let mut text = head("One method for each operation.");
    text.push_str(
        "import { OPERATIONS } from './codec.js';\n\
         import type { EventOf, MachineDefinition, MachineTypes, AnyMachine } from \
         './machine.js';\n\
         import type { CallOptions, Rest, Spec } from './spec.js';\n\
         import type * as types from './types.js';\n\
         import type { Watch } from './watch.js';\n\n\
         /** The operations of a database. `Database` extends it. */\n\
         export abstract class Operations {\n\
         \x20 /** @internal */\n  protected abstract invoke<R>(spec: Spec<R>, args: readonly \
         unknown[]): Promise<R>;\n\n\
         \x20 /** @internal */\n  protected abstract follow<R>(spec: Spec<R>, args: readonly \
         unknown[]): Promise<Watch<R>>;\n",
    );
    for operation in Operation::ALL {
        method(&mut text, &shapes, *operation)?;
    }
    text.push_str("}\n");
    Ok(finish(text))
}

fn method(text: &mut String, shapes: &Shapes, operation: Operation) -> Result<(), String> {
    let (request, result) = operation.type_names();
    let shape = shapes.get(request)?;
    let name = camel(operation.name());
    let is_watch = operation.name().starts_with("watch_");
    let generic = is_generic(shapes, request) || is_generic(shapes, result);
    let generics = if generic { "<M extends MachineTypes = AnyMachine>" } else { "" };
    let with =
        |name: &str| format!("types.{name}{}", if is_generic(shapes, name) { "<M>" } else { "" });
    let outcome = match (is_watch, generic) {
        (true, true) => format!("Watch<{}, M>", with(result)),
        (true, false) => format!("Watch<{}>", with(result)),
        (false, _) => with(result),
    };
    let required: Vec<&Member> = shape.members.iter().filter(|member| member.required).collect();
    let mut forms = Vec::new();
    if shape.members.is_empty() {
        forms.push("options?: CallOptions".to_owned());
    } else if required.is_empty() {
        forms.push(format!("request?: {}, options?: CallOptions", with(request)));
    } else {
        let mut form: String = required
            .iter()
            .map(|member| {
                let kind = kind(shapes, request, member, Side::Request);
                let kind = kind.replace("BatchOperation", "types.BatchOperation");
                let kind = if kind == "Offset" { "types.Offset".to_owned() } else { kind };
                format!("{}: {kind}, ", camel(&member.name))
            })
            .collect();
        let names: Vec<String> =
            required.iter().map(|member| format!("'{}'", camel(&member.name))).collect();
        let rest = if required.len() == shape.members.len() {
            "CallOptions".to_owned()
        } else {
            format!("Rest<{}, {}>", with(request), names.join(" | "))
        };
        let _ = write!(form, "options?: {rest}");
        forms.push(form);
        forms.push(format!("request: {}, options?: CallOptions", with(request)));
    }
    for form in forms {
        text.push('\n');
        doc(text, "  ", &method_doc(shapes, operation)?);
        let _ = writeln!(text, "  {name}{generics}({form}): Promise<{outcome}>;");
    }
    let (call, kind) = match is_watch {
        true => ("follow", format!("Promise<Watch<types.{result}>>")),
        false => ("invoke", format!("Promise<types.{result}>")),
    };
    let _ = writeln!(
        text,
        "  {name}(...args: unknown[]): {kind} {{\n    return this.{call}(OPERATIONS.{name}, \
         args);\n  }}"
    );
    Ok(())
}

fn method_doc(shapes: &Shapes, operation: Operation) -> Result<String, String> {
    let (_, result) = operation.type_names();
    let returns = &shapes.get(result)?.doc;
    let refused =
        if operation.can_fail() { "" } else { " A well-formed request is never refused." };
    Ok(format!("{}{refused}\n\n@returns {returns}", operation.doc()))
}
