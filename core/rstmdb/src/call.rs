//! Operations on JSON requests, for callers that know an operation only by its name.

use std::future::Future;
use std::pin::Pin;

use rstmdb_types::error::reason;
use rstmdb_types::operation::Visitor;
use rstmdb_types::{
    Error, ErrorCode, Json, JsonError, Operation, OperationRequest, Outcome, Place, Request,
    Result, members,
};
use serde::Serialize;

use crate::backend::Backend;

/// Runs an operation that is no watch, from text to text.
pub(crate) struct TextCall<'a> {
    pub backend: &'a Backend,
    pub text: &'a [u8],
}

/// As [`TextCall`], for executors.
pub(crate) struct TextCallBeside<'a>(pub TextCall<'a>);

/// The text of a result.
pub(crate) enum TextAnswer<'a> {
    Here(String),
    ToCome(Pin<Box<dyn Future<Output = Result<String>> + Send + 'a>>),
}

impl Visitor for TextCall<'_> {
    type Output = Result<String>;

    fn visit<R: OperationRequest>(self) -> Result<String> {
        refuse_watch(R::OPERATION)?;
        text(&self.backend.call(read::<R>(self.text)?).wait()?)
    }
}

impl<'a> Visitor for TextCallBeside<'a> {
    type Output = Result<TextAnswer<'a>>;

    fn visit<R: OperationRequest>(self) -> Result<TextAnswer<'a>> {
        let TextCall { backend, text: request } = self.0;
        refuse_watch(R::OPERATION)?;
        let request: R = read(request)?;
        if R::OPERATION.place() == Place::Files {
            return Ok(TextAnswer::ToCome(Box::pin(async { text(&backend.run(request).await?) })));
        }
        let pending = backend.call(request);
        if pending.is_ready() {
            return Ok(TextAnswer::Here(text(&pending.wait()?)?));
        }
        Ok(TextAnswer::ToCome(Box::pin(async { text(&pending.await?) })))
    }
}

/// Reads the request of an operation that is no watch.
pub(crate) fn request(operation: Operation, text: &[u8]) -> Result<Request> {
    refuse_watch(operation)?;
    operation.visit(Read(text))
}

/// Reads the request of a watch.
pub(crate) fn watch(operation: Operation, text: &[u8]) -> Result<Request> {
    if operation.place() != Place::Stream {
        let name = operation.name();
        let message = format!("{name} is no watch; watches are watch_instance and watch_all");
        return Err(Error::invalid(reason::INVALID_REQUEST, message));
    }
    operation.visit(Read(text))
}

fn refuse_watch(operation: Operation) -> Result<()> {
    if operation.place() == Place::Stream {
        let name = operation.name();
        let message = format!("{name} returns a stream; call the method of that name");
        return Err(Error::invalid(reason::INVALID_REQUEST, message));
    }
    Ok(())
}

struct Read<'a>(&'a [u8]);

impl Visitor for Read<'_> {
    type Output = Result<Request>;

    fn visit<R: OperationRequest>(self) -> Result<Request> {
        read::<R>(self.0).map(R::into_request)
    }
}

fn read<R: OperationRequest>(text: &[u8]) -> Result<R> {
    let operation = R::OPERATION;
    let named = |error: Error| error.with_operation(operation.wire_name());
    let what = || format!("{} request", operation.name());
    let text = match text.trim_ascii() {
        b"" | b"null" => b"{}",
        text => text,
    };
    // Deserialising would take a list of the members' values too: nobody means that.
    if text.first() != Some(&b'{') {
        let message = format!("{}: expected a JSON object", what());
        return Err(named(Error::invalid(reason::INVALID_REQUEST, message)));
    }
    let mut suspect = false;
    let mut from = serde_json::Deserializer::from_slice(text);
    let request = members::deserialize(&mut from, &mut suspect)
        .and_then(|request| from.end().map(|()| request));
    if suspect || request.is_err() {
        members::check(operation, text).map_err(named)?;
    }
    request.map_err(|error| {
        // A value that nobody takes is of no member's type.
        let is_json = std::str::from_utf8(text).is_ok_and(|text| Json::parse(text).is_ok());
        named(match is_json {
            true => members::explain::<R>(text, &error).at(&what()),
            false => JsonError::of_request(&what(), text, &error),
        })
    })
}

/// The text of a result.
pub(crate) fn text<T: Serialize>(result: &T) -> Result<String> {
    written(serde_json::to_string(result))
}

/// A result as JSON.
pub(crate) fn json(result: &Outcome) -> Result<Json> {
    written(Json::from_serialize(result))
}

fn written<T, E: std::fmt::Display>(result: std::result::Result<T, E>) -> Result<T> {
    result.map_err(|error| Error::new(ErrorCode::InternalError, format!("result: {error}")))
}
