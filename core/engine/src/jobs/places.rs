//! Tells those that follow one instance how far the log has come without them.
//!
//! After a lost connection a follower asks from the place it knows, which therefore may not become old. A change of
//! another instance wakes none of them: they are told some at a time, and nobody twice in a second.

use rstmdb_types::Offset;

use super::Job;
use crate::due::Due;
use crate::shared::Shared;

/// The least time from one round to the next.
const ROUND_MS: i64 = 1_000;
/// The time from some to the next of a round, and from a change to the first.
const STEP_MS: i64 = 100;

#[derive(Default)]
pub(super) struct Places {
    due: Option<Due>,
    began_ms: Option<i64>,
    round: Round,
}

/// All are told once.
#[derive(Default)]
enum Round {
    /// Nothing was written that anybody would have to be told.
    #[default]
    None,
    /// It begins when it is due.
    Waits,
    /// The log reached so far when it began; who was told last.
    Goes { reach: Offset, after: Option<u64> },
}

impl Job for Places {
    fn turn(&mut self, shared: &Shared, now_ms: i64) -> Due {
        let reach = shared.growth.reach();
        let due = *self.due.get_or_insert(Due::at_offset(reach.offset + 1));
        if !due.has_come(now_ms, reach) {
            return due;
        }
        let (round, next) = match std::mem::take(&mut self.round) {
            Round::None => {
                let earliest = self.began_ms.map_or(now_ms, |began| began + ROUND_MS);
                (Round::Waits, Due::at(earliest.max(now_ms + STEP_MS)))
            }
            Round::Waits => {
                self.began_ms = Some(now_ms);
                // What is committed and not noticed yet is for the next round.
                let reach = shared.followers.reach().unwrap_or(reach.offset);
                tell(shared, now_ms, reach, None)
            }
            Round::Goes { reach, after } => tell(shared, now_ms, reach, after),
        };
        self.round = round;
        self.due = Some(next);
        next
    }
}

/// Tells some, and says what comes then.
fn tell(shared: &Shared, now_ms: i64, reach: Offset, after: Option<u64>) -> (Round, Due) {
    match shared.followers.tell_places(after) {
        None => (Round::None, Due::at_offset(reach + 1)),
        after => (Round::Goes { reach, after }, Due::at(now_ms + STEP_MS)),
    }
}
