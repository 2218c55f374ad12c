//! Operations on JSON requests, for callers that know an operation only by its name.

use rstmdb_types::error::reason;
use rstmdb_types::{Error, Json, Operation, OperationRequest, Result};

pub(crate) fn decode<R: OperationRequest>(request: &Json) -> Result<R> {
    let request = if request.is_null() { &Json::empty_object() } else { request };
    // Deserialising would take a list of the members' values too: nobody means that.
    if !request.is_object() {
        return Err(refused::<R>("expected a JSON object"));
    }
    request.decode().map_err(|error| refused::<R>(&error.to_string()))
}

/// As [`decode`], from text that was not looked at yet.
pub(crate) fn decode_text<R: OperationRequest>(request: &[u8]) -> Result<R> {
    let request = match request.trim_ascii() {
        b"" | b"null" => b"{}",
        request => request,
    };
    if request.first() != Some(&b'{') {
        return Err(refused::<R>("expected a JSON object"));
    }
    serde_json::from_slice(request).map_err(|error| refused::<R>(&error.to_string()))
}

fn refused<R: OperationRequest>(what: &str) -> Error {
    let message = format!("{} request: {what}", R::OPERATION.name());
    Error::invalid(reason::INVALID_REQUEST, message).with_operation(R::OPERATION.wire_name())
}

pub(crate) fn encode_text<T: serde::Serialize>(result: &T) -> Result<String> {
    serde_json::to_string(result).map_err(|error| {
        Error::new(rstmdb_types::ErrorCode::InternalError, format!("result: {error}"))
    })
}

pub(crate) fn encode<T: serde::Serialize>(result: &T) -> Result<Json> {
    Json::from_serialize(result).map_err(|error| {
        Error::new(rstmdb_types::ErrorCode::InternalError, format!("result: {error}"))
    })
}

pub(crate) fn no_stream(operation: Operation) -> Error {
    Error::invalid(
        reason::INVALID_REQUEST,
        format!("{} returns a stream; call the method of that name", operation.name()),
    )
}

pub(crate) fn no_result(operation: Operation) -> Error {
    let message =
        format!("{} is no watch; watches are watch_instance and watch_all", operation.name());
    Error::invalid(reason::INVALID_REQUEST, message)
}
