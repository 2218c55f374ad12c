//! The echo: a database that only answers, to exercise the boundary without one.
//!
//! It answers with the request. A member `$panic` anywhere in the request makes it panic; a member
//! `$wait` makes the answer come later, from a thread of callbacks.

use std::future::poll_fn;
use std::task::Poll;

use rstmdb::error::reason;
use rstmdb::{Error, InstanceEvent, Json, Result};

/// The URL of the echo.
pub(crate) const URL: &str = "echo:";

pub(crate) async fn answer(request: Vec<u8>) -> Result<String> {
    let text = String::from_utf8(request).map_err(|error| {
        Error::invalid(reason::INVALID_REQUEST, format!("the request is not UTF-8: {error}"))
    })?;
    misbehave(&text);
    if text.contains("\"$wait\"") {
        wait_once().await;
    }
    Ok(text)
}

/// Panics where the request asks for it.
#[allow(clippy::panic)]
pub(crate) fn misbehave(request: &str) {
    if request.contains("\"$panic\"") {
        panic!("the request asked for it");
    }
}

pub(crate) fn unsupported() -> Error {
    Error::invalid(reason::UNSUPPORTED, "the echo has no typed results; use it with JSON")
}

pub(crate) fn event(offset: u64) -> InstanceEvent {
    InstanceEvent {
        kind: rstmdb::InstanceEventKind::Applied,
        instance_id: "echo".into(),
        machine: "echo".into(),
        version: 1,
        wal_offset: offset,
        history_id: None,
        timestamp: Some(0),
        from_state: Some("said".into()),
        to_state: Some("said".into()),
        event: Some("SAY".into()),
        event_id: None,
        emitted: None,
        payload: Json::null(),
        ctx: Some(Json::empty_object()),
    }
}

async fn wait_once() {
    let mut polled = false;
    poll_fn(|context| {
        if polled {
            return Poll::Ready(());
        }
        polled = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
