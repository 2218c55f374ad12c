//! Parameters read into requests, with the liberties that clients of RCP have always had.

use std::borrow::Cow;

use rstmdb_protocol::{Dialect, Malformed, WireCommand, WireRequest};
use rstmdb_types::error::reason;
use rstmdb_types::fault::with_large_integers_as_floats;
use rstmdb_types::*;
use serde::Deserialize;
use serde_json::Value;

use crate::calls::{Call, Caller, QUICK_BYTES_MAX};

/// Reads the parameters of an operation of the database.
pub(crate) fn call(
    caller: &mut Caller,
    dialect: Dialect,
    operation: Operation,
    params: &str,
) -> Result<Call> {
    let mut request = match operation {
        // Nobody has ever looked at theirs.
        Operation::Ping => PingRequest {}.into(),
        Operation::FlushAll => FlushAllRequest {}.into(),
        Operation::Compact => compaction(params)?.into(),
        Operation::WatchAll => watch_all(params)?.into(),
        _ => request(dialect, operation, params)?,
    };
    // Clients of the plain dialect know no largest page: they get the largest there is.
    if dialect == Dialect::Plain
        && let Request::ListInstances(list) = &mut *request
        && let Some(limits) = caller.limits()
    {
        list.limit = list.limit.map(|limit| limit.min(limits.page_entries_max));
    }
    Ok(whole(dialect, request))
}

/// A request by the rules of a dialect.
pub(crate) fn whole(dialect: Dialect, request: Box<Request>) -> Call {
    Call { request, plain_rules: dialect == Dialect::Plain, wish: None }
}

/// Reads a message, and along with it what single changes and reads of instances ask for: most messages do. What
/// is wrong with their parameters is told when they are read alone.
pub(crate) fn message(payload: &[u8]) -> std::result::Result<WireRequest<'_>, Malformed> {
    let is_small = payload.len() <= QUICK_BYTES_MAX;
    WireRequest::parse_along(payload, if is_small { Operation::is_batchable } else { |_| false })
}

/// Refuses parameters that are too large whatever they say, before anything is read into memory.
pub(crate) fn check_size(caller: &mut Caller, operation: Operation, params: &str) -> Result<()> {
    let Some(limits) = caller.limits() else { return Ok(()) };
    let (field, setting, limit) = match operation {
        Operation::CreateInstance => ("initial_ctx", "context_bytes_max", limits.context_bytes_max),
        Operation::ApplyEvent => ("payload", "payload_bytes_max", limits.payload_bytes_max),
        Operation::PutMachine | Operation::ValidateMachine => {
            ("definition", "definition_bytes_max", limits.definition_bytes_max)
        }
        _ => return Ok(()),
    };
    // The names beside it.
    let names = limits.name_bytes_max.saturating_mul(8);
    if params.len() <= limit.saturating_add(names) {
        return Ok(());
    }
    let least = least_bytes(params).saturating_sub(names);
    limits::check(field, least, setting, limit)
        .map_err(|error| error.with_operation(operation.wire_name()))
}

/// How many bytes a JSON text has at least when it is written without blanks and needless escapes.
fn least_bytes(text: &str) -> usize {
    let (mut count, mut is_text, mut bytes) = (0, false, text.bytes());
    while let Some(byte) = bytes.next() {
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' if !is_text => continue,
            b'"' => is_text = !is_text,
            // Six bytes may be one character.
            b'\\' if bytes.next() == Some(b'u') => drop(bytes.nth(3)),
            _ => {}
        }
        count += 1;
    }
    count
}

/// Reads the parameters of an operation as they are. Clients of the plain dialect may have integers that do not
/// fit 64 bits in their values, which are floats.
pub(crate) fn request(
    dialect: Dialect,
    operation: Operation,
    params: &str,
) -> Result<Box<Request>> {
    let command = WireCommand::Database(operation);
    let read =
        |params: &str| read(command, params, |from| Request::deserialize_boxed(operation, from));
    read(params).or_else(|error| match with_large_integers_as_floats(params) {
        Cow::Owned(params) if dialect == Dialect::Plain => read(&params),
        _ => Err(error),
    })
}

/// Reads the parameters of a command.
pub(crate) fn decode<'a, T: Deserialize<'a>>(command: WireCommand, params: &'a str) -> Result<T> {
    read(command, params, |from| T::deserialize(from))
}

type Json<'a> = serde_json::Deserializer<serde_json::de::StrRead<'a>>;

fn read<'a, T>(
    command: WireCommand,
    params: &'a str,
    take: impl FnOnce(&mut Json<'a>) -> serde_json::Result<T>,
) -> Result<T> {
    let name = command.wire_name();
    // A derived type would take a list of its members' values too: nobody means that.
    if !params.starts_with('{') {
        let message = format!("{name}: params is not a JSON object");
        return Err(Error::invalid(reason::INVALID_REQUEST, message).with_operation(name));
    }
    let mut from = Json::from_str(params);
    take(&mut from).map_err(|error| {
        JsonError::of_request(name, params.as_bytes(), &error).with_operation(name)
    })
}

/// Any value but true counts as false, as it always has.
fn compaction(params: &str) -> Result<CompactRequest> {
    #[derive(Deserialize)]
    struct Loose {
        #[serde(default)]
        force_snapshot: Value,
    }
    let loose: Loose = decode(WireCommand::Database(Operation::Compact), params)?;
    Ok(CompactRequest { force_snapshot: loose.force_snapshot.as_bool().unwrap_or(false) })
}

/// Null for a list means the same as its absence.
fn watch_all(params: &str) -> Result<WatchAllRequest> {
    #[derive(Deserialize)]
    #[serde(default)]
    struct Loose {
        include_ctx: bool,
        from_offset: Option<Offset>,
        history_id: Option<Text>,
        machines: Option<Vec<Text>>,
        from_states: Option<Vec<Text>>,
        to_states: Option<Vec<Text>>,
        events: Option<Vec<Text>>,
        include_lifecycle: bool,
    }
    impl Default for Loose {
        fn default() -> Loose {
            Loose {
                include_ctx: true,
                from_offset: None,
                history_id: None,
                machines: None,
                from_states: None,
                to_states: None,
                events: None,
                include_lifecycle: false,
            }
        }
    }
    let loose: Loose = decode(WireCommand::Database(Operation::WatchAll), params)?;
    Ok(WatchAllRequest {
        include_ctx: loose.include_ctx,
        from_offset: loose.from_offset,
        history_id: loose.history_id,
        machines: loose.machines.unwrap_or_default(),
        from_states: loose.from_states.unwrap_or_default(),
        to_states: loose.to_states.unwrap_or_default(),
        events: loose.events.unwrap_or_default(),
        include_lifecycle: loose.include_lifecycle,
    })
}
