//! What a member tells others of itself, and what it knows of the age of what it shows.
//!
//! No clock is compared with another one's. A member asks who leads, and is told how long ago most voters said so: what that one had
//! committed when it answered holds all that was acknowledged before then. So who has applied as much shows a state that is at most as old
//! as the question and that time together.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use openraft::async_runtime::WatchReceiver;
use openraft::{Instant as _, RaftMetrics, ServerState};
use rstmdb_engine::replication::Standing;
use rstmdb_types::Offset;
use serde::{Deserialize, Serialize};

use super::RaftNode;
use super::types::TypeConfig;

/// Answers that wait for what they tell of to be applied.
const WAITING_MAX: usize = 1024;

/// How a member does, in its own words. What a later release adds is passed over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemberReport {
    /// Its number.
    pub node: u16,
    /// Its release.
    pub release: String,
    /// The term that it is in.
    pub term: u64,
    /// Who leads, as far as it knows.
    pub leader: Option<u16>,
    /// Whether it leads and takes writes.
    pub is_leading: bool,
    /// How long ago most voters said that it leads, in milliseconds.
    pub confirmed_ms: Option<u64>,
    /// The last frame that is committed there.
    pub committed: u64,
    /// The last change that is committed there.
    pub committed_offset: Offset,
    /// How old what it shows may be, in milliseconds.
    pub lag_ms: Option<u64>,
    /// The last digests of all instances that it came to.
    pub digests: Vec<(Offset, u64)>,
    /// Why it takes part no more.
    pub problem: Option<String>,
}

impl MemberReport {
    /// The digest that it came to at a place in the log.
    pub fn digest_at(&self, offset: Offset) -> Option<u64> {
        self.digests.iter().find(|(at, _)| *at == offset).map(|(_, digest)| *digest)
    }
}

/// How old the state is that a member shows.
#[derive(Debug, Default)]
pub(super) struct StateAge {
    /// What was committed at these times, and is not known to be applied.
    waiting: VecDeque<(Instant, u64)>,
    as_of: Option<Instant>,
    /// When somebody led for certain.
    led_at: Option<Instant>,
    committed_offset: Offset,
}

impl StateAge {
    /// At this time, no change was acknowledged behind this frame.
    fn heard(&mut self, at: Instant, committed: u64, committed_offset: Offset) {
        self.committed_offset = self.committed_offset.max(committed_offset);
        self.led_at = self.led_at.max(Some(at));
        match self.waiting.back_mut() {
            Some((last, index)) if *index == committed => *last = at.max(*last),
            Some((last, index)) if at < *last || committed < *index => {}
            _ => self.waiting.push_back((at, committed)),
        }
        if self.waiting.len() > WAITING_MAX {
            self.waiting.pop_front();
        }
    }

    /// At this time, what is applied up to this frame was all there was.
    fn as_of(&mut self, applied: u64) -> Option<Instant> {
        while let Some((at, _)) = self.waiting.front().filter(|(_, index)| *index <= applied) {
            self.as_of = self.as_of.max(Some(*at));
            self.waiting.pop_front();
        }
        self.as_of
    }
}

impl RaftNode {
    /// How this node does.
    pub fn report(&self) -> MemberReport {
        let seen = self.raft.metrics().borrow_watched().clone();
        let engine = self.slot.engine();
        let replication = engine.replication();
        let leads = |term| seen.state == ServerState::Leader && term == seen.current_term;
        let is_leading =
            matches!(replication.standing(), Standing::Leading { term, .. } if leads(term));
        let confirmed = confirmed(&seen).filter(|_| is_leading);
        // After the time: what was acknowledged before it is in it.
        let tip = replication.tip();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let lag = match is_leading {
            true => confirmed,
            false => self.age.lock().as_of(tip.committed).map(|at| at.elapsed()),
        };
        MemberReport {
            node: u16::try_from(seen.id).unwrap_or(0),
            release: env!("CARGO_PKG_VERSION").to_owned(),
            term: seen.current_term,
            leader: seen.current_leader.and_then(|leader| u16::try_from(leader).ok()),
            is_leading,
            confirmed_ms: confirmed.map(millis),
            committed: tip.committed,
            committed_offset: tip.committed_offset,
            lag_ms: lag.map(millis),
            digests: replication.digests(),
            problem: self.problem(),
        }
    }

