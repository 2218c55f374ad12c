//! Starting any operation, and giving requests up.

use std::ffi::c_void;

use rstmdb_bridge::Started;
use rstmdb_bridge::types::error::reason;
use rstmdb_bridge::types::{Error, Operation, Result};

use crate::boundary::{RSTMDB_OK, RSTMDB_PENDING, answer, handle, id_place, out};
use crate::callback::{Callback, rstmdb_callback};
use crate::database::rstmdb_db;
use crate::error::rstmdb_error;
use crate::memory::{rstmdb_buffer, rstmdb_slice};

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
