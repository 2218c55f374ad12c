//! What nodes told others that their disks must remember.

use std::collections::BTreeMap;

use rstmdb_cluster::raft::{LogId, Vote};
use rstmdb_engine::Engine;

/// Votes and acknowledgements that were on their way to others.
#[derive(Default)]
pub struct Promises {
    /// In each term, whom a node gave its vote.
    votes: BTreeMap<(u16, u64), u64>,
    /// The last entry that a node said it has, and to whom.
    acknowledged: BTreeMap<u16, (Vote, LogId)>,
    /// Broken ones.
    pub wrong: Vec<String>,
}

impl Promises {
    /// A node answers that it votes.
    pub fn voted(&mut self, node: u16, term: u64, candidate: u64) {
        let before = *self.votes.entry((node, term)).or_insert(candidate);
        if before != candidate {
            self.wrong
                .push(format!("node {node} votes for {before} and {candidate} in term {term}"));
        }
    }

    /// A node answers that it has all up to an entry.
    pub fn acknowledged(&mut self, node: u16, leader: Vote, last: LogId) {
        let before = self.acknowledged.entry(node).or_insert((leader, last));
        let is_newer =
            (leader.leader_id.term, last.index) > (before.0.leader_id.term, before.1.index);
        if is_newer {
            *before = (leader, last);
        }
    }

    /// A node comes back: it has what it said, unless a later leader had it cut off since.
    pub fn kept(&mut self, node: u16, engine: &Engine) {
        let Some((leader, last)) = self.acknowledged.get(&node) else { return };
        let replication = engine.replication();
        let voted = replication.read_vote().and_then(|vote| vote.first_chunk().copied());
        let voted = voted.map_or(0, u64::from_le_bytes);
        if voted < leader.leader_id.term {
            self.wrong.push(format!("node {node} followed {leader} and forgot it: {voted}"));
        }
        let index = last.index + 1;
        let tip = replication.tip();
        let is_there = match replication.frame_at(index) {
            Ok(Some(frame)) => frame.term() == last.leader_id.term,
            // It is covered by a checkpoint.
            _ => index < tip.first_kept,
        };
        if !is_there && voted == leader.leader_id.term {
            self.wrong.push(format!("node {node} acknowledged {last} and forgot it: {tip:?}"));
        }
    }
}
