//! Requests whose outcome comes by callback, and giving them up.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rstmdb_bridge::types::error::reason;
use rstmdb_bridge::types::{Error, Operation, Result};
use rstmdb_bridge::{Started, Ticket, Waiting};

use crate::boundary::{RSTMDB_OK, RSTMDB_PENDING, answer, handle, out, place};
use crate::database::rstmdb_db;
use crate::error::rstmdb_error;
use crate::memory::{misused, rstmdb_buffer, rstmdb_slice};

/// Receives an outcome, once, on a thread of the library and under no lock. `status` is `RSTMDB_OK` and
/// `result` is there, or it is the number of `error`, or it is `RSTMDB_ENDED`. What it receives
/// belongs to it: `rstmdb_buffer_free`, `rstmdb_error_free`. It may call any function but `rstmdb_close`,
/// and should not take long: the next callback waits for it.
pub type rstmdb_callback = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        status: i32,
        result: rstmdb_buffer,
        error: *mut rstmdb_error,
    ),
>;

/// Starts an operation, one of `RSTMDB_OPERATION_…` but the watches, without waiting for its outcome.
///
/// `RSTMDB_OK`: it is done, `*out` is its result, and the callback will not run. `RSTMDB_PENDING`: the
/// callback runs once, perhaps before this returns, unless `rstmdb_cancel` returns 1. Otherwise it is
/// the number of an error, and the callback will not run.
///
/// `request_id` may be NULL when nothing will be cancelled; it becomes 0 where no callback is to come.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rstmdb_submit(
    db: *const rstmdb_db,
    operation: i32,
    request: rstmdb_slice,
    callback: rstmdb_callback,
    user_data: *mut c_void,
    request_id: *mut u64,
    out: *mut rstmdb_buffer,
    err: *mut *mut rstmdb_error,
) -> i32 {
    // SAFETY: the caller gives pointers that are NULL or what their names say.
    unsafe {
        answer(err, || {
            let db = handle(db, "db")?;
            let out = self::out(out)?;
            let callback = Callback::new(callback, user_data)?;
            let operation = self::operation(operation)?;
            let request = request.text("request")?.as_bytes();
            let id = id_place(request_id);
            match db.database().start_json(operation, request) {
                Started::Ready(result) => {
                    *out = rstmdb_buffer::of(result?);
                    Ok(RSTMDB_OK)
                }
                Started::Waiting(waiting) => {
                    db.requests().call_back(waiting, id, move |result| {
                        callback.run(result.map(|text| (RSTMDB_OK, text)));
                    });
                    Ok(RSTMDB_PENDING)
                }
            }
        })
    }
}

/// Gives up the waiting for a request. 1: its callback will not run, and `user_data` is the caller's
/// again. 0: its callback ran, or is running, or there is no such request.
///
/// A write that was started goes on; its outcome can be read, or asked for with its idempotency key.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rstmdb_cancel(db: *const rstmdb_db, request_id: u64) -> i32 {
    // SAFETY: NULL, or a handle that was not freed.
    let Some(db) = (unsafe { db.as_ref() }) else { return 0 };
    if db.database().is_inherited() {
        // A thread that this process does not have may hold the lock.
        return 0;
    }
    let cancelled = rstmdb_bridge::guard(|| Ok(db.requests().cancel(request_id)));
    i32::from(cancelled.unwrap_or(false))
}

pub(crate) fn operation(number: i32) -> Result<Operation> {
    let found = Operation::ALL.iter().find(|operation| **operation as i32 == number);
    found.copied().ok_or_else(|| {
        let message = format!("there is no operation with number {number}");
        Error::invalid(reason::INVALID_REQUEST, message).with("argument", "operation")
    })
}

/// A function of the caller, and what it wants to be told.
pub(crate) struct Callback {
    run: unsafe extern "C" fn(*mut c_void, i32, rstmdb_buffer, *mut rstmdb_error),
    user_data: *mut c_void,
}

// SAFETY: the caller's function is called on another thread, as the header says.
unsafe impl Send for Callback {}

impl Callback {
    pub(crate) fn new(callback: rstmdb_callback, user_data: *mut c_void) -> Result<Callback> {
        let run = callback.ok_or_else(|| misused("callback", "is NULL"))?;
        Ok(Callback { run, user_data })
    }

