//! `ping`: whether the database answers; `--wait` until it does.

use std::time::{Duration, Instant};

use clap::Args;
use rstmdb::units::two_times;
use rstmdb::{Error, ErrorCode, ErrorKind, PingRequest, PingResult, Result};

use crate::error::{CommandResult, Failure};
use crate::interrupt;
use crate::place::Target;
use crate::session::CliSession;

/// The pause after a failed attempt, at first and at most.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Answer PONG when the database is alive.
///
/// With --wait it tries until the database answers, for scripts that start a server and go on. A
/// wrong token or certificate ends the waiting: that does not pass.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli ping
  rstmdb-cli -s db:7401 ping --wait --timeout 1m
  rstmdb-cli --path mem: ping --output json")]
pub(crate) struct Ping {
    /// Try again until the database answers.
    #[arg(long)]
    wait: bool,
    /// How long to try, such as 500ms, 30s or 2m; the exit code is 8 after that.
    #[arg(long, default_value = "30s", value_parser = duration,
        requires = "wait", value_name = "DURATION")]
    timeout: Duration,
}

/// A time as people write it, if it has one reading.
fn duration(text: &str) -> std::result::Result<Duration, String> {
    match two_times(text) {
        Some(problem) => Err(problem),
        None => humantime::parse_duration(text).map_err(|problem| problem.to_string()),
    }
}

impl Ping {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let result = match self.wait {
            false => ping(session)?,
            true => self.insist(session)?,
        };
        session.output.show(&result, |_| "PONG".to_owned())
    }

    fn insist(&self, session: &mut CliSession) -> CommandResult<PingResult> {
        let interrupt = interrupt::listen();
        let began = Instant::now();
        let patience = match &mut session.place {
            Target::There(options) => {
                let before = (options.connect_timeout, options.request_timeout);
                // One attempt must not outlast them all; zero would be for ever.
                let most = self.timeout.max(Duration::from_millis(1));
                let bounded = |time: Duration| if time.is_zero() { most } else { time.min(most) };
                options.connect_timeout = bounded(before.0);
                options.request_timeout = bounded(before.1);
                Some(before)
            }
            Target::Here(_) => None,
        };
        let mut pause = PAUSE_MIN;
        let outcome = loop {
            let error = match ping(session) {
                Err(error) if error.kind() == ErrorKind::Unavailable => error,
                other => break other.map_err(Failure::from),
            };
            let left = self.timeout.saturating_sub(began.elapsed());
            if left.is_zero() {
                break Err(gave_up(self.timeout, &error).into());
            }
            std::thread::sleep(pause.min(left));
            pause = (pause * 2).min(PAUSE_MAX);
            if interrupt.pressed() {
                break Err(Failure::Interrupted);
            }
        };
        if let (Target::There(options), Some(before)) = (&mut session.place, patience) {
            (options.connect_timeout, options.request_timeout) = before;
        }
        outcome
    }
}

fn ping(session: &mut CliSession) -> Result<PingResult> {
    session.open_existing()?.ping(PingRequest {})
}

/// The last error, and for how long there were only errors.
fn gave_up(timeout: Duration, last: &Error) -> Error {
    let timeout = humantime::format_duration(timeout);
    let message = format!("no answer within {timeout}: {}", last.message());
    let mut error = Error::new(ErrorCode::InternalError, message);
    if let Some(reason) = last.reason() {
        error = error.with_reason(reason);
    }
    for (key, value) in last.context() {
        error = error.with(key, value.clone());
    }
    error.as_sent(last.kind(), last.retryable())
}
