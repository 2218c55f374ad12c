//! Operations on JSON requests, for callers that know an operation only by its name.

use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Json, Operation, Outcome, Place, Request, Result, members};

/// Reads the request of an operation that is no watch.
pub(crate) fn request(operation: Operation, text: &[u8]) -> Result<Request> {
    if operation.place() == Place::Stream {
        let name = operation.name();
        let message = format!("{name} returns a stream; call the method of that name");
        return Err(Error::invalid(reason::INVALID_REQUEST, message));
    }
    read(operation, text)
}

/// Reads the request of a watch.
pub(crate) fn watch(operation: Operation, text: &[u8]) -> Result<Request> {
    if operation.place() != Place::Stream {
        let name = operation.name();
        let message = format!("{name} is no watch; watches are watch_instance and watch_all");
        return Err(Error::invalid(reason::INVALID_REQUEST, message));
    }
    read(operation, text)
}

fn read(operation: Operation, text: &[u8]) -> Result<Request> {
    let refused = |what: &str| {
        let message = format!("{} request: {what}", operation.name());
        Error::invalid(reason::INVALID_REQUEST, message).with_operation(operation.wire_name())
    };
    let text = match text.trim_ascii() {
        b"" | b"null" => b"{}",
        text => text,
    };
    // Deserialising would take a list of the members' values too: nobody means that.
    if text.first() != Some(&b'{') {
        return Err(refused("expected a JSON object"));
    }
    let named = |error: Error| error.with_operation(operation.wire_name());
    members::check(operation, text).map_err(named)?;
    let mut text = serde_json::Deserializer::from_slice(text);
    Request::deserialize(operation, &mut text)
        .and_then(|request| text.end().map(|()| request))
        .map_err(|error| refused(&error.to_string()))
}

/// The text of a result.
pub(crate) fn text(result: &Outcome) -> Result<String> {
    written(serde_json::to_string(result))
}

/// A result as JSON.
pub(crate) fn json(result: &Outcome) -> Result<Json> {
    written(Json::from_serialize(result))
}

fn written<T, E: std::fmt::Display>(result: std::result::Result<T, E>) -> Result<T> {
    result.map_err(|error| Error::new(ErrorCode::InternalError, format!("result: {error}")))
}
