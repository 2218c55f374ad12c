//! What is wrong with a definition, as its reader says it.

use rstmdb_types::error::reason;
use rstmdb_types::{Error, JsonRef};

/// An error that names the place in the definition.
pub(crate) fn invalid(path: &str, message: impl std::fmt::Display) -> Error {
    let message = match path {
        "" => format!("definition {message}"),
        path => format!("definition: {path} {message}"),
    };
    Error::invalid(reason::INVALID_DEFINITION, message).with("path", path)
}

/// What a value is, for a message.
pub(crate) fn kind(value: JsonRef<'_>) -> &'static str {
    match value {
        JsonRef::Null => "null",
        JsonRef::Bool(_) => "a boolean",
        JsonRef::Number(_) => "a number",
        JsonRef::String(_) => "a string",
        JsonRef::Array(_) => "a list",
        JsonRef::Object(_) => "an object",
    }
}
