//! What the log holds, from an offset up to its head, as events; here and on a server alike.
//!
//! A watch never says that it has reached the head, so the end is looked up before: the last change
//! of an instance. All events are asked for and filtered here; the last one might be filtered out.

use std::time::Duration;

use rstmdb::blocking::{Database, Subscription};
use rstmdb::{
    InstanceEvent, InstanceEventKind, Offset, Result, Text, WalEntry, WalReadRequest,
    WalStatsRequest, WatchAllRequest, WatchInstanceRequest,
};

use crate::error::CommandResult;
use crate::interrupt::Interrupt;

/// How long a watch waits before it looks whether it should end.
pub(crate) const STEP: Duration = Duration::from_millis(100);

/// The most entries of the log that are looked at in one step.
const WINDOW_MAX: u64 = 1000;

/// Hands every event that passes to `each`, in order; Ctrl-C ends it early.
pub(crate) fn all(
    database: &Database,
    request: WatchAllRequest,
    interrupt: Interrupt,
    mut each: impl FnMut(InstanceEvent) -> CommandResult,
) -> CommandResult {
    let stats = database.wal_stats(WalStatsRequest {})?;
    let first = stats.first_offset.unwrap_or(0).max(1);
    let from = request.from_offset.filter(|offset| *offset > 0).unwrap_or(first);
    let (_, events) = database.watch_all(WatchAllRequest {
        include_ctx: request.include_ctx,
        from_offset: Some(from),
        history_id: request.history_id.clone(),
        include_lifecycle: true,
        ..WatchAllRequest::default()
    })?;
    let Some(last) = last_change(database, from.max(first), stats.latest_offset)? else {
        return Ok(());
    };
    until(events, last, interrupt, |event| match passes(&request, &event) {
        true => each(event),
        false => Ok(()),
    })
}

/// As [`all`], for the events of one instance.
pub(crate) fn one(
    database: &Database,
    request: WatchInstanceRequest,
    interrupt: Interrupt,
    mut each: impl FnMut(InstanceEvent) -> CommandResult,
) -> CommandResult {
    let stats = database.wal_stats(WalStatsRequest {})?;
    let from = request.from_offset.filter(|offset| *offset > 0);
    let first = stats.first_offset.unwrap_or(0).max(1);
    let from = from.unwrap_or(first);
    if request.from_offset.is_some_and(|from| from > 0) {
        expect_there(database, from, request.history_id.clone())?;
    }
    let lifecycle = request.include_lifecycle;
    let (began, events) = database.watch_instance(WatchInstanceRequest {
        from_offset: Some(from),
        include_lifecycle: true,
        ..request
    })?;
    let last = began.current_wal_offset;
    if last < from.max(first) {
        return Ok(());
    }
    until(events, last, interrupt, |event| {
        match lifecycle || event.kind == InstanceEventKind::Applied {
            true => each(event),
            false => Ok(()),
        }
    })
}

/// Refuses an offset that the log has no more, or not yet. A watch of an instance that did not change since takes it,
/// but who is shown nothing by a replay takes that for all there was.
fn expect_there(database: &Database, from: Offset, history_id: Option<Text>) -> Result<()> {
    let request = WatchAllRequest {
        include_ctx: false,
        from_offset: Some(from),
        history_id,
        ..WatchAllRequest::default()
    };
    database.watch_all(request).map(drop)
}

/// Hands out events up to the one at `last`.
fn until(
    mut events: Subscription,
    last: Offset,
    interrupt: Interrupt,
    mut each: impl FnMut(InstanceEvent) -> CommandResult,
) -> CommandResult {
    while !interrupt.pressed() {
        let Some(event) = events.next_timeout(STEP)? else { continue };
        let offset = event.wal_offset;
        // What came after the end was looked up belongs to the next replay.
        if offset <= last {
            each(event)?;
        }
        if offset >= last {
            break;
        }
    }
    Ok(())
}

/// The last change of an instance in the log from `first` to `head`.
fn last_change(database: &Database, first: Offset, head: Offset) -> Result<Option<Offset>> {
    let (mut end, mut window) = (head + 1, 16);
    while end > first {
        let from = end.saturating_sub(window).max(first);
        if let Some(offset) = last_change_between(database, from, end)? {
            return Ok(Some(offset));
        }
        end = from;
        window = (window * 4).min(WINDOW_MAX);
    }
    Ok(None)
}

fn last_change_between(database: &Database, from: Offset, end: Offset) -> Result<Option<Offset>> {
    let is_change = |entry: &WalEntry| {
        matches!(
            entry,
            WalEntry::CreateInstance { .. }
                | WalEntry::ApplyEvent { .. }
                | WalEntry::DeleteInstance { .. }
        )
    };
    let (mut next, mut found) = (from, None);
    while next < end {
        let request = WalReadRequest { limit: Some(end - next), ..WalReadRequest::new(next) };
        let page = database.wal_read(request)?;
        let changes = page.records.iter().filter(|record| is_change(&record.entry));
        found = changes.map(|record| record.offset).filter(|at| *at < end).max().or(found);
        // A page may end early, where its entries are large.
        if page.records.is_empty() || page.next_offset <= next {
            break;
        }
        next = page.next_offset;
    }
    Ok(found)
}

/// Whether a watch of all instances would show an event.
fn passes(request: &WatchAllRequest, event: &InstanceEvent) -> bool {
    let listed = |list: &[Text], value: Option<&Text>| {
        list.is_empty() || value.is_some_and(|value| list.contains(value))
    };
    (request.include_lifecycle || event.kind == InstanceEventKind::Applied)
        && listed(&request.machines, Some(&event.machine))
        && listed(&request.from_states, event.from_state.as_ref())
        && listed(&request.to_states, event.to_state.as_ref())
        && listed(&request.events, event.event.as_ref())
}
