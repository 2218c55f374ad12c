//! Watches.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rstmdb_bridge::types::{Operation, Result};
use rstmdb_bridge::{Events, Started, Watch};

use crate::boundary::{
    RSTMDB_ENDED, RSTMDB_OK, RSTMDB_PENDING, answer, handle, handle_place, id_place, out,
};
use crate::callback::{Callback, Requests, rstmdb_callback};
use crate::database::rstmdb_db;
use crate::error::rstmdb_error;
use crate::memory::{misused, rstmdb_buffer, rstmdb_slice};
use crate::requests::operation;

/// A watch: events to be pulled. Any thread may use it, one wait for events at a time.
pub struct rstmdb_watch {
    place: Arc<WatchCell>,
    requests: Arc<Requests>,
}

/// Where a watch is as soon as it has begun.
#[derive(Default)]
struct WatchCell {
    watch: OnceLock<Watch>,
    /// It may be ended before it has begun.
    ended: AtomicBool,
}

impl WatchCell {
    fn begin(&self, watch: Watch) {
        let watch = self.watch.get_or_init(|| watch);
        if self.ended.load(Ordering::SeqCst) {
            watch.end();
        }
    }

    fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        if let Some(watch) = self.watch.get() {
            watch.end();
        }
    }
}

impl rstmdb_watch {
    /// The watch; none when it ended before it had begun.
    fn watch(&self) -> Result<Option<&Watch>> {
        match self.place.watch.get() {
            None if self.place.ended.load(Ordering::SeqCst) => Ok(None),
            None => Err(misused("watch", "has not begun yet; wait for its callback")),
            watch => Ok(watch),
        }
    }
}

/// Follows the events of one instance. `*out` is the operation's result; free `*watch` with
/// `rstmdb_watch_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rstmdb_watch_instance(
    db: *const rstmdb_db,
    request: rstmdb_slice,
    watch: *mut *mut rstmdb_watch,
    out: *mut rstmdb_buffer,
    err: *mut *mut rstmdb_error,
) -> i32 {
    // SAFETY: the caller gives pointers that are NULL or what their names say.
    unsafe { begin(db, Operation::WatchInstance, request, watch, out, err) }
}

/// Follows the events of all instances that pass the filters. `*out` is the operation's result; free
/// `*watch` with `rstmdb_watch_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rstmdb_watch_all(
    db: *const rstmdb_db,
    request: rstmdb_slice,
    watch: *mut *mut rstmdb_watch,
    out: *mut rstmdb_buffer,
    err: *mut *mut rstmdb_error,
) -> i32 {
    // SAFETY: the caller gives pointers that are NULL or what their names say.
    unsafe { begin(db, Operation::WatchAll, request, watch, out, err) }
}

/// # Safety
/// The pointers are NULL or what their names say.
unsafe fn begin(
    db: *const rstmdb_db,
    operation: Operation,
    request: rstmdb_slice,
    watch: *mut *mut rstmdb_watch,
    out: *mut rstmdb_buffer,
    err: *mut *mut rstmdb_error,
) -> i32 {
    // SAFETY: the caller vouches for it.
    unsafe {
        answer(err, || {
            let db = handle(db, "db")?;
            let place = handle_place(watch, "watch")?;
            let out = self::out(out)?;
            let request = request.text("request")?.as_bytes();
            let (result, begun) = db.database().watch_start_json(operation, request).wait()?;
            *out = rstmdb_buffer::of(result);
            let requests = db.requests().clone();
            let given = rstmdb_watch { place: Arc::default(), requests };
            given.place.begin(begun);
            *place = Box::into_raw(Box::new(given));
            Ok(RSTMDB_OK)
        })
    }
}

/// Starts a watch, `RSTMDB_OPERATION_WATCH_INSTANCE` or `RSTMDB_OPERATION_WATCH_ALL`. `*watch` is there at
/// once, and has no events before the callback, whose result is the operation's. Free it with
/// `rstmdb_watch_free` in any case, but where this returns the number of an error: then it is NULL.
///
/// `RSTMDB_OK`: it has begun, `*out` is the operation's result, and the callback will not run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rstmdb_watch_submit(
    db: *const rstmdb_db,
    operation: i32,
    request: rstmdb_slice,
    callback: rstmdb_callback,
    user_data: *mut c_void,
    watch: *mut *mut rstmdb_watch,
    request_id: *mut u64,
    out: *mut rstmdb_buffer,
    err: *mut *mut rstmdb_error,
) -> i32 {
    // SAFETY: the caller gives pointers that are NULL or what their names say.
    unsafe {
        answer(err, || {
            let db = handle(db, "db")?;
            let handle = handle_place(watch, "watch")?;
            let out = self::out(out)?;
            let callback = Callback::new(callback, user_data)?;
            let operation = self::operation(operation)?;
            let request = request.text("request")?.as_bytes();
            let place = Arc::new(WatchCell::default());
            let id = id_place(request_id);
            let given = rstmdb_watch { place: place.clone(), requests: db.requests().clone() };
            match db.database().watch_start_json(operation, request) {
                Started::Ready(begun) => {
                    let (result, begun) = begun?;
                    *out = rstmdb_buffer::of(result);
                    place.begin(begun);
                    *handle = Box::into_raw(Box::new(given));
                    Ok(RSTMDB_OK)
                }
                Started::Waiting(waiting) => {
                    *handle = Box::into_raw(Box::new(given));
                    db.requests().call_back(waiting, id, move |begun| {
                        callback.run(begun.map(|(result, begun)| {
                            // A handle that was freed meanwhile leaves the place, and the watch, to this.
                            place.begin(begun);
                            (RSTMDB_OK, result)
                        }));
                    });
                    Ok(RSTMDB_PENDING)
                }
            }
        })
    }
}

