//! Requests and outcomes as values, and the one door through which they pass.
//!
//! A transport, a binding or a batch parses a [`Request`], hands it over in a [`Command`] and prints
//! the [`Outcome`]; only who implements [`Execute`] knows how an operation is carried out.

use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;
use std::task::{Context, Poll};

use serde::{Deserialize, Serialize, Serializer};

use crate::ops::*;
use crate::{Operation, Result, Text, TimestampMs};

macro_rules! values {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $method:ident $wire:literal,
       $access:ident $place:ident $batch:ident $key:ident,
       $request:ident => $result:ident, can_fail: $can_fail:literal;)*) => {
        /// What is asked for: an operation and its parameters.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Request {
            $($(#[doc = $doc])+ $name($request),)*
        }

        impl Request {
            /// The operation it asks for.
            pub const fn operation(&self) -> Operation {
                match self { $(Request::$name(_) => Operation::$name,)* }
            }

            /// The key under which a retry gets the first result.
            pub const fn idempotency_key(&self) -> Option<&Text> {
                match self { $(Request::$name(_request) => values!(@$key _request),)* }
            }

            /// Reads the parameters of an operation.
            pub fn deserialize<'de, D: serde::Deserializer<'de>>(
                operation: Operation,
                parameters: D,
            ) -> std::result::Result<Request, D::Error> {
                match operation {
                    $(Operation::$name => Deserialize::deserialize(parameters).map(Request::$name),)*
                }
            }

            /// The same where a [`Command`] will want it: it is moved no more than it must be.
            pub fn deserialize_boxed<'de, D: serde::Deserializer<'de>>(
                operation: Operation,
                parameters: D,
            ) -> std::result::Result<Box<Request>, D::Error> {
                match operation {
                    $(Operation::$name => {
                        Deserialize::deserialize(parameters).map(|read| Box::new(Request::$name(read)))
                    })*
                }
            }
        }

        /// Prints the parameters.
        impl Serialize for Request {
            fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
                match self { $(Request::$name(request) => request.serialize(to),)* }
            }
        }

        /// The result of an operation that was carried out.
        #[derive(Debug, Clone)]
        pub enum Outcome {
            $(#[doc = concat!("Of `", stringify!($method), "`.")] $name(values!(@kept $name $result)),)*
        }

        impl Outcome {
            /// The operation whose result it is.
            pub const fn operation(&self) -> Operation {
                match self { $(Outcome::$name(_) => Operation::$name,)* }
            }

            /// Reads the result of an operation.
            pub fn deserialize<'de, D: serde::Deserializer<'de>>(
                operation: Operation,
                result: D,
            ) -> std::result::Result<Outcome, D::Error> {
                match operation {
                    $(Operation::$name => Deserialize::deserialize(result).map(Outcome::$name),)*
                }
            }
        }

        /// Prints the result.
        impl Serialize for Outcome {
            fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
                match self { $(Outcome::$name(result) => result.serialize(to),)* }
            }
        }

        $(impl From<$request> for Request {
            fn from(request: $request) -> Request {
                Request::$name(request)
            }
        }

        impl From<$request> for Box<Request> {
            fn from(request: $request) -> Box<Request> {
                Box::new(Request::$name(request))
            }
        })*
    };
    // Larger than the others, and asked for seldom: those would all take their room.
    (@kept Info $result:ident) => { Box<$result> };
    (@kept Backup $result:ident) => { Box<$result> };
    (@kept ReplicationStatus $result:ident) => { Box<$result> };
    (@kept ClusterStatus $result:ident) => { Box<$result> };
    (@kept $name:ident $result:ident) => { $result };
    (@keyed $request:ident) => { $request.idempotency_key.as_ref() };
    (@plain $request:ident) => { None };
}

crate::for_each_operation!(values);

/// Where the trace that a request belongs to comes from: a version, a trace id, a span id and flags.
pub type TraceContext = [u8; 25];

