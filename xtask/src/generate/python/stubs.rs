//! The stubs of the native module: what type checkers and editors know of it.

use std::fmt::Write as _;

use super::super::source::{Member, Shape, Shapes};
use super::{
    arguments, batch_classes, element, entry_classes, operations, page, parameter, push_signature,
    result_classes, result_type, wrapped,
};
use crate::tidy::GENERATED_MARK;

/// `python/rstmdb/_native.pyi`.
pub fn stubs() -> Result<String, String> {
    let shapes = Shapes::read()?;
    let mut text = format!("# {GENERATED_MARK}\n");
    text.push_str(include_str!("head.pyi"));
    for (handle, watch, is_async) in
        [("AsyncHandle", "AsyncWatch", true), ("BlockingHandle", "BlockingWatch", false)]
    {
        push_handle_stub(&mut text, handle, watch, is_async, &shapes)?;
    }
    for (name, shape) in result_classes(&shapes)? {
        push_class_stub(&mut text, &name, shape, &shapes);
    }
    let entries = entry_classes(&shapes)?;
    for (name, shape) in &entries {
        push_class_stub(&mut text, name, shape, &shapes);
    }
    for (name, shape) in batch_classes(&shapes)? {
        push_batch_stub(&mut text, &name, shape, &shapes);
    }
    let union = |names: Vec<String>| names.join(" | ");
    let entry_names = entries.into_iter().map(|(name, _)| name).collect();
    let batch_results = shapes.get("BatchOperationResult")?.members.iter().map(|m| m.kind.clone());
    let _ = write!(
        text,
        "\nWalEntry: TypeAlias = {}\nBatchOperationResult: TypeAlias = {}\n",
        union(entry_names),
        union(batch_results.collect()),
    );
    Ok(text)
}

fn push_handle_stub(
    text: &mut String,
    handle: &str,
    watch: &str,
    is_async: bool,
    shapes: &Shapes,
) -> Result<(), String> {
    let answer = |kind: &str| {
        if is_async { format!("{kind} | Pending[{kind}]") } else { kind.to_owned() }
    };
    let opened = answer(handle);
    let closed = if is_async { "Pending[None] | None" } else { "None" };
    let any = if is_async { "Pending[Any] | Any" } else { "Any" };
    let _ = write!(
        text,
        "\n@final\nclass {handle}:\n    @staticmethod\n    def open(url: str, options: str) -> {opened}: ...\n    \
         @property\n    def is_closed(self) -> bool: ...\n    def close(self) -> {closed}: ...\n    \
         def call(self, operation: Name, request: Any) -> {any}: ...\n    \
         def advance_clock(self, ms: int) -> None: ...\n"
    );
    for operation in operations(false).chain(operations(true)) {
        let (request, result) = operation.type_names();
        let (required, positional, keyword) = arguments(shapes.get(request)?);
        let all = required.iter().chain(&positional).chain(&keyword);
        let mut parameters = vec!["self".to_owned()];
        parameters.extend(all.map(|member| parameter(member, shapes, false)));
        let is_watch = operation.name().starts_with("watch_");
        if is_async && !is_watch && parameters.len() > 1 {
            parameters.push("/".to_owned());
        }
        let kind = match (is_watch, is_async) {
            (true, _) => answer(&format!("{watch}[{result}]")),
            (false, true) => format!("NotAwaited[{result}]"),
            (false, false) => result.to_owned(),
        };
        push_signature(text, "def", operation.name(), &parameters, &kind, " ...");
    }
    Ok(())
}

