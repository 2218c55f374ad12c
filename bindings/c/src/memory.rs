//! Bytes that cross the boundary: borrowed slices and owned buffers.

use std::mem::ManuallyDrop;

use rstmdb_bridge::types::error::reason;
use rstmdb_bridge::types::{Error, Result};

/// Borrowed bytes: UTF-8, not terminated by NUL. `data` may be NULL when `len` is 0.
///
/// One that is passed is read during the call alone. One that is returned lives as long as its
/// function says.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rstmdb_slice {
    /// The first byte.
    pub data: *const u8,
    /// The number of bytes.
    pub len: usize,
}

/// Owned bytes: UTF-8, not terminated by NUL. Give them back with `rstmdb_buffer_free`.
#[repr(C)]
#[derive(Debug)]
pub struct rstmdb_buffer {
    /// The first byte; NULL when there are none.
    pub data: *mut u8,
    /// The number of bytes.
    pub len: usize,
    /// Bytes that were allocated; only `rstmdb_buffer_free` needs it.
    pub capacity: usize,
}

impl rstmdb_slice {
    pub(crate) fn of(text: &str) -> rstmdb_slice {
        rstmdb_slice { data: text.as_ptr(), len: text.len() }
    }

    /// The bytes.
    ///
    /// # Safety
    /// `data` points to `len` bytes that nobody writes while the result lives, or `len` is 0.
    pub(crate) unsafe fn bytes<'a>(self, name: &str) -> Result<&'a [u8]> {
        if self.len == 0 {
            return Ok(&[]);
        }
        if self.data.is_null() || isize::try_from(self.len).is_err() {
            return Err(misused(name, "is NULL, but its length is not 0"));
        }
        // SAFETY: not NULL, not larger than memory, and the caller vouches for the rest.
        Ok(unsafe { std::slice::from_raw_parts(self.data, self.len) })
    }

    /// The text.
    ///
    /// # Safety
    /// As for `bytes`.
    pub(crate) unsafe fn text<'a>(self, name: &str) -> Result<&'a str> {
        // SAFETY: the caller vouches for it.
        let bytes = unsafe { self.bytes(name) }?;
        std::str::from_utf8(bytes).map_err(|error| misused(name, &format!("is not UTF-8: {error}")))
    }
}

impl rstmdb_buffer {
    pub(crate) const EMPTY: rstmdb_buffer =
        rstmdb_buffer { data: std::ptr::null_mut(), len: 0, capacity: 0 };

    pub(crate) fn of(text: String) -> rstmdb_buffer {
        let mut bytes = ManuallyDrop::new(text.into_bytes());
        if bytes.capacity() == 0 {
            return rstmdb_buffer::EMPTY;
        }
        rstmdb_buffer { data: bytes.as_mut_ptr(), len: bytes.len(), capacity: bytes.capacity() }
    }
}

/// Gives the bytes of a buffer back. An empty buffer is fine; giving the same bytes back twice is not.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rstmdb_buffer_free(buffer: rstmdb_buffer) {
    if !buffer.data.is_null() {
        // SAFETY: the three were taken from such a vector, and the caller gives it back once.
        drop(unsafe { Vec::from_raw_parts(buffer.data, buffer.len, buffer.capacity) });
    }
}

/// An argument that can't be used.
pub(crate) fn misused(name: &str, what: &str) -> Error {
    Error::invalid(reason::INVALID_REQUEST, format!("argument {name} {what}"))
        .with("argument", name.to_owned())
}
