//! The C interface: functions and numbers that follow the tables, and the header.

use std::fmt::Write as _;

use rstmdb_types::{ErrorCode, ErrorKind, Operation};

use super::options::{self, HALVES};
use super::region;
use crate::tidy::GENERATED_MARK;
use crate::tree;

/// One blocking function for each operation. They are written out, since cbindgen does not see the
/// functions that a macro makes.
pub fn operations() -> Result<String, String> {
    let mut text = format!(
        "//! {GENERATED_MARK}: one function for each operation; the watches are in `watch.rs`.\n\n\
         use rstmdb_bridge::types::Operation;\n\nuse crate::database::rstmdb_db;\n\
         use crate::error::rstmdb_error;\nuse crate::memory::{{rstmdb_buffer, rstmdb_slice}};\n\
         use crate::requests::call;\n"
    );
    for operation in Operation::ALL {
        if matches!(operation, Operation::WatchInstance | Operation::WatchAll) {
            continue;
        }
        let (request, result) = operation.type_names();
        let doc = operation.doc();
        let name = operation.name();
        let _ = write!(
            text,
            "\n/// {doc} Waits for the outcome.\n///\n/// `request` is a `{request}`, `*out` becomes a \
             `{result}`, both as JSON objects.\n#[unsafe(no_mangle)]\n\
             pub unsafe extern \"C\" fn rstmdb_{name}(\n    db: *const rstmdb_db,\n    \
             request: rstmdb_slice,\n    out: *mut rstmdb_buffer,\n    \
             err: *mut *mut rstmdb_error,\n) -> i32 {{\n    \
             // SAFETY: the caller gives pointers that are NULL or what their names say.\n    \
             unsafe {{ call(db, Operation::{operation:?}, request, out, err) }}\n}}\n"
        );
    }
    Ok(text)
}

/// The numbers of operations, codes and kinds.
pub fn numbers() -> Result<String, String> {
    let mut text =
        format!("//! {GENERATED_MARK}: the numbers that C programs see. They never change.\n");
    let mut number = |group: &str, name: &str, doc: &str, number: i32| {
        let name = name.to_ascii_uppercase();
        let _ = write!(text, "\n/// {doc}\npub const RSTMDB_{group}_{name}: i32 = {number};\n");
    };
    for operation in Operation::ALL {
        number("OPERATION", operation.name(), operation.doc(), *operation as i32);
    }
    for code in ErrorCode::ALL {
        number("ERROR", code.as_str(), code.doc(), *code as i32);
    }
    for kind in ErrorKind::ALL {
        number("KIND", kind.as_str(), kind.doc(), i32::from(kind.exit_code()));
    }
    Ok(text)
}

/// `include/README.md`, with the tables of options.
pub fn readme() -> Result<String, String> {
    let tables = HALVES.map(|(half, title)| {
        format!("### {title}\n\n{}", options::half_tables(half, "../docs/reference/"))
    });
    region::fill("include/README.md", &[("options", format!("\n{}", tables.concat()))])
}

/// `include/rstmdb.h`, from the sources of the crate.
pub fn header() -> Result<String, String> {
    let folder = tree::root().join("bindings/c");
    let config = cbindgen::Config::from_file(folder.join("cbindgen.toml"))?;
    let mut builder = cbindgen::Builder::new().with_config(config);
    // The order of the header; the generated files as they are to be, not as they were.
    let first = ["boundary", "numbers", "memory", "error", "callback"];
    for name in first.into_iter().chain(["database", "operations", "requests", "watch", "log"]) {
        builder = builder.with_src(folder.join(format!("src/{name}.rs")));
    }
    let bindings = builder.generate().map_err(|error| format!("cbindgen: {error}"))?;
    let mut bytes = Vec::new();
    bindings.write(&mut bytes);
    String::from_utf8(bytes).map_err(|error| error.to_string())
}
