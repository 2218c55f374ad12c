//! Error answers as the server's operator sees them: counted, and those that are no client's doing logged,
//! however many clients get them.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode};

/// The same failure is not logged more often.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// What of an error is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountedError {
    /// Its code.
    pub code: ErrorCode,
    /// Why the log took no write, where that is what it says.
    pub refused_write: Option<&'static str>,
}

impl CountedError {
    /// Of the end of a watch, where that is no client's doing; it is logged.
    pub(crate) fn of_end(error: &Error) -> Option<CountedError> {
        is_grave(error).then(|| CountedError::of(error))
    }

    /// Of an error that a client is told; a grave one is logged.
    pub(crate) fn of(error: &Error) -> CountedError {
        let code = error.code();
        let known = reason::ALL.iter().map(|(name, _)| *name);
        let reason = || known.clone().find(|known| Some(*known) == error.reason());
        let refused_write = (code == ErrorCode::WalIoError).then(|| reason().unwrap_or("other"));
        if is_grave(error) {
            report(error, reason());
        }
        CountedError { code, refused_write }
    }
}

/// Whether somebody should look at the server.
fn is_grave(error: &Error) -> bool {
    match error.code() {
        ErrorCode::WalIoError => error.reason() != Some(reason::REOPENING),
        ErrorCode::InternalError => !matches!(
            error.reason(),
            Some(reason::ANSWER_TOO_LARGE | reason::CLOSED | reason::CANCELLED)
        ),
        _ => false,
    }
}

/// One kind of failure that was logged.
struct Report {
    code: ErrorCode,
    reason: Option<&'static str>,
    at: Instant,
    /// Those that were not logged since.
    unsaid: u64,
}

/// Of the process, as its log is.
static REPORTS: Mutex<Vec<Report>> = Mutex::new(Vec::new());

/// Logs the first of its kind, and then one now and then, with how many there were.
fn report(error: &Error, reason: Option<&'static str>) {
    let (code, now) = (error.code(), Instant::now());
    let mut reports = REPORTS.lock();
    let known = reports.iter_mut().find(|report| report.code == code && report.reason == reason);
    let unsaid = match known {
        Some(report) if now - report.at < REPORT_INTERVAL => {
            report.unsaid += 1;
            return;
        }
        Some(report) => {
            report.at = now;
            std::mem::take(&mut report.unsaid)
        }
        None => {
            reports.push(Report { code, reason, at: now, unsaid: 0 });
            0
        }
    };
    drop(reports);
    tracing::error!(%code, reason, more_before = unsaid, "a request failed: {}", error.message());
}
