//! Requests, responses and stream events: what a frame's JSON says.
//!
//! A server reads [`WireRequest`]s and writes with [`respond`], [`refuse`], [`event`], [`progress`], [`end`] and [`topology`];
//! a client writes with [`request`] and [`reading`], and reads [`Incoming`].

use std::borrow::Cow;
use std::fmt;

use rstmdb_types::error::reason;
use rstmdb_types::{
    Error, ErrorCode, InstanceEvent, InstanceEventKind, Json, LogPosition, Offset, Operation,
    Request, Text, TimestampMs,
};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::command::WireCommand;
use crate::error::{ReceivedError, WireError};
use crate::frame::{self, PAYLOAD_BYTES_MAX, WireMode};
use crate::handshake::Dialect;
use crate::read::{ReadMode, ReadWish};
use crate::result::WireResult;
use crate::topology::{Cluster, lenient};
use crate::write::{Object, put_text};

/// A request as it arrived. Its parameters are looked at when the command is known.
#[derive(Debug, Clone)]
pub struct WireRequest<'a> {
    /// What the answer will be recognised by.
    pub id: Cow<'a, str>,
    /// The name of the command.
    pub op: Cow<'a, str>,
    /// The parameters; none when absent or null.
    pub params: Option<&'a RawValue>,
    /// What they ask for, where that was read along with the message: see [`WireRequest::parse_along`].
    pub request: Option<Box<Request>>,
    /// How fresh what is read has to be, where that is said in a way that is understood.
    pub wish: Option<ReadWish>,
}

/// The longest id of a request, in bytes: each answer repeats it.
pub const ID_BYTES_MAX: usize = 64 << 10;

/// The id in a message that is not a request: an answer is more use than a closed connection.
fn id_of(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Id<'a> {
        #[serde(borrow)]
        id: Cow<'a, str>,
    }
    // Derived code would take a list too.
    let text = text.trim_start();
    let found: Id<'_> = text.starts_with('{').then(|| serde_json::from_str(text).ok()).flatten()?;
    (found.id.len() <= ID_BYTES_MAX).then(|| found.id.into_owned())
}

/// A message that is not a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// The id, where one could be read: then an error can be answered.
    pub id: Option<String>,
    /// What is wrong.
    pub message: String,
}

impl<'a> WireRequest<'a> {
    /// Reads the JSON text of a frame.
    pub fn parse(payload: &'a [u8]) -> Result<WireRequest<'a>, Malformed> {
        WireRequest::parse_along(payload, |_| false)
    }

    /// The same, and reads in the same pass what an operation's parameters ask for, if `is_wanted` says so and the
    /// operation stands before them. Parameters that can't be read so stay as they are.
    pub fn parse_along(
        payload: &'a [u8],
        is_wanted: fn(Operation) -> bool,
    ) -> Result<WireRequest<'a>, Malformed> {
        let text = std::str::from_utf8(payload)
            .map_err(|error| Malformed { id: None, message: format!("not UTF-8: {error}") })?;
        let read = |is_wanted| {
            let mut from = serde_json::Deserializer::from_str(text);
            let request = from.deserialize_map(Members { is_wanted })?;
            from.end().map(|()| request)
        };
        match read(is_wanted).or_else(|_| read(|_| false)) {
            Ok(request) if request.id.len() <= ID_BYTES_MAX => Ok(request),
            Ok(_) => Err(Malformed { id: None, message: "the id is too long".to_owned() }),
            Err(error) => {
                Err(Malformed { id: id_of(text), message: format!("not a request: {error}") })
            }
        }
    }

