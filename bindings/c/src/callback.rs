//! Outcomes that come by callback, and what is kept to give them up.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rstmdb_bridge::types::Result;
use rstmdb_bridge::{CallbackTicket, Started, Waiting};

use crate::boundary::{RSTMDB_OK, RSTMDB_PENDING, id_place};
use crate::error::rstmdb_error;
use crate::memory::{misused, rstmdb_buffer};

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

/// Runs once after a group of callbacks.
pub type rstmdb_after = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

/// Inside a callback: has `after` run once, on the same thread, after the last callback of those that come
/// together, as all do whose writes one sync covers. Returns 1, or 0 outside of a callback and when
/// `after` is NULL: then it will not run.
///
/// For what is worth doing once for many outcomes: to take a lock, to wake a loop, to enter another language.
/// What `rstmdb_submit` begins in callbacks, and in `after`, is written together when `after` has returned, or
/// some milliseconds after it was begun when that takes longer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rstmdb_after_callbacks(
    after: rstmdb_after,
    user_data: *mut c_void,
) -> i32 {
    let Some(run) = after else { return 0 };
    // SAFETY: the caller gave a function of this type, to be called once with its data, on this thread.
    let after = Box::new(move || unsafe { run(user_data) });
    i32::from(rstmdb_bridge::after_group(after).is_ok())
}

/// The requests that can be given up. Several locks, so that many threads do not wait for one.
pub(crate) struct Requests {
    next: AtomicU64,
    shards: [Mutex<HashMap<u64, CallbackTicket>>; 16],
}

impl Requests {
    pub(crate) fn new() -> Arc<Requests> {
        Arc::new(Requests { next: AtomicU64::new(1), shards: Default::default() })
    }

    fn shard(&self, id: u64) -> &Mutex<HashMap<u64, CallbackTicket>> {
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

    pub(crate) fn cancel(&self, id: u64) -> bool {
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
