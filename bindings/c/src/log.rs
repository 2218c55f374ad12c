//! Messages of the library.

use std::ffi::c_void;
use std::sync::Arc;

use rstmdb_bridge::log::{LogLevel, Receiver, set};

use crate::boundary::{RSTMDB_OK, answer};
use crate::error::rstmdb_error;
use crate::memory::{misused, rstmdb_slice};

/// Receives a message: its level from 1, an error, to 5, a trace; the part it comes from; its text. The
/// slices live during the call. It runs on the thread that has something to say, several at once
/// perhaps, and may not call functions of this library.
pub type rstmdb_log_callback = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        level: i32,
        target: rstmdb_slice,
        message: rstmdb_slice,
    ),
>;

struct LogReceiver {
    run: unsafe extern "C" fn(*mut c_void, i32, rstmdb_slice, rstmdb_slice),
    user_data: *mut c_void,
}

// SAFETY: the caller's function is called on other threads, as the header says.
unsafe impl Send for LogReceiver {}
// SAFETY: and on several at once.
unsafe impl Sync for LogReceiver {}

impl LogReceiver {
    fn tell(&self, level: LogLevel, target: &str, message: &str) {
        let number = LEVELS.iter().zip(1..).find(|(known, _)| **known == level);
        let number = number.map_or(5, |(_, number)| number);
        // SAFETY: the caller gave a function of this type, for as long as it is set.
        unsafe {
            (self.run)(self.user_data, number, rstmdb_slice::of(target), rstmdb_slice::of(message));
        }
    }
}

const LEVELS: [LogLevel; 5] =
    [LogLevel::ERROR, LogLevel::WARN, LogLevel::INFO, LogLevel::DEBUG, LogLevel::TRACE];

/// Has messages sent to `callback`: 1 errors alone, 2 warnings too, 3 information, 4 debugging, 5 traces.
/// 0, or NULL for `callback`, ends that; a message that is being told may still arrive then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rstmdb_set_log(
    level: i32,
    callback: rstmdb_log_callback,
    user_data: *mut c_void,
    err: *mut *mut rstmdb_error,
) -> i32 {
    // SAFETY: `err` is NULL or may be written to.
    unsafe {
        answer(err, || {
            if !(0..=5).contains(&level) {
                return Err(misused("level", "must be from 0 to 5"));
            }
            let chosen = usize::try_from(level - 1).ok().and_then(|at| LEVELS.get(at).copied());
            let receiver = match (chosen, callback) {
                (Some(_), Some(run)) => {
                    let target = LogReceiver { run, user_data };
                    let receiver: Receiver =
                        Arc::new(move |level, part, text| target.tell(level, part, text));
                    Some(receiver)
                }
                _ => None,
            };
            set(chosen.unwrap_or(LogLevel::ERROR), receiver)?;
            Ok(RSTMDB_OK)
        })
    }
}
