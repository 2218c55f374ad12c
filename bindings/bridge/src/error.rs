//! Errors at the boundary: panics become errors, errors become JSON.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rstmdb::error::reason;
use rstmdb::{Error, ErrorCode, Result};
use serde_json::json;

/// Runs `body`; a panic becomes the error `INTERNAL_ERROR`.
pub fn guard<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(of_panic(&*panic)))
}

pub(crate) fn of_panic(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    let message = format!("a fault inside rstmdb, please report it: {text}");
    Error::new(ErrorCode::InternalError, message)
}

pub(crate) fn closed(what: &str) -> Error {
    Error::new(ErrorCode::InternalError, what).with_reason(reason::CLOSED)
}

pub(crate) fn invalid_option(name: &str, message: impl Into<String>) -> Error {
    Error::invalid(reason::INVALID_OPTION, message).with("option", name)
}

/// Everything an error says, as a JSON object: `code`, `number`, `kind`, `reason`, `message`,
/// `retryable`, `operation` and `context`; `reason` and `operation` may be null.
pub fn error_json(error: &Error) -> String {
    json!({
        "code": error.code().as_str(),
        "number": error.code() as i32,
        "kind": error.kind().as_str(),
        "reason": error.reason(),
        "message": error.message(),
        "retryable": error.retryable(),
        "operation": error.operation(),
        "context": error.context(),
    })
    .to_string()
}

/// The facts of an error, as a JSON object.
pub fn context_json(error: &Error) -> String {
    json!(error.context()).to_string()
}
