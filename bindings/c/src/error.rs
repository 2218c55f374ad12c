//! Errors as opaque handles with accessors.

use rstmdb_bridge::types::Error;

use crate::memory::rstmdb_slice;

/// An error. Free it with `rstmdb_error_free`.
pub struct rstmdb_error {
    error: Error,
    context: String,
    json: String,
}

impl rstmdb_error {
    pub(crate) fn give(error: Error) -> *mut rstmdb_error {
        let context = rstmdb_bridge::context_json(&error);
        let json = rstmdb_bridge::error_json(&error);
        Box::into_raw(Box::new(rstmdb_error { error, context, json }))
    }
}

/// The error's members.
///
/// # Safety
/// `error` is NULL or an error that was not freed.
unsafe fn text<'a>(
    error: *const rstmdb_error,
    member: impl FnOnce(&'a rstmdb_error) -> &'a str,
) -> rstmdb_slice {
    // SAFETY: the caller vouches for it.
    rstmdb_slice::of(unsafe { error.as_ref() }.map_or("", member))
}

/// The number of the code, one of `RSTMDB_ERROR_…`; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rstmdb_error_code(error: *const rstmdb_error) -> i32 {
    // SAFETY: NULL, or an error that the caller did not free.
    unsafe { error.as_ref() }.map_or(0, |error| error.error.code() as i32)
}

/// The number of the kind, one of `RSTMDB_KIND_…`; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rstmdb_error_kind(error: *const rstmdb_error) -> i32 {
    // SAFETY: NULL, or an error that the caller did not free.
    unsafe { error.as_ref() }.map_or(0, |error| i32::from(error.error.kind().exit_code()))
}

/// Whether the same request may succeed later without a change; false for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rstmdb_error_retryable(error: *const rstmdb_error) -> bool {
    // SAFETY: NULL, or an error that the caller did not free.
    unsafe { error.as_ref() }.is_some_and(|error| error.error.retryable())
}

/// The name of the code, such as `GUARD_FAILED`. Lives as long as the error; empty for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rstmdb_error_code_name(error: *const rstmdb_error) -> rstmdb_slice {
    // SAFETY: NULL, or an error that the caller did not free.
    unsafe { text(error, |error| error.error.code().as_str()) }
}

/// The name of the kind, such as `not_found`. Lives as long as the error; empty for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rstmdb_error_kind_name(error: *const rstmdb_error) -> rstmdb_slice {
    // SAFETY: NULL, or an error that the caller did not free.
    unsafe { text(error, |error| error.error.kind().as_str()) }
}

/// The finer distinction within the code, or empty. Lives as long as the error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rstmdb_error_reason(error: *const rstmdb_error) -> rstmdb_slice {
    // SAFETY: NULL, or an error that the caller did not free.
    unsafe { text(error, |error| error.error.reason().unwrap_or_default()) }
}

/// What happened and what helps, for people. Lives as long as the error; empty for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rstmdb_error_message(error: *const rstmdb_error) -> rstmdb_slice {
    // SAFETY: NULL, or an error that the caller did not free.
    unsafe { text(error, |error| error.error.message()) }
}

/// The wire name of the operation, or empty. Lives as long as the error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rstmdb_error_operation(error: *const rstmdb_error) -> rstmdb_slice {
    // SAFETY: NULL, or an error that the caller did not free.
    unsafe { text(error, |error| error.error.operation().unwrap_or_default()) }
}

/// The facts, a JSON object. Lives as long as the error; empty for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rstmdb_error_context(error: *const rstmdb_error) -> rstmdb_slice {
    // SAFETY: NULL, or an error that the caller did not free.
    unsafe { text(error, |error| &error.context) }
}

/// All of the error as a JSON object with `code`, `number`, `kind`, `reason`, `message`,
/// `retryable`, `operation` and `context`. Lives as long as the error; empty for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rstmdb_error_json(error: *const rstmdb_error) -> rstmdb_slice {
    // SAFETY: NULL, or an error that the caller did not free.
    unsafe { text(error, |error| &error.json) }
}

/// Frees an error. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rstmdb_error_free(error: *mut rstmdb_error) {
    if !error.is_null() {
        // SAFETY: it came from `give`, and the caller frees it once.
        drop(unsafe { Box::from_raw(error) });
    }
}