fn push_class_stub(text: &mut String, name: &str, shape: &Shape, shapes: &Shapes) {
    let _ = write!(text, "\n@final\nclass {name}:\n    {}\n\n", docstring(&shape.doc));
    let names: Vec<String> = shape.members.iter().map(|m| format!("{:?}", m.name)).collect();
    let comma = if names.len() == 1 { "," } else { "" };
    let arguments = format!("    __match_args__ = ({}{comma})\n", names.join(", "));
    if arguments.trim_end().chars().count() <= 100 {
        text.push_str(&arguments);
    } else {
        text.push_str("    __match_args__ = (\n");
        for name in names {
            let _ = writeln!(text, "        {name},");
        }
        text.push_str("    )\n");
    }
    for member in &shape.members {
        let kind = result_type(&member.kind, shapes);
        let is_optional = !member.required
            && !member.kind.starts_with("Vec<")
            && kind != "Any"
            && member.kind != "InstanceEventKind";
        let kind = if is_optional { format!("{kind} | None") } else { kind };
        push_property(text, &member.name, &kind, &member.doc);
        if member.kind == "TimestampMs" {
            let kind = if is_optional { "int | None" } else { "int" };
            push_property(text, &format!("{}_ms", member.name), kind, &member.doc);
        }
    }
    if let Some(page) = page(shape, shapes) {
        let list = shape.members.iter().find(|member| member.name == page);
        let row = list.map_or("Any", |member| element(&member.kind));
        let _ = write!(
            text,
            "    def __len__(self) -> int: ...\n    def __iter__(self) -> Iterator[{row}]: ...\n    \
             @overload\n    def __getitem__(self, index: int, /) -> {row}: ...\n    \
             @overload\n    def __getitem__(self, index: slice, /) -> tuple[{row}, ...]: ...\n    \
             @overload\n    def __getitem__(self, index: str, /) -> Any: ...\n    \
             def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:\n        {}\n    \
             def __arrow_c_schema__(self) -> Any:\n        {}\n    \
             def to_arrow(self) -> Any:\n        {}\n    def to_pandas(self) -> Any:\n        {}\n",
            docstring("The rows, as pyarrow, polars and others take them; needs pyarrow."),
            docstring("What the columns are, also of a page without rows; needs pyarrow."),
            docstring("The rows as a `pyarrow.Table`; needs pyarrow."),
            docstring("The rows as a `pandas.DataFrame`; needs pandas."),
        );
    } else {
        text.push_str("    def __getitem__(self, index: str, /) -> Any: ...\n");
    }
    let _ = write!(
        text,
        "    def keys(self) -> KeysView[str]:\n        {}\n    \
         def to_dict(self) -> Any:\n        {}\n    def to_json(self) -> str:\n        {}\n    \
         @staticmethod\n    def from_json(text: str) -> {name}: ...\n    \
         @classmethod\n    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any: ...\n    \
         @classmethod\n    def __get_pydantic_json_schema__(cls, _schema: Any, _handler: Any) -> Any: ...\n    \
         def __eq__(self, other: object, /) -> bool: ...\n    \
         def __hash__(self) -> int: ...\n    \
         def __copy__(self) -> {name}: ...\n    \
         def __deepcopy__(self, _memo: object) -> {name}: ...\n    \
         def __reduce__(self) -> tuple[Any, ...]: ...\n",
        docstring("The names of the members that are there, so that `dict(…)` and `**` take it."),
        docstring("Plain values, named as on the wire; times are milliseconds."),
        docstring("JSON text, as `from_json` takes it."),
    );
}

fn push_property(text: &mut String, name: &str, kind: &str, doc: &str) {
    let _ = write!(
        text,
        "    @property\n    def {name}(self) -> {kind}:\n        {}\n",
        docstring(doc)
    );
}

fn push_batch_stub(text: &mut String, name: &str, shape: &Shape, shapes: &Shapes) {
    let doc = format!("{} One operation of a batch.", shape.doc);
    let _ = write!(text, "\n@final\nclass {name}:\n    {}\n\n", docstring(&doc));
    let (required, positional, keyword) = arguments(shape);
    let all: Vec<&Member> = required.iter().chain(&positional).chain(&keyword).copied().collect();
    let names: Vec<String> = all.iter().map(|m| format!("{:?}", m.name)).collect();
    let comma = if names.len() == 1 { "," } else { "" };
    let line = format!("    __match_args__ = ({}{comma})", names.join(", "));
    if line.chars().count() <= 100 {
        let _ = writeln!(text, "{line}");
    } else {
        text.push_str("    __match_args__ = (\n");
        for name in names {
            let _ = writeln!(text, "        {name},");
        }
        text.push_str("    )\n");
    }
    let mut parameters = vec!["cls".to_owned()];
    parameters.extend(required.iter().chain(&positional).map(|m| parameter(m, shapes, true)));
    if !keyword.is_empty() {
        parameters.push("*".to_owned());
    }
    parameters.extend(keyword.iter().map(|m| parameter(m, shapes, true)));
    push_signature(text, "def", "__new__", &parameters, name, " ...");
    for member in all {
        let kind = result_type(&member.kind, shapes);
        let kind = if member.required || kind == "Any" { kind } else { format!("{kind} | None") };
        push_property(text, &member.name, &kind, &member.doc);
    }
    let _ = write!(
        text,
        "    def to_dict(self) -> Any:\n        {}\n    \
         def __eq__(self, other: object, /) -> bool: ...\n    \
         def __hash__(self) -> int: ...\n    \
         def __reduce__(self) -> tuple[Any, ...]: ...\n    \
         @classmethod\n    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any: ...\n    \
         @classmethod\n    def __get_pydantic_json_schema__(cls, _schema: Any, _handler: Any) -> Any: ...\n    \
         @staticmethod\n    def _from_json(text: str) -> {name}: ...\n",
        docstring("The operation as it is on the wire."),
    );
}

/// One docstring line, or more when it is long.
fn docstring(doc: &str) -> String {
    let doc = doc.replace('\\', "\\\\").replace("\"\"\"", "'''");
    if doc.chars().count() <= 86 {
        return format!("\"\"\"{doc}\"\"\"");
    }
    format!("\"\"\"{}\n        \"\"\"", wrapped(&doc, "        ", 88))
}
