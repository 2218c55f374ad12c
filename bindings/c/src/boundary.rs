//! What every function does at its edge: pointers, panics, statuses.

use rstmdb_bridge::types::Result;

use crate::error::rstmdb_error;
use crate::memory::{misused, rstmdb_buffer};

/// The operation succeeded.
pub const RSTMDB_OK: i32 = 0;
/// The outcome comes by callback.
pub const RSTMDB_PENDING: i32 = -1;
/// The watch has ended: there are no more events.
pub const RSTMDB_ENDED: i32 = -2;

/// Runs the body of a function. An error, or a panic, goes to `err` where that is not NULL, and its
/// number is returned.
///
/// # Safety
/// `err` is NULL or may be written to.
pub(crate) unsafe fn answer(
    err: *mut *mut rstmdb_error,
    body: impl FnOnce() -> Result<i32>,
) -> i32 {
    // SAFETY: the caller vouches for it.
    let place = unsafe { err.as_mut() };
    match (rstmdb_bridge::guard(body), place) {
        (Ok(status), place) => {
            if let Some(place) = place {
                *place = std::ptr::null_mut();
            }
            status
        }
        (Err(error), place) => {
            let number = error.code() as i32;
            if let Some(place) = place {
                *place = rstmdb_error::give(error);
            }
            number
        }
    }
}

/// A handle that must be there.
///
/// # Safety
/// `pointer` is NULL or points to a live `T`.
pub(crate) unsafe fn handle<'a, T>(pointer: *const T, name: &str) -> Result<&'a T> {
    // SAFETY: the caller vouches for it.
    unsafe { pointer.as_ref() }.ok_or_else(|| misused(name, "is NULL"))
}

/// A place for a result, which must be there.
///
/// # Safety
/// `pointer` is NULL or may be written to.
pub(crate) unsafe fn place<'a, T>(pointer: *mut T, name: &str) -> Result<&'a mut T> {
    // SAFETY: the caller vouches for it.
    unsafe { pointer.as_mut() }.ok_or_else(|| misused(name, "is NULL"))
}

/// A place for text, emptied.
///
/// # Safety
/// `out` is NULL or may be written to; its content may be uninitialised.
pub(crate) unsafe fn out<'a>(out: *mut rstmdb_buffer) -> Result<&'a mut rstmdb_buffer> {
    if out.is_null() {
        return Err(misused("out", "is NULL"));
    }
    // SAFETY: not NULL, and the caller vouches for the rest; plain numbers need no drop.
    unsafe {
        out.write(rstmdb_buffer::EMPTY);
        Ok(&mut *out)
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