    /// Why this node takes part no more; nothing while it does.
    pub fn problem(&self) -> Option<String> {
        let metrics = self.raft.metrics();
        let stopped =
            metrics.borrow_watched().running_state.as_ref().err().map(ToString::to_string);
        stopped.map(|why| format!("the node takes part no more: {why}"))
    }

    /// Another member was asked at this time, and says this of itself.
    pub fn heard(&self, asked: Instant, report: &MemberReport) {
        let Some(confirmed) = report.confirmed_ms.filter(|_| report.is_leading) else { return };
        // Milliseconds are cut off.
        let ago = Duration::from_millis(confirmed.saturating_add(1));
        if let Some(at) = asked.checked_sub(ago) {
            self.age.lock().heard(at, report.committed, report.committed_offset);
        }
    }

    /// When what this node shows was all that was acknowledged; nothing while nobody knows.
    pub fn as_of(&self) -> Option<Instant> {
        let committed = self.slot.engine().replication().tip().committed;
        self.age.lock().as_of(committed)
    }

    /// The last change that is committed where this node is led, as far as it heard.
    pub fn committed_where_led(&self) -> Offset {
        self.age.lock().committed_offset
    }

    /// Whether this node does not lead, and heard nothing for long of anybody who leads for certain. The library goes on to name the last one.
    pub fn is_led_by_nobody(&self) -> bool {
        let led_at = self.age.lock().led_at.map_or(self.begun, |at| at.max(self.begun));
        let leads = self.raft.metrics().borrow_watched().state == ServerState::Leader;
        !leads && led_at.elapsed() > 5 * self.patience
    }
}

/// How long ago most voters said that this node leads.
fn confirmed(seen: &RaftMetrics<TypeConfig>) -> Option<Duration> {
    let members = seen.membership_config.membership();
    // Who votes alone is asked by nobody.
    if members.voter_ids().eq([seen.id]) {
        return Some(Duration::ZERO);
    }
    seen.last_quorum_acked.map(|at| at.into_inner().elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_applied_is_as_old_as_the_last_question_that_it_answers() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let mut age = StateAge::default();
        assert_eq!(age.as_of(100), None, "nobody was asked");
        age.heard(at(1), 10, 100);
        assert_eq!(age.as_of(9), None, "it lacks one frame");
        assert_eq!(age.as_of(10), Some(at(1)));
        age.heard(at(2), 10, 100);
        age.heard(at(3), 20, 200);
        age.heard(at(4), 30, 300);
        assert_eq!(age.as_of(10), Some(at(2)));
        assert_eq!(age.as_of(29), Some(at(3)));
        age.heard(at(5), 30, 300);
        assert_eq!(age.as_of(30), Some(at(5)));
        // Who led before answers late: it knew less.
        age.heard(at(4), 25, 250);
        assert_eq!((age.as_of(30), age.committed_offset), (Some(at(5)), 300));
        assert_eq!(age.led_at, Some(at(5)));
    }

    #[test]
    fn who_is_far_behind_does_not_remember_every_answer() {
        let begin = Instant::now();
        let mut age = StateAge::default();
        for number in 0..10_000 {
            age.heard(begin + Duration::from_millis(number), number, number);
        }
        assert!(age.waiting.len() <= WAITING_MAX);
        assert_eq!(age.as_of(0), None, "what is not known for certain is older, not younger");
        assert_eq!(age.as_of(9_999), Some(begin + Duration::from_millis(9_999)));
    }
}
