//! One node: its disk, its engine, and its part of the driver.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use rstmdb_engine::replication::{LeaderHint, LogFrame, Proposer, Standing};
use rstmdb_engine::storage::SeededEntropy;
use rstmdb_engine::{Engine, FsyncPolicy, GroupNode, Location, NodeKind, Options, Pending};
use rstmdb_types::{ApplyEventResult, CompactRequest, GetInstanceResult, Operation, Result};
use serde_json::json;

use super::look::Look;
use super::network::{Append, Reply};
use super::oracle::{Happened, Oracle};
use super::{Running, is_certain};
use crate::calls::call;
use crate::clock::TestClock;
use crate::faulty::{Crash, FaultyStorage, Rng};
use crate::sample::{LOOP, options};

/// What was proposed and not passed on yet.
#[derive(Default)]
struct Proposals(Mutex<VecDeque<LogFrame>>);

impl Proposer for Proposals {
    fn propose(&self, frame: LogFrame) {
        self.0.lock().push_back(frame);
    }
}

/// What a node knows while it leads.
pub(super) struct Lead {
    pub term: u64,
    run: u64,
    /// It evaluates: the barrier of its run is committed.
    pub is_ready: bool,
    proposals: Arc<Proposals>,
    /// Frames that were refused, and may come all the same.
    late: Vec<LogFrame>,
    /// The next frame for each peer, and the last that it has for certain.
    next: Vec<u64>,
    has: Vec<u64>,
}

impl Lead {
    pub(super) fn new(term: u64, next: u64, size: usize) -> Lead {
        let proposals = Arc::default();
        Lead {
            term,
            run: 0,
            is_ready: false,
            proposals,
            late: Vec::new(),
            next: vec![next; size],
            has: vec![0; size],
        }
    }
}

/// A request that waits for its answer.
pub(super) enum Asked {
    Write {
        pending: Pending<Running, ApplyEventResult>,
        id: String,
        number: u64,
        key: Option<String>,
    },
    Read {
        pending: Pending<Running, GetInstanceResult>,
        id: String,
    },
}

pub(super) struct Node {
    id: u16,
    database: Option<[u8; 16]>,
    pub disk: FaultyStorage,
    engine: Option<Running>,
    pub term: u64,
    pub lead: Option<Lead>,
    pub asked: Vec<Asked>,
    look: Look,
    seed: u64,
    clock: Arc<TestClock>,
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

impl Node {
    fn location(&self) -> Location {
        let entropy = Arc::new(SeededEntropy::new(self.seed));
        Location { clock: self.clock.clone(), entropy, ..self.disk.location() }
    }

    fn options(&self) -> Options {
        let part = GroupNode { kind: NodeKind::Member, id: self.id, database: self.database };
        Options { node: Some(part), digest: true, ..options(FsyncPolicy::EveryWrite) }
    }

    fn new(id: u16, seed: u64, database: Option<[u8; 16]>) -> Node {
        Node {
            id,
            database,
            disk: FaultyStorage::new(seed),
            engine: None,
            term: 0,
            lead: None,
            asked: Vec::new(),
            look: Look::default(),
            seed,
            clock: Arc::new(TestClock::new()),
        }
    }

    /// One that was a database alone.
    pub(super) fn converted(id: u16, seed: u64, instances: u64) -> Node {
        let mut node = Node::new(id, seed, None);
        let alone = Options { node: None, ..node.options() };
        let engine = Engine::open(node.location(), alone).unwrap();
        let request = json!({"machine": "m", "version": 1, "definition": serde_json::from_str::<serde_json::Value>(LOOP).unwrap()});
        call(&engine, Operation::PutMachine, &request).unwrap();
        for instance in 0..instances {
            let request =
                json!({"instance_id": format!("i{instance}"), "machine": "m", "version": 1});
            call(&engine, Operation::CreateInstance, &request).unwrap();
        }
        drop(engine);
        node.open();
        node
    }

    pub(super) fn empty(id: u16, seed: u64, database: [u8; 16]) -> Node {
        let mut node = Node::new(id, seed, Some(database));
        node.open();
        node
    }

    /// Takes all that another node has, which is committed.
    pub(super) fn join(&mut self, first: &Node) {
        let source = first.engine();
        let frames = source.replication().frames(1, u64::MAX, usize::MAX).unwrap();
        assert!(self.append(frames));
        let engine = self.engine();
        engine.replication().commit(source.replication().tip().committed).unwrap();
        self.term = first.term;
    }

    fn open(&mut self) {
        let engine = Engine::open(self.location(), self.options()).unwrap();
        let voted = engine.replication().read_vote();
        let voted = voted.map_or(0, |vote| u64::from_le_bytes(vote.try_into().unwrap()));
        self.term = voted.max(engine.replication().tip().term);
        self.engine = Some(Arc::new(engine));
    }

