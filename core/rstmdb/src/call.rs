//! Operations on JSON requests, for callers that know an operation only by its name.

use rstmdb_types::error::reason;
use rstmdb_types::{Error, Json, Operation, OperationRequest, Result};

pub(crate) fn decode<R: OperationRequest>(request: &Json) -> Result<R> {
    let request = if request.is_null() { &Json::empty_object() } else { request };
    request.decode().map_err(|error| {
        Error::invalid(reason::INVALID_REQUEST, format!("{} request: {error}", R::OPERATION.name()))
            .with_operation(R::OPERATION.wire_name())
    })
}

pub(crate) fn encode<T: serde::Serialize>(result: &T) -> Result<Json> {
    Json::from_serialize(result).map_err(|error| {
        Error::new(rstmdb_types::ErrorCode::InternalError, format!("result: {error}"))
    })
}

pub(crate) fn call<R: OperationRequest>(
    request: &Json,
    run: impl FnOnce(R) -> Result<R::Result>,
) -> Result<Json> {
    encode(&run(decode(request)?)?)
}

pub(crate) fn no_stream(operation: Operation) -> Error {
    Error::invalid(
        reason::INVALID_REQUEST,
        format!("{} returns a stream; call the method of that name", operation.name()),
    )
}