/// A request with all that evaluating it needs: made once, at the edge, so that carrying it out reads
/// no clock and draws no random number.
#[derive(Debug, Clone)]
pub struct Command {
    /// What is asked for. Boxed, since it is as large as the largest request and goes through many hands.
    pub request: Box<Request>,
    /// When it was asked, in milliseconds since 1970.
    pub at_ms: TimestampMs,
    /// What new ids are made of; 0 where the request makes none.
    pub new_id: u128,
    /// Who asks; `None` within the process.
    pub caller: Option<Arc<str>>,
    /// What made the database ask by itself.
    pub cause: Option<Text>,
    /// The trace it belongs to.
    pub trace: Option<Box<TraceContext>>,
    /// Whether the rules hold that clients of RCP 0.3 rely on: a known idempotency key answers for another
    /// request too, a log can be followed from where it has not come to, history ids mean nothing, and an
    /// integer of a guard that does not fit 64 bits is a float.
    pub plain_rules: bool,
    /// Whether a read may show what is old, so that a node may answer that does not lead.
    pub may_be_behind: bool,
}

impl Command {
    /// A command of this process.
    pub fn new(request: impl Into<Box<Request>>, at_ms: TimestampMs, new_id: u128) -> Command {
        Command {
            request: request.into(),
            at_ms,
            new_id,
            caller: None,
            cause: None,
            trace: None,
            plain_rules: false,
            may_be_behind: false,
        }
    }

    /// The `number`th new id, from 0 on.
    pub fn id(&self, number: u128) -> Text {
        id_text(self.new_id.wrapping_add(number))
    }
}

/// A UUID of version 4 made of random bits.
pub fn id_text(bits: u128) -> Text {
    let bits = bits & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{bits:032x}");
    let mut text = Text::with_capacity(36);
    for (at, digit) in hex.chars().enumerate() {
        if matches!(at, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(digit);
    }
    text
}

impl Request {
    /// Whether carrying it out makes a new id.
    pub fn needs_id(&self) -> bool {
        match self {
            Request::CreateInstance(create) => create.instance_id.is_none(),
            Request::Batch(batch) => batch.ops.iter().any(Request::needs_id),
            Request::WatchInstance(_) | Request::WatchAll(_) | Request::SnapshotInstance(_) => true,
            _ => false,
        }
    }
}

/// Who carries commands out: a database in this process, a server, a cluster.
pub trait Execute: Sized {
    /// An outcome that is not there yet, and what holds who works on it: a reference, or an `Arc` for
    /// callers that may outlive it. It may be shown once it is there.
    type Pending<H: Deref<Target = Self> + Unpin>: Future<Output = Result<Outcome>>;
    /// The events of a watch.
    type Subscription;

    /// Hands a command over. One whose place is [`Place::Files`](crate::operation::Place) is done
    /// when this returns; a watch is refused. It waits for no room: see [`Execute::poll_room`].
    fn submit<H: Deref<Target = Self> + Unpin>(this: H, command: Command) -> Self::Pending<H>;

    /// Asks whether a command of an operation may be handed over, and leaves a waker for when it may:
    /// what waits to be written is bounded. Several may be told so at once.
    fn poll_room(&self, operation: Operation, context: &mut Context<'_>) -> Poll<()>;

    /// Begins a watch.
    fn subscribe(&self, command: Command) -> Result<(Outcome, Self::Subscription)>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids_of_version_4() {
        assert_eq!(id_text(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(id_text(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        let command = Command::new(PingRequest {}, 0, 5);
        assert_eq!(command.id(1), "00000000-0000-4000-8000-000000000006");
    }

    #[test]
    fn an_outcome_takes_the_room_of_an_instance() {
        assert_eq!(size_of::<Outcome>(), size_of::<GetInstanceResult>());
    }

    #[test]
    fn every_operation_reads_and_prints_its_values() {
        for operation in Operation::ALL {
            let text = match operation {
                Operation::Ping => "{}",
                Operation::GetInstance => r#"{"instance_id":"a"}"#,
                _ => continue,
            };
            let mut parameters = serde_json::Deserializer::from_str(text);
            let request = Request::deserialize(*operation, &mut parameters).unwrap();
            assert_eq!(request.operation(), *operation);
            assert_eq!(serde_json::to_string(&request).unwrap(), text);
        }
    }
}