    /// The parameters as JSON text, `{}` when there are none.
    pub fn params_text(&self) -> &'a str {
        self.params.map_or("{}", RawValue::get)
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum RequestMember {
    Type,
    Id,
    Op,
    Params,
    Read,
    #[serde(rename = "min_offset")]
    MinOffset,
    #[serde(rename = "max_lag_ms")]
    MaxLag,
    #[serde(other)]
    Other,
}

/// Reads a request. Only objects: derived code would take a list of the members too.
struct Members {
    is_wanted: fn(Operation) -> bool,
}

impl Members {
    /// The operation whose parameters are read along.
    fn wanted(&self, op: Option<&Borrowed<'_>>) -> Option<Operation> {
        match WireCommand::from_wire_name(&op?.0)? {
            WireCommand::Database(operation) if (self.is_wanted)(operation) => Some(operation),
            _ => None,
        }
    }
}

impl<'de> Visitor<'de> for Members {
    type Value = WireRequest<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object with type, id and op")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WireRequest<'de>, A::Error> {
        use serde::de::Error;
        let (mut kind, mut id, mut op, mut params) = (None, None, None, None);
        let mut request = None;
        let mut wish = None::<ReadWish>;
        while let Some(member) = map.next_key()? {
            let doubled = match member {
                RequestMember::Type => kind.replace(map.next_value::<Borrowed<'de>>()?).is_some(),
                RequestMember::Id => id.replace(map.next_value::<Borrowed<'de>>()?).is_some(),
                RequestMember::Op => op.replace(map.next_value::<Borrowed<'de>>()?).is_some(),
                RequestMember::Params => match self.wanted(op.as_ref()) {
                    Some(operation) => {
                        let read = map.next_value_seed(Parameters(operation))?;
                        request.replace(read).is_some() || params.is_some()
                    }
                    None => params.replace(map.next_value::<Option<&'de RawValue>>()?).is_some(),
                },
                // What is not understood is passed over, as other members are.
                RequestMember::Read => {
                    let told = map.next_value::<serde_json::Value>()?;
                    if let Some(mode) = told.as_str().and_then(ReadMode::from_name) {
                        wish.get_or_insert_default().mode = mode;
                    }
                    false
                }
                RequestMember::MinOffset => {
                    let told = map.next_value::<serde_json::Value>()?;
                    wish.get_or_insert_default().min_offset = told.as_u64();
                    false
                }
                RequestMember::MaxLag => {
                    let told = map.next_value::<serde_json::Value>()?;
                    wish.get_or_insert_default().max_lag_ms = told.as_u64();
                    false
                }
                RequestMember::Other => {
                    map.next_value::<serde::de::IgnoredAny>()?;
                    false
                }
            };
            if doubled {
                return Err(A::Error::custom("a member appears twice"));
            }
        }
        kind.ok_or_else(|| A::Error::missing_field("type"))?;
        Ok(WireRequest {
            id: id.ok_or_else(|| A::Error::missing_field("id"))?.0,
            op: op.ok_or_else(|| A::Error::missing_field("op"))?.0,
            params: params.flatten(),
            request,
            wish,
        })
    }
}

/// Reads the parameters of an operation; only an object's, as everywhere.
struct Parameters(Operation);

impl<'de> DeserializeSeed<'de> for Parameters {
    type Value = Box<Request>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Box<Request>, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Parameters {
    type Value = Box<Request>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object of parameters")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Box<Request>, A::Error> {
        Request::deserialize_boxed(self.0, MapAccessDeserializer::new(map))
    }
}

/// A string, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);

/// Appends a request. `params` is JSON text.
pub fn request(out: &mut Vec<u8>, mode: WireMode, id: &str, op: &str, params: &str) {
    frame::write(out, mode, |out| {
        put_request(out, id, op, params);
        out.push(b'}');
    });
}

/// Appends a request that says how fresh what it reads has to be: only servers of the extended dialect look at it.
pub fn reading(
    out: &mut Vec<u8>,
    mode: WireMode,
    id: &str,
    op: &str,
    params: &str,
    wish: &ReadWish,
) {
    frame::write(out, mode, |out| {
        put_request(out, id, op, params);
        let mut object = Object::go_on(out);
        wish.put(&mut object);
        object.end();
    });
}

fn put_request(out: &mut Vec<u8>, id: &str, op: &str, params: &str) {
    out.extend_from_slice(b"{\"type\":\"request\",\"id\":");
    put_text(out, id);
    out.extend_from_slice(b",\"op\":");
    put_text(out, op);
    out.extend_from_slice(b",\"params\":");
    out.extend_from_slice(params.as_bytes());
}

/// Appends the answer of a success.
///
/// A result that does not fit a frame becomes an error that says so, which is returned too.
pub fn respond<T: WireResult + ?Sized>(
    out: &mut Vec<u8>,
    mode: WireMode,
    dialect: Dialect,
    id: &str,
    result: &T,
) -> Result<(), Error> {
    let mut written = Ok(());
    let start = frame::write(out, mode, |out| {
        out.extend_from_slice(b"{\"type\":\"response\",\"id\":");
        put_text(out, id);
        out.extend_from_slice(b",\"status\":\"ok\",\"result\":");
        written = result.write(dialect, out);
        out.push(b'}');
    });
    let size = out.len().saturating_sub(start + frame::HEADER_BYTES);
    let error = match written {
        Err(error) => Error::new(ErrorCode::InternalError, format!("writing the result: {error}")),
        Ok(()) if size > PAYLOAD_BYTES_MAX => too_large(result, size),
        Ok(()) => return Ok(()),
    };
    out.truncate(start);
    refuse(out, mode, id, &error);
    Err(error)
}

/// The error for a result that does not fit a frame. What was changed is changed, and that is said.
pub fn too_large<T: WireResult + ?Sized>(result: &T, size: usize) -> Error {
    let what = format!("{size} bytes, more than a frame holds ({PAYLOAD_BYTES_MAX})");
    let error = match result.changes() {
        None => Error::invalid(
            reason::LIMIT_EXCEEDED,
            format!("the answer has {what}; ask for less at once, such as smaller pages"),
        ),
        Some(offsets) => {
            let known: Vec<Offset> = offsets.iter().copied().flatten().collect();
            let places = match known.as_slice() {
                [] => String::new(),
                [one] => format!(" at offset {one}"),
                [first, .., last] => format!(" at offsets {first} to {last}"),
            };
            let error = Error::new(
                ErrorCode::InternalError,
                format!(
                    "the change was made{places}, but the answer has {what}; read what it came to, \
                     and do not repeat it"
                ),
            );
            let error = error.with_reason(reason::ANSWER_TOO_LARGE).with("applied", true);
            match (known.as_slice(), offsets.len()) {
                ([], _) => error,
                ([one], 1) => error.with("wal_offset", *one),
                _ => error.with("wal_offsets", offsets),
            }
        }
    };
    error.with("limit", "max_frame_bytes").with("limit_value", PAYLOAD_BYTES_MAX).with("size", size)
}

/// Appends the answer of a failure.
pub fn refuse(out: &mut Vec<u8>, mode: WireMode, id: &str, error: &Error) {
    frame::write(out, mode, |out| {
        out.extend_from_slice(b"{\"type\":\"response\",\"id\":");
        put_text(out, id);
        out.extend_from_slice(b",\"status\":\"error\",\"error\":");
        // Plain data always serialises.
        let _ = serde_json::to_writer(&mut *out, &WireError(error));
        out.push(b'}');
    });
}

/// An event as text, without what differs between the subscriptions that it goes to: all that are told it in the same
/// dialect share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventText<'a> {
    /// The offset of the event.
    pub offset: Offset,
    /// Its members up to the place of the history.
    pub head: &'a [u8],
    /// The others.
    pub tail: &'a [u8],
}

/// Appends the text of an event; returns where in `out` its tail begins.
pub fn event_text(out: &mut Vec<u8>, dialect: Dialect, event: &InstanceEvent) -> usize {
    let mut object = Object::go_on(out);
    object.text("instance_id", &event.instance_id);
    object.text("machine", &event.machine);
    object.unsigned("version", event.version.into());
    object.unsigned("wal_offset", event.wal_offset);
    let tail = out.len();
    let mut object = Object::go_on(out);
    object.optional_text("from_state", event.from_state.as_deref());
    object.optional_text("to_state", event.to_state.as_deref());
    object.optional_text("event", event.event.as_deref());
    object.json("payload", &event.payload);
    if let Some(ctx) = &event.ctx {
        object.json("ctx", ctx);
    }
    if dialect == Dialect::Extended || event.kind != InstanceEventKind::Applied {
        object.text("kind", event.kind.as_str());
        if let Some(at) = event.timestamp {
            object.signed("timestamp", at);
        }
        object.optional_text("event_id", event.event_id.as_deref());
        if let Some(emitted) = &event.emitted {
            object.json("emitted", emitted);
        }
    }
    object.end();
    tail
}

/// Appends an event of a subscription, with its history, if that is to be told.
///
/// One that does not fit a frame is left out, and the error says so.
pub fn event(
    out: &mut Vec<u8>,
    mode: WireMode,
    subscription_id: &str,
    event: EventText<'_>,
    history_id: Option<&str>,
) -> Result<(), Error> {
    let start = frame::write(out, mode, |out| {
        let mut object = Object::begin(out);
        object.text("type", "event");
        object.text("subscription_id", subscription_id);
        out.extend_from_slice(event.head);
        Object::go_on(out).optional_text("history_id", history_id);
        out.extend_from_slice(event.tail);
    });
    let size = out.len().saturating_sub(start + frame::HEADER_BYTES);
    if size <= PAYLOAD_BYTES_MAX {
        return Ok(());
    }
    out.truncate(start);
    Err(event_too_large(event.offset, size))
}

/// The error for an event that does not fit a frame: its watch can't go on to the next as if nothing
/// had been.
pub fn event_too_large(offset: Offset, size: usize) -> Error {
    let message = format!(
        "the event at offset {offset} has {size} bytes, more than a frame holds \
         ({PAYLOAD_BYTES_MAX}); watch without contexts (include_ctx false), or from offset {}",
        offset.saturating_add(1)
    );
    Error::new(ErrorCode::InternalError, message)
        .with_reason(reason::ANSWER_TOO_LARGE)
        .with("wal_offset", offset)
        .with("size", size)
}

/// Appends how far a subscription has come where its events do not tell it: all before this place that there was to
/// tell was told. Only clients of the extended dialect expect it.
pub fn progress(out: &mut Vec<u8>, mode: WireMode, subscription_id: &str, position: &LogPosition) {
    frame::write(out, mode, |out| {
        let mut object = Object::begin(out);
        object.text("type", "progress");
        put_place(&mut object, subscription_id, position);
        object.end();
    });
}

fn put_place(object: &mut Object<'_>, subscription_id: &str, position: &LogPosition) {
    object.text("subscription_id", subscription_id);
    object.unsigned("resume_offset", position.next);
    if let Some(id) = &position.history_id {
        object.text("history_id", id);
    }
}

/// Appends the end of a subscription: where to resume, and the error that ended it. Only clients of
/// the extended dialect expect it.
pub fn end(
    out: &mut Vec<u8>,
    mode: WireMode,
    subscription_id: &str,
    position: &LogPosition,
    error: Option<&Error>,
) {
    frame::write(out, mode, |out| {
        let mut object = Object::begin(out);
        object.text("type", "end");
        put_place(&mut object, subscription_id, position);
        if let Some(error) = error {
            // Plain data always serialises.
            let _ = object.with("error", |out| serde_json::to_writer(out, &WireError(error)));
        }
        object.end();
    });
}

/// Appends which nodes the database has now. Only clients of the extended dialect expect it.
pub fn topology(out: &mut Vec<u8>, mode: WireMode, cluster: &Cluster) {
    frame::write(out, mode, |out| {
        let mut object = Object::begin(out);
        object.text("type", "topology");
        // Plain data always serialises.
        let _ = object.with("cluster", |out| serde_json::to_writer(out, cluster));
        object.end();
    });
}

/// A message a client received.
#[derive(Debug)]
pub enum Incoming<'a> {
    /// The answer to the request of this id.
    Response {
        /// The request's id.
        id: Cow<'a, str>,
        /// The result, none when the server sent no member of that name; or the error.
        outcome: Result<Option<&'a RawValue>, Error>,
    },
    /// An event of a subscription.
    Event {
        /// The subscription's id.
        subscription_id: Cow<'a, str>,
        /// The event.
        event: Box<InstanceEvent>,
    },
    /// How far a subscription has come.
    Progress {
        /// The subscription's id.
        subscription_id: Cow<'a, str>,
        /// Where to resume.
        position: LogPosition,
    },
    /// The end of a subscription.
    End {
        /// The subscription's id.
        subscription_id: Cow<'a, str>,
        /// Where to resume.
        position: LogPosition,
        /// What ended it; none when the server is stopping.
        error: Option<Error>,
    },
    /// Which nodes the database has now.
    Topology(Cluster),
    /// Something that only newer servers say.
    Other,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    status: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<ReceivedError>,
    #[serde(borrow, default)]
    subscription_id: Option<Cow<'a, str>>,
    #[serde(default)]
    resume_offset: Option<Offset>,
    #[serde(default)]
    history_id: Option<Text>,
}

/// Kinds of a newer server may have nothing to say of an instance, a machine or a payload.
#[derive(Deserialize)]
struct ReceivedEvent {
    #[serde(default)]
    kind: InstanceEventKind,
    #[serde(default)]
    instance_id: Text,
    #[serde(default)]
    machine: Text,
    #[serde(default)]
    version: u32,
    wal_offset: Offset,
    #[serde(default)]
    history_id: Option<Text>,
    #[serde(default)]
    timestamp: Option<TimestampMs>,
    #[serde(default)]
    from_state: Option<Text>,
    #[serde(default)]
    to_state: Option<Text>,
    #[serde(default)]
    event: Option<Text>,
    #[serde(default = "Json::null")]
    payload: Json,
    #[serde(default)]
    ctx: Option<Json>,
    #[serde(default)]
    event_id: Option<Text>,
    #[serde(default)]
    emitted: Option<Json>,
}

impl<'a> Incoming<'a> {
    /// Reads the JSON text of a frame. An event of an older server has no timestamp.
    pub fn parse(payload: &'a [u8]) -> Result<Incoming<'a>, Malformed> {
        let malformed = |message: String| Malformed { id: None, message };
        let text = std::str::from_utf8(payload)
            .map_err(|error| malformed(format!("not UTF-8: {error}")))?;
        let envelope: Envelope<'a> =
            serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
        let missing = |member: &str| malformed(format!("{member} is missing"));
        match &*envelope.r#type {
            "response" => {
                let id = envelope.id.ok_or_else(|| missing("id"))?;
                let outcome = match envelope.status.as_deref() {
                    Some("ok") => Ok(envelope.result),
                    Some("error") => Err(envelope.error.ok_or_else(|| missing("error"))?.into()),
                    _ => return Err(missing("status ok or error")),
                };
                Ok(Incoming::Response { id, outcome })
            }
            "event" => {
                let subscription_id =
                    envelope.subscription_id.ok_or_else(|| missing("subscription_id"))?;
                let event: ReceivedEvent =
                    serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
                Ok(Incoming::Event { subscription_id, event: Box::new(event.into()) })
            }
            kind @ ("progress" | "end") => {
                let subscription_id =
                    envelope.subscription_id.ok_or_else(|| missing("subscription_id"))?;
                let next = envelope.resume_offset.ok_or_else(|| missing("resume_offset"))?;
                let position = LogPosition { next, history_id: envelope.history_id };
                Ok(match kind {
                    "end" => {
                        let error = envelope.error.map(Error::from);
                        Incoming::End { subscription_id, position, error }
                    }
                    _ => Incoming::Progress { subscription_id, position },
                })
            }
            "topology" => Ok(topology_in(text).map_or(Incoming::Other, Incoming::Topology)),
            _ => Ok(Incoming::Other),
        }
    }
}

fn topology_in(text: &str) -> Option<Cluster> {
    #[derive(Deserialize)]
    struct Member {
        #[serde(default, deserialize_with = "lenient")]
        cluster: Option<Cluster>,
    }
    serde_json::from_str::<Member>(text).ok()?.cluster
}

impl From<ReceivedEvent> for InstanceEvent {
    fn from(event: ReceivedEvent) -> InstanceEvent {
        InstanceEvent {
            kind: event.kind,
            instance_id: event.instance_id,
            machine: event.machine,
            version: event.version,
            wal_offset: event.wal_offset,
            history_id: event.history_id,
            timestamp: event.timestamp,
            from_state: event.from_state,
            to_state: event.to_state,
            event: event.event,
            payload: event.payload,
            ctx: event.ctx,
            event_id: event.event_id,
            emitted: event.emitted,
        }
    }
}
