//! What the service manager is told: that the server is ready, how it is, that it lives, that it stops.
//!
//! systemd gives a socket to the units that say `Type=notify`; without one nothing is told.

use std::time::Duration;

/// The server serves.
pub(crate) fn ready(status: &str) {
    send(&[State::Ready, State::Status(status)]);
}

/// How it is, in a sentence for `systemctl status`.
pub(crate) fn status(status: &str) {
    send(&[State::Status(status)]);
}

/// It stops.
pub(crate) fn stopping() {
    send(&[State::Stopping, State::Status("stopping")]);
}

/// Says that it lives as often as it is asked to, if it is, from a thread that serves connections: a server
/// whose threads are all stuck is restarted. Ends only by being dropped.
pub(crate) async fn live() {
    let Some(interval) = watchdog() else { return };
    let mut ticks = tokio::time::interval(interval / 3);
    loop {
        ticks.tick().await;
        send(&[State::Watchdog]);
    }
}

enum State<'a> {
    Ready,
    Status(&'a str),
    Stopping,
    Watchdog,
}

#[cfg(target_os = "linux")]
fn send(states: &[State<'_>]) {
    use sd_notify::NotifyState;
    let states: Vec<_> = states
        .iter()
        .map(|state| match state {
            State::Ready => NotifyState::Ready,
            State::Status(text) => NotifyState::Status(text),
            State::Stopping => NotifyState::Stopping,
            State::Watchdog => NotifyState::Watchdog,
        })
        .collect();
    if let Err(error) = sd_notify::notify(&states) {
        tracing::debug!("the service manager can't be told: {error}");
    }
}

#[cfg(target_os = "linux")]
fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero())
}

/// Only systemd listens.
#[cfg(not(target_os = "linux"))]
fn send(_states: &[State<'_>]) {}

#[cfg(not(target_os = "linux"))]
fn watchdog() -> Option<Duration> {
    None
}
