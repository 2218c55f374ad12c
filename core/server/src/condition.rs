//! Whether the server does all that it is for: each change is said once, however many clients ask.

use std::sync::Arc;
use std::time::Duration;

use rstmdb_types::ErrorCode;
use tokio::sync::watch;

use crate::calls::Calls;

/// How often it is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Why writes are refused; none when they are accepted.
pub(crate) type Refusal = Option<String>;

/// Looks again and again, logs what has changed and tells who listens. Ends only by being dropped.
pub(crate) async fn follow(calls: Arc<Calls>, told: watch::Sender<Refusal>) {
    let mut ticks = tokio::time::interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut damaged = false;
    loop {
        ticks.tick().await;
        let Some(engine) = calls.engine() else { continue };
        let damage = engine.damage();
        if let Some(damage) = damage.as_ref().filter(|_| !damaged) {
            tracing::warn!(
                "stored data is damaged, and what needs it fails: {}; before a stop `rstmdb-cli compact` writes a \
                 checkpoint that the next start can do with",
                damage.message()
            );
        }
        damaged = damage.is_some();
        // The file system is asked when the disk was full, and may take its time.
        let looked = tokio::task::spawn_blocking(move || engine.refusal()).await;
        let Ok(now) = looked else { continue };
        // That another node takes them is as it should be.
        let now = now.filter(|error| error.code() != ErrorCode::ReadOnlyMode);
        let now = now.map(|error| error.message().to_owned());
        let changed = told.borrow().is_some() != now.is_some();
        if changed {
            match &now {
                Some(why) => tracing::warn!("writes are refused: {why}"),
                None => tracing::warn!("writes are accepted again"),
            }
            told.send_replace(now);
        }
    }
}
