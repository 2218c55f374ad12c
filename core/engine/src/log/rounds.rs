//! Rounds in which a leader finds out that it still leads.
//!
//! What a reader saw proves nothing of the kind: another one may lead and have more. So its ticket names the next
//! round, which begins after it, and it is answered when that one succeeded. One round serves all that wait for it.
//! On a member that does not lead no round will do: it is refused.

use std::task::{Context, Poll, Waker};

use rstmdb_types::Error;

use super::ticket::NO_ROUND;
use crate::error::closed;
use crate::guards::{self, Safeguard};
use crate::sync::{AtomicU64, Mutex, Ordering};

#[derive(Default)]
pub(crate) struct Rounds {
    /// What begins next; 0 where nobody needs to ask, [`NO_ROUND`] where nobody may answer.
    next: AtomicU64,
    /// The last number there was; none comes twice.
    given: AtomicU64,
    confirmed: AtomicU64,
    /// The last one that somebody waits for.
    wanted: AtomicU64,
    asks: Mutex<Option<Waker>>,
    /// What readers got last where nobody may answer.
    refusal: Mutex<Option<Error>>,
}

impl Rounds {
    /// The round that whoever reads now waits for; 0: none.
    #[inline]
    pub(crate) fn next(&self) -> u64 {
        self.next.load(Ordering::SeqCst)
    }

    /// The last round that succeeded.
    #[inline]
    pub(crate) fn confirmed(&self) -> u64 {
        self.confirmed.load(Ordering::SeqCst)
    }

    /// Whether a round succeeded, or one that began later.
    #[inline]
    pub(crate) fn is_confirmed(&self, round: u64) -> bool {
        round <= self.confirmed() || !guards::enabled(Safeguard::ReadRounds)
    }

    /// Somebody waits for a round.
    pub(crate) fn want(&self, round: u64) {
        if round > self.confirmed() && self.wanted.fetch_max(round, Ordering::SeqCst) < round {
            let waker = self.asks.lock().take();
            waker.into_iter().for_each(Waker::wake);
        }
    }

    /// Whether somebody waits for a round.
    pub(crate) fn is_awaited(&self) -> bool {
        !matches!(self.next(), 0 | NO_ROUND)
            && self.wanted.load(Ordering::SeqCst) > self.confirmed()
    }

    /// From now on this node leads, and readers wait for rounds, or need none.
    pub(crate) fn begin(&self, has_rounds: bool) {
        let next = if has_rounds { self.given.fetch_add(1, Ordering::SeqCst) + 1 } else { 0 };
        self.next.store(next, Ordering::SeqCst);
    }

    /// From now on this node does not lead, and readers get this; if nothing, what is there.
    pub(crate) fn end(&self, refusal: Option<&Error>) {
        let refusal = refusal.filter(|_| guards::enabled(Safeguard::LeaderReads));
        *self.refusal.lock() = refusal.cloned();
        self.next.store(if refusal.is_some() { NO_ROUND } else { 0 }, Ordering::SeqCst);
    }

    /// Why who does not lead answers no reader.
    pub(crate) fn refusal(&self) -> Error {
        self.refusal.lock().clone().unwrap_or_else(closed)
    }

    /// Begins a round when somebody waits for one, else leaves a waker.
    pub(crate) fn poll_begin(&self, context: &mut Context<'_>) -> Poll<u64> {
        *self.asks.lock() = Some(context.waker().clone());
        let round = self.next();
        if matches!(round, 0 | NO_ROUND) || self.wanted.load(Ordering::SeqCst) < round {
            return Poll::Pending;
        }
        let next = self.given.fetch_add(1, Ordering::SeqCst) + 1;
        // Unless leading ended meanwhile.
        let begun = self.next.compare_exchange(round, next, Ordering::SeqCst, Ordering::SeqCst);
        if begun.is_ok() { Poll::Ready(round) } else { Poll::Pending }
    }

    /// A round succeeded.
    pub(crate) fn confirm(&self, round: u64) {
        self.confirmed.fetch_max(round, Ordering::SeqCst);
    }
}