    /// Hands an outcome over: a status that is no error with its text, or an error.
    pub(crate) fn run(self, outcome: Result<(i32, String)>) {
        let (status, result, error) = match outcome {
            Ok((status, text)) => (status, rstmdb_buffer::of(text), std::ptr::null_mut()),
            Err(error) => (error.code() as i32, rstmdb_buffer::EMPTY, rstmdb_error::give(error)),
        };
        // SAFETY: the caller gave a function of this type, to be called once with its data.
        unsafe { (self.run)(self.user_data, status, result, error) }
    }
}

/// The requests that can be given up. Several locks, so that many threads do not wait for one.
pub(crate) struct Requests {
    next: AtomicU64,
    shards: [Mutex<HashMap<u64, Ticket>>; 16],
}

impl Requests {
    pub(crate) fn new() -> Arc<Requests> {
        Arc::new(Requests { next: AtomicU64::new(1), shards: Default::default() })
    }

    fn shard(&self, id: u64) -> &Mutex<HashMap<u64, Ticket>> {
        let [first, ..] = &self.shards;
        usize::try_from(id % 16).ok().and_then(|at| self.shards.get(at)).unwrap_or(first)
    }

    /// Waits for an outcome by callback; its id goes to `place`, before the callback can run.
    pub(crate) fn call_back<T: Send + 'static>(
        self: &Arc<Self>,
        waiting: Waiting<T>,
        place: Option<&mut u64>,
        done: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        let Some(place) = place else {
            waiting.finish(done);
            return;
        };
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        *place = id;
        let requests = self.clone();
        // The callback takes the ticket out, so it must not come before the ticket is in.
        let mut shard = self.shard(id).lock();
        let ticket = waiting.finish(move |result| {
            let ticket = requests.shard(id).lock().remove(&id);
            drop(ticket);
            done(result);
        });
        shard.insert(id, ticket);
    }

    fn cancel(&self, id: u64) -> bool {
        let ticket = self.shard(id).lock().remove(&id);
        ticket.is_some_and(|ticket| ticket.cancel())
    }
}

/// What `rstmdb_close_submit` and `rstmdb_open_submit` give back: nothing, or an error, by callback.
///
/// # Safety
/// `request_id` is NULL or may be written to.
pub(crate) unsafe fn begin(
    started: Started<()>,
    requests: &Arc<Requests>,
    callback: Callback,
    request_id: *mut u64,
) -> Result<i32> {
    // SAFETY: the caller vouches for it.
    let id = unsafe { id_place(request_id) };
    match started {
        Started::Ready(result) => result.map(|()| RSTMDB_OK),
        Started::Waiting(waiting) => {
            requests.call_back(waiting, id, move |result| {
                callback.run(result.map(|()| (RSTMDB_OK, String::new())));
            });
            Ok(RSTMDB_PENDING)
        }
    }
}

/// Runs an operation and waits for it: the body of the functions that are named after operations.
///
/// # Safety
/// The pointers are NULL or what their names say.
pub(crate) unsafe fn call(
    db: *const rstmdb_db,
    operation: Operation,
    request: rstmdb_slice,
    out: *mut rstmdb_buffer,
    err: *mut *mut rstmdb_error,
) -> i32 {
    // SAFETY: the caller vouches for it.
    unsafe {
        answer(err, || {
            let db = handle(db, "db")?;
            let out = self::out(out)?;
            let request = request.text("request")?.as_bytes();
            *out = rstmdb_buffer::of(db.database().call_json(operation, request)?);
            Ok(RSTMDB_OK)
        })
    }
}

/// A place for the id of a request, which is 0 until there is one.
///
/// # Safety
/// `pointer` is NULL or may be written to.
pub(crate) unsafe fn id_place<'a>(pointer: *mut u64) -> Option<&'a mut u64> {
    // SAFETY: the caller vouches for it.
    let place = unsafe { pointer.as_mut() }?;
    *place = 0;
    Some(place)
}

/// A place for a handle, set to NULL.
///
/// # Safety
/// `pointer` is NULL or may be written to.
pub(crate) unsafe fn handle_place<'a, T>(
    pointer: *mut *mut T,
    name: &str,
) -> Result<&'a mut *mut T> {
    // SAFETY: the caller vouches for it.
    let place = unsafe { place(pointer, name) }?;
    *place = std::ptr::null_mut();
    Ok(place)
}
