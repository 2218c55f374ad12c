//! Applying logged effects to the state, by the same hand that live changes use.

use std::sync::atomic::Ordering;

use rstmdb_types::{Offset, Result};

use crate::error::corrupt;
use crate::log::Effect;
use crate::log::kinds::Stamp;
use crate::state::State;
use crate::state::locked::{Known, Locked};

/// Replays effects in log order over an empty state or a checkpoint.
pub(crate) struct Replayer<'a> {
    locked: Locked<'a>,
}

impl<'a> Replayer<'a> {
    /// Locks all of the state until the replay is over.
    pub(crate) fn new(state: &'a State) -> Replayer<'a> {
        Replayer { locked: Locked::all(state) }
    }

    /// Applies one effect, unless the checkpoint has it already.
    pub(crate) fn apply(&mut self, offset: Offset, effect: &Effect<'_>) -> Result<()> {
        let stamp = Stamp { offset, at: effect.at };
        let log_time = &self.locked.state.log_time;
        // Nobody else moves it while everything is locked.
        if effect.at > log_time.load(Ordering::Relaxed) {
            log_time.store(effect.at, Ordering::Relaxed);
        }
        let applied = effect.body.apply(&mut self.locked, stamp, Known::Nothing);
        applied.map_err(|misfit| {
            let what = format!("the effect at offset {offset} can't be applied: {}", misfit.0);
            corrupt("log", 0, &what).with("offset", offset)
        })
    }
}
