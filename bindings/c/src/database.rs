//! Opening, closing and freeing a database.

use std::ffi::c_void;
use std::sync::Arc;

use rstmdb_bridge::{Database, Started, on_callback_thread, types};

use crate::boundary::{RSTMDB_OK, answer, handle, handle_place};
use crate::callback::{Callback, Requests, begin, rstmdb_callback};
use crate::error::rstmdb_error;
use crate::memory::rstmdb_slice;

/// The version of this interface; it changes when a program must be compiled anew.
pub const RSTMDB_ABI_VERSION: u32 = 1;

/// A database. Any number of threads may use it at once.
pub struct rstmdb_db {
    database: Database,
    requests: Arc<Requests>,
}

impl rstmdb_db {
    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    pub(crate) fn requests(&self) -> &Arc<Requests> {
        &self.requests
    }

    fn give(database: Database) -> *mut rstmdb_db {
        Box::into_raw(Box::new(rstmdb_db { database, requests: Requests::new() }))
    }
}

/// The `RSTMDB_ABI_VERSION` that the library was built with; compare it with that of the header.
#[unsafe(no_mangle)]
pub extern "C" fn rstmdb_abi_version() -> u32 {
    RSTMDB_ABI_VERSION
}

/// The version of rstmdb, that of its packages. Lives for ever.
#[unsafe(no_mangle)]
pub extern "C" fn rstmdb_version() -> rstmdb_slice {
    rstmdb_slice::of(env!("CARGO_PKG_VERSION"))
}

/// Opens a database and waits until it is open.
///
/// `url` is a path, `file:PATH`, `mem:`, `rstmdb://[TOKEN@]HOST[:PORT]` or `rstmdbs://…`. `options` is a
/// JSON object, or empty for the defaults. Free `*db` with `rstmdb_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rstmdb_open(
    url: rstmdb_slice,
    options: rstmdb_slice,
    db: *mut *mut rstmdb_db,
    err: *mut *mut rstmdb_error,
) -> i32 {
    // SAFETY: the caller gives pointers that are NULL or what their names say.
    unsafe {
        answer(err, || {
            let place = handle_place(db, "db")?;
            let database = Database::open(url.text("url")?, options.text("options")?)?;
            *place = rstmdb_db::give(database);
            Ok(RSTMDB_OK)
        })
    }
}

/// Starts to open a database. `*db` is there at once, and answers with kind `closed` until it is open.
/// Free it with `rstmdb_free` in any case, but where this returns the number of an error: then it is NULL.
///
/// `RSTMDB_OK`: it is open, and the callback will not run. `RSTMDB_PENDING`: the callback tells, once;
/// its result is empty.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rstmdb_open_submit(
    url: rstmdb_slice,
    options: rstmdb_slice,
    callback: rstmdb_callback,
    user_data: *mut c_void,
    db: *mut *mut rstmdb_db,
    request_id: *mut u64,
    err: *mut *mut rstmdb_error,
) -> i32 {
    // SAFETY: the caller gives pointers that are NULL or what their names say.
    unsafe {
        answer(err, || {
            let place = handle_place(db, "db")?;
            let callback = Callback::new(callback, user_data)?;
            let options = options.text("options")?;
            let (database, started) = Database::open_start(url.text("url")?, options)?;
            let given = rstmdb_db { database, requests: Requests::new() };
            let requests = given.requests.clone();
            // The callback may run at once, and its caller may look for the handle then.
            *place = Box::into_raw(Box::new(given));
            let begun = begin(started, &requests, callback, request_id);
            if begun.is_err() {
                drop(Box::from_raw(std::mem::replace(place, std::ptr::null_mut())));
            }
            begun
        })
    }
}

/// Closes a database: waits until every write is settled and every callback ran. None runs after it
/// returned, and every other function answers with kind `closed` from then on. Closing twice is fine. From inside a
/// callback it is refused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rstmdb_close(db: *const rstmdb_db, err: *mut *mut rstmdb_error) -> i32 {
    // SAFETY: the caller gives pointers that are NULL or what their names say.
    unsafe {
        answer(err, || {
            handle(db, "db")?.database.close()?;
            Ok(RSTMDB_OK)
        })
    }
}

/// Starts to close a database; its callback comes after those of all operations. `RSTMDB_OK`: it is
/// closed, and the callback will not run. Fit for callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rstmdb_close_submit(
    db: *const rstmdb_db,
    callback: rstmdb_callback,
    user_data: *mut c_void,
    err: *mut *mut rstmdb_error,
) -> i32 {
    // SAFETY: the caller gives pointers that are NULL or what their names say.
    unsafe {
        answer(err, || {
            let db = handle(db, "db")?;
            let callback = Callback::new(callback, user_data)?;
            begin(db.database.close_start(), &db.requests, callback, std::ptr::null_mut())
        })
    }
}

/// Frees a database, and closes it when that was not done: then it waits as `rstmdb_close` does. NULL
/// is fine. Nobody else may be using the handle; watches may outlive it. Inside a callback, where waiting
/// would be for itself, it starts to close and returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rstmdb_free(db: *mut rstmdb_db) {
    if db.is_null() {
        return;
    }
    // SAFETY: it came from one of the functions above, and the caller frees it once.
    let db = unsafe { Box::from_raw(db) };
    let closed = rstmdb_bridge::guard(|| {
        if !on_callback_thread() {
            return db.database.close();
        }
        if let Started::Waiting(waiting) = db.database.close_start() {
            drop(waiting.finish(drop));
        }
        Ok(())
    });
    // There is nobody to tell; a caller who wants to know closes first.
    drop(closed);
    let dropped = rstmdb_bridge::guard(|| {
        drop(db);
        types::Result::Ok(())
    });
    drop(dropped);
}

/// Moves the clock of a database on that was opened with the option `manual_clock_ms`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rstmdb_advance_clock(
    db: *const rstmdb_db,
    ms: i64,
    err: *mut *mut rstmdb_error,
) -> i32 {
    // SAFETY: the caller gives pointers that are NULL or what their names say.
    unsafe {
        answer(err, || {
            handle(db, "db")?.database.advance_clock(ms)?;
            Ok(RSTMDB_OK)
        })
    }
}