    pub(super) fn engine(&self) -> Running {
        self.engine.clone().unwrap()
    }

    /// What the disk kept is opened again.
    pub(super) fn restart(&mut self, how: Crash, oracle: &mut Oracle) {
        // What waited has no answer.
        for asked in std::mem::take(&mut self.asked) {
            if let Asked::Write { pending, id, number, key } = asked {
                drop(pending);
                oracle.leave_open(id, number, key);
            }
        }
        (self.lead, self.engine) = (None, None);
        self.look.restarted();
        self.disk = self.disk.crash(how);
        self.seed += 1;
        self.open();
    }

    /// Votes in a term, durably.
    pub(super) fn vote(&mut self, term: u64) -> bool {
        if self.engine().replication().save_vote(&term.to_le_bytes()).is_err() {
            self.disk.power_off();
            return false;
        }
        self.term = term;
        self.follow("a later term", None);
        true
    }

    fn follow(&mut self, why: &str, hint: Option<LeaderHint>) {
        self.lead = None;
        self.engine().replication().follow(why, hint);
    }

    /// Appends frames that were agreed on here; says whether they are on the disk.
    fn append(&mut self, frames: Vec<LogFrame>) -> bool {
        let synced = Arc::new(AtomicBool::new(false));
        let done = synced.clone();
        self.engine().replication().append(frames, move |result| {
            done.store(result.is_ok(), Ordering::SeqCst);
        });
        let is_there = synced.load(Ordering::SeqCst);
        if !is_there {
            // A node whose disk fails stops.
            self.disk.power_off();
        }
        is_there
    }

    /// The first frame of a run.
    pub(super) fn barrier(&mut self) {
        let tip = self.engine().replication().tip();
        let Some(lead) = &mut self.lead else { return };
        lead.is_ready = false;
        lead.run += 1;
        lead.proposals = Arc::default();
        let frame = LogFrame::blank(tip.index + 1, lead.term);
        self.append(vec![frame]);
    }

    /// Gives proposed frames their places. One may be refused, which ends the run, and come later all the same.
    pub(super) fn take_proposals(&mut self, rng: &mut Rng, refuses: bool) {
        let Some(lead) = &mut self.lead else { return };
        let (term, proposals) = (lead.term, lead.proposals.clone());
        let mut frames = Vec::new();
        if refuses && lead.is_ready && rng.chance(150) {
            frames.extend(lead.late.pop());
        }
        let late = frames.len();
        let mut is_refused = false;
        for number in 0.. {
            if number >= late {
                frames.extend(proposals.0.lock().pop_front());
            }
            if number >= frames.len() {
                break;
            }
            let frame = frames[number].clone();
            if refuses && number >= late && rng.chance(60) {
                is_refused = true;
                self.lead.iter_mut().for_each(|lead| lead.late.push(frame.clone()));
                break;
            }
            let index = self.engine().replication().tip().index + 1;
            if !self.append(vec![frame.placed(index, term)]) {
                return;
            }
        }
        if is_refused {
            self.engine().replication().follow("a frame was refused", None);
            self.barrier();
        }
    }

    /// What a peer lacks.
    pub(super) fn message(&self, peer: usize, bytes: usize) -> Option<Append> {
        let lead = self.lead.as_ref()?;
        let replication = self.engine();
        let replication = replication.replication();
        let before = lead.next[peer] - 1;
        let before_term = match before {
            0 => 0,
            _ => replication.frame_at(before).ok()??.term(),
        };
        let frames = replication.frames(before + 1, u64::MAX, bytes).ok()?;
        let frames = frames.iter().map(LogFrame::encode).collect();
        let committed = replication.tip().committed;
        Some(Append { term: lead.term, before, before_term, frames, committed })
    }

    /// What came of something, unless the power went off meanwhile.
    fn unless_off<T>(&self, result: Result<T>) -> Option<T> {
        match result {
            Ok(found) => Some(found),
            Err(error) => {
                assert!(!self.disk.is_on(), "{error}");
                None
            }
        }
    }