/// Waits for the next events, at most `timeout_ms` milliseconds; a negative time is for ever.
///
/// `RSTMDB_OK`: `*out` is a JSON list of 1 to `events_max` events, 10,000 at most, or `[]` when the time passed.
/// `RSTMDB_ENDED`: the watch has ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rstmdb_watch_next(
    watch: *const rstmdb_watch,
    events_max: u32,
    timeout_ms: i64,
    out: *mut rstmdb_buffer,
    err: *mut *mut rstmdb_error,
) -> i32 {
    // SAFETY: the caller gives pointers that are NULL or what their names say.
    unsafe {
        answer(err, || {
            let watch = handle(watch, "watch")?;
            let out = self::out(out)?;
            let Some(watch) = watch.watch()? else { return Ok(RSTMDB_ENDED) };
            let events = match watch.next_start(count(events_max)) {
                Started::Ready(events) => events?,
                Started::Waiting(waiting) => match u64::try_from(timeout_ms) {
                    Err(_) => waiting.wait()?,
                    Ok(ms) => match waiting.wait_timeout(Duration::from_millis(ms)) {
                        Ok(events) => events?,
                        Err(_) => {
                            *out = rstmdb_buffer::of("[]".to_owned());
                            return Ok(RSTMDB_OK);
                        }
                    },
                },
            };
            let (status, text) = tell(events);
            *out = rstmdb_buffer::of(text);
            Ok(status)
        })
    }
}

/// As `rstmdb_watch_next`, without waiting: `RSTMDB_OK` or `RSTMDB_ENDED` when that is known at once, else
/// `RSTMDB_PENDING`, and the callback tells. Cancelling it loses no event.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rstmdb_watch_next_submit(
    watch: *const rstmdb_watch,
    events_max: u32,
    callback: rstmdb_callback,
    user_data: *mut c_void,
    request_id: *mut u64,
    out: *mut rstmdb_buffer,
    err: *mut *mut rstmdb_error,
) -> i32 {
    // SAFETY: the caller gives pointers that are NULL or what their names say.
    unsafe {
        answer(err, || {
            let handle = handle(watch, "watch")?;
            let out = self::out(out)?;
            let callback = Callback::new(callback, user_data)?;
            let id = id_place(request_id);
            let Some(watch) = handle.watch()? else { return Ok(RSTMDB_ENDED) };
            match watch.next_start(count(events_max)) {
                Started::Ready(events) => {
                    let (status, text) = tell(events?);
                    *out = rstmdb_buffer::of(text);
                    Ok(status)
                }
                Started::Waiting(waiting) => {
                    handle.requests.call_back(waiting, id, move |events| {
                        callback.run(events.map(tell));
                    });
                    Ok(RSTMDB_PENDING)
                }
            }
        })
    }
}

/// The offset to resume from after the events received so far; 0 for NULL and before the watch began.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rstmdb_watch_resume_offset(watch: *const rstmdb_watch) -> u64 {
    // SAFETY: NULL, or a watch that was not freed.
    let watch = unsafe { watch.as_ref() }.and_then(|watch| watch.place.watch.get());
    let offset = rstmdb_bridge::guard(|| Ok(watch.map_or(0, |watch| watch.position().next)));
    offset.unwrap_or(0)
}

/// The history that the change before that offset belongs to: the `history_id` that goes with it. Empty where
/// nobody has told it. Free it with `rstmdb_buffer_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rstmdb_watch_history_id(watch: *const rstmdb_watch) -> rstmdb_buffer {
    // SAFETY: NULL, or a watch that was not freed.
    let watch = unsafe { watch.as_ref() }.and_then(|watch| watch.place.watch.get());
    let id = rstmdb_bridge::guard(|| Ok(watch.and_then(|watch| watch.position().history_id)));
    let id = id.ok().flatten().map(String::from);
    rstmdb_buffer::of(id.unwrap_or_default())
}

/// Ends a watch: whoever waits for its events gets `RSTMDB_ENDED`. Ending it twice, or NULL, is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rstmdb_unwatch(watch: *const rstmdb_watch) {
    // SAFETY: NULL, or a watch that was not freed.
    let watch = unsafe { watch.as_ref() };
    let ended = rstmdb_bridge::guard(|| {
        if let Some(watch) = watch {
            watch.place.end();
        }
        Ok(())
    });
    drop(ended);
}

/// Ends and frees a watch. NULL is fine. A callback that waits for its events still runs, with
/// `RSTMDB_ENDED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rstmdb_watch_free(watch: *mut rstmdb_watch) {
    if watch.is_null() {
        return;
    }
    // SAFETY: the caller frees it once.
    unsafe {
        rstmdb_unwatch(watch);
        let watch = Box::from_raw(watch);
        let dropped = rstmdb_bridge::guard(|| {
            drop(watch);
            Ok(())
        });
        drop(dropped);
    }
}

fn count(events_max: u32) -> usize {
    usize::try_from(events_max).unwrap_or(usize::MAX)
}

fn tell(events: Option<Events>) -> (i32, String) {
    match events {
        Some(events) => (RSTMDB_OK, events.take_json()),
        None => (RSTMDB_ENDED, String::new()),
    }
}
