//! Operations on JSON requests, for callers that know an operation only by its name.

use rstmdb_types::error::reason;
use rstmdb_types::{Error, Json, Operation, OperationRequest, Result};

pub(crate) fn decode<R: OperationRequest>(request: &Json) -> Result<R> {
    let request = if request.is_null() { &Json::empty_object() } else { request };
    let refused = |what: &str| {
        let message = format!("{} request: {what}", R::OPERATION.name());
        Error::invalid(reason::INVALID_REQUEST, message).with_operation(R::OPERATION.wire_name())
    };
    // Deserialising would take a list of the members' values too: nobody means that.
    if !request.is_object() {
        return Err(refused("expected a JSON object"));
    }
    request.decode().map_err(|error| refused(&error.to_string()))
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
