//! Operations on JSON requests, for callers that know an operation only by its name.

use rstmdb_types::error::reason;
use rstmdb_types::operation::Visitor;
use rstmdb_types::{
    Error, ErrorCode, Json, JsonError, Operation, OperationRequest, Outcome, Place, Request,
    Result, json_text, members,
};
use serde::Serialize;

use crate::backend::Backend;
use crate::begun::Underway;

/// Runs an operation that is no watch, from text to text.
pub(crate) struct TextCall<'a> {
    pub backend: &'a Backend,
    pub text: &'a [u8],
}

/// As [`TextCall`], for executors.
pub(crate) struct TextCallBeside<'a>(pub TextCall<'a>);

impl Visitor for TextCall<'_> {
    type Output = Result<String>;

    fn visit<R: OperationRequest>(self) -> Result<String> {
        refuse_watch(R::OPERATION)?;
        text(&self.backend.call(read::<R>(self.text)?).wait()?, room::<R>(self.text))
    }
}

impl Visitor for TextCallBeside<'_> {
    type Output = Underway<String>;

    fn visit<R: OperationRequest>(self) -> Underway<String> {
        let TextCall { backend, text: request } = self.0;
        let room = room::<R>(request);
        let request = match refuse_watch(R::OPERATION).and_then(|()| read::<R>(request)) {
            Ok(request) => request,
            Err(error) => return Underway::Done(Err(error)),
        };
        match backend.begin(request) {
            Underway::Done(result) => Underway::Done(result.and_then(|result| text(&result, room))),
            Underway::Queued(queued) => Underway::Queued(queued.map(|result| text(&result, room))),
            Underway::ToCome(result) => {
                Underway::ToCome(Box::pin(async move { text(&result.await?, room) }))
            }
        }
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

/// Reads a request.
pub(crate) fn read<R: OperationRequest>(text: &[u8]) -> Result<R> {
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
    let request = match std::str::from_utf8(text) {
        // Looked at once, and not for each string in it.
        Ok(text) => parsed::<R, _>(serde_json::Deserializer::from_str(text), &mut suspect),
        Err(_) => parsed::<R, _>(serde_json::Deserializer::from_slice(text), &mut suspect),
    };
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

fn parsed<'de, R: OperationRequest, T: serde_json::de::Read<'de>>(
    mut from: serde_json::Deserializer<T>,
    suspect: &mut bool,
) -> serde_json::Result<R> {
    let request = members::deserialize(&mut from, suspect)?;
    from.end().map(|()| request)
}

/// How long the text of a result may become, so that it seldom moves while it grows.
fn room<R: OperationRequest>(request: &[u8]) -> usize {
    match R::OPERATION {
        Operation::Batch => request.len().saturating_mul(3),
        _ => 384,
    }
}

/// The text of a result, in a place with so much room.
pub(crate) fn text<T: Serialize>(result: &T, room: usize) -> Result<String> {
    written(json_text(result, room))
}

/// A result as JSON.
pub(crate) fn json(result: &Outcome) -> Result<Json> {
    written(Json::from_serialize(result))
}

fn written<T, E: std::fmt::Display>(result: std::result::Result<T, E>) -> Result<T> {
    result.map_err(|error| Error::new(ErrorCode::InternalError, format!("result: {error}")))
}