    /// Takes frames from who leads.
    pub(super) fn receive(&mut self, append: Append, hint: LeaderHint) -> Option<Reply> {
        if append.term < self.term {
            return Some(Reply { term: self.term, index: 0, is_there: false });
        }
        if append.term > self.term && !self.vote(append.term) {
            return None;
        }
        self.follow("somebody else leads", Some(hint));
        let engine = self.engine();
        let replication = engine.replication();
        let tip = replication.tip();
        let term = self.term;
        let reply = |index, is_there| Some(Reply { term, index, is_there });
        if append.before > tip.committed {
            let here = self.unless_off(replication.frame_at(append.before))?;
            let here = here.map(|frame| frame.term());
            if here != Some(append.before_term) {
                return reply(tip.index.min(append.before - 1), false);
            }
        }
        let mut fresh = Vec::new();
        let mut index = append.before;
        for bytes in &append.frames {
            let frame = LogFrame::decode(bytes).unwrap();
            index = frame.index();
            if fresh.is_empty() {
                match self.unless_off(replication.frame_at(index))? {
                    Some(here) if here.term() == frame.term() => {
                        assert_eq!(here, frame, "the same term and index");
                        continue;
                    }
                    Some(_) => self.unless_off(replication.truncate_after(index - 1))?,
                    None => {}
                }
            }
            fresh.push(frame);
        }
        if !fresh.is_empty() && !self.append(fresh) {
            return None;
        }
        self.unless_off(replication.commit(append.committed.min(index)))?;
        reply(index, true)
    }

    /// Learns what a peer has.
    pub(super) fn heard(&mut self, peer: usize, term: u64, index: u64, is_there: bool) {
        let Some(lead) = self.lead.as_mut().filter(|lead| lead.term == term) else { return };
        if is_there {
            lead.has[peer] = lead.has[peer].max(index);
            lead.next[peer] = lead.next[peer].max(index + 1);
        } else {
            lead.next[peer] = (index + 1).clamp(lead.has[peer] + 1, lead.next[peer].max(1));
        }
    }

    /// Commits what most have, and evaluates when the barrier is.
    pub(super) fn advance(&mut self) {
        let engine = self.engine();
        let Some(mut lead) = self.lead.take() else { return };
        let leads = self.commit_most(&engine, &mut lead);
        self.lead = Some(lead);
        if leads == Some(false) {
            // Something else came into the log: the run is over.
            self.barrier();
        }
    }

    /// Says whether the run goes on; nothing when the power is off.
    fn commit_most(&self, engine: &Engine, lead: &mut Lead) -> Option<bool> {
        let replication = engine.replication();
        let tip = replication.tip();
        let own = usize::from(self.id) - 1;
        lead.has[own] = tip.synced;
        let mut has = lead.has.clone();
        has.sort_unstable();
        let most = has[(has.len() - 1) / 2].min(tip.index);
        if most > tip.committed {
            let term = self.unless_off(replication.frame_at(most))?.map(|frame| frame.term());
            if term == Some(lead.term) {
                self.unless_off(replication.commit(most))?;
            }
        }
        let leads = matches!(replication.standing(), Standing::Leading { .. });
        if lead.is_ready {
            return Some(leads);
        }
        let tip = replication.tip();
        if tip.committed == tip.index {
            let proposals = lead.proposals.clone();
            self.unless_off(replication.lead(lead.term, lead.run, proposals))?;
            lead.is_ready = true;
        }
        Some(true)
    }

    /// Asks for a boundary in the log, or writes the checkpoint of one.
    pub(super) fn mark(&self) {
        // On a leader it waits for its frames: then it is refused, and comes another time.
        let _ = self.engine().begin(CompactRequest::default()).wait();
    }

    /// Learns the fate of requests.
    pub(super) fn settle(&mut self, oracle: &mut Oracle) {
        let mut waiting = Vec::new();
        for asked in std::mem::take(&mut self.asked) {
            match asked {
                Asked::Write { mut pending, id, number, key } => match poll(&mut pending) {
                    Poll::Pending => waiting.push(Asked::Write { pending, id, number, key }),
                    Poll::Ready(Ok(result)) => {
                        let happened = Happened { id, number };
                        oracle.acknowledge(result.wal_offset, happened, key.as_deref());
                    }
                    Poll::Ready(Err(error)) if is_certain(&error) => oracle.refuse(number, key),
                    Poll::Ready(Err(_)) => oracle.leave_open(id, number, key),
                },
                Asked::Read { mut pending, id } => match poll(&mut pending) {
                    Poll::Pending => waiting.push(Asked::Read { pending, id }),
                    Poll::Ready(Ok(result)) => {
                        oracle.show(id, &result.ctx.to_value(), result.last_wal_offset);
                    }
                    // Behind in its log, or no longer the one to ask.
                    Poll::Ready(Err(_)) => {}
                },
            }
        }
        self.asked = waiting;
    }

    /// Compares what is committed here with what is anywhere.
    pub(super) fn compare(&mut self, oracle: &mut Oracle, is_full: bool) {
        let engine = self.engine();
        self.look.compare(&engine, oracle, is_full);
        if is_full && self.lead.is_none() {
            Look::compare_instances(&engine, oracle, super::INSTANCES);
        }
    }
}
