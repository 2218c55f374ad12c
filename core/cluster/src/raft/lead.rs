//! Has the engine lead when the library's node does, and follow when it does not.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use openraft::async_runtime::WatchReceiver;
use openraft::impls::OneshotResponder;
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::WatchReceiverOf;
use openraft::{Raft, RaftMetrics, ReadPolicy, ServerState};
use rstmdb_engine::guards::{self, Safeguard};
use rstmdb_engine::replication::{GroupMembers, LeaderHint, LogFrame, Proposer, Standing};
use rstmdb_types::Result;
use tokio::sync::mpsc;

use super::machine::RaftMachine;
use super::members::admit_language;
use super::slot::EngineSlot;
use super::types::{Proposal, TypeConfig};

/// The library's node.
pub type RaftOfGroup = Raft<TypeConfig, RaftMachine>;

/// What it says of itself.
type LibraryMetrics = RaftMetrics<TypeConfig>;

/// Before something is tried again that may be possible then.
const PAUSE: Duration = Duration::from_millis(10);

/// Where the engine puts its frames.
struct Proposals {
    frames: mpsc::UnboundedSender<LogFrame>,
}

impl Proposer for Proposals {
    fn propose(&self, frame: LogFrame) {
        // If nobody takes it any more, the run is over, and the engine is told so.
        let _ = self.frames.send(frame);
    }

    fn confirms(&self) -> bool {
        true
    }

    fn admit_language(&self, level: u32, members: Option<&GroupMembers>) -> Result<()> {
        admit_language(level, members)
    }
}

/// Whether a frame that is refused ends the run: what is evaluated behind it counts nowhere.
fn ends_run() -> bool {
    guards::enabled(Safeguard::RefusalEndsRun)
}

/// Passes frames on in order until one is refused, which ends the run, or the engine gives none any more.
async fn pass_on(
    raft: RaftOfGroup,
    slot: Arc<EngineSlot>,
    (term, run): (u64, u64),
    mut frames: mpsc::UnboundedReceiver<LogFrame>,
    refused: mpsc::UnboundedSender<u64>,
) {
    let mut open = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some(answer) = open.next(), if !open.is_empty() => {
                if !matches!(answer, Ok(Ok(_))) && ends_run() {
                    break;
                }
            }
            frame = frames.recv() => {
                let Some(frame) = frame else { return };
                let (responder, answer) = OneshotResponder::new_pair();
                let write = raft.write(Proposal(frame)).with_leader(term).responder(responder);
                if slot.hesitate().await && write.await.is_ok() {
                    open.push(answer);
                } else if ends_run() {
                    break;
                }
            }
        }
    }
    // If nobody listens, the node is stopped.
    let _ = refused.send(run);
}

/// Keeps an engine in step with the library's node, until that stops.
pub(super) struct Driver {
    pub raft: RaftOfGroup,
    pub slot: Arc<EngineSlot>,
    pub run: u64,
    /// What the engine was told last, and which engine.
    pub told: Option<(u64, Option<LeaderHint>)>,
    /// When nothing is decided for so long, it is asked whether the node still leads.
    pub patience: Duration,
}

impl Driver {
    pub(super) async fn drive(mut self) {
        let mut metrics = self.raft.metrics();
        let mut changes = self.slot.changes();
        let (refusals, mut refused) = mpsc::unbounded_channel();
        let mut look_at = TypeConfig::now() + self.patience;
        let mut begin_at = TypeConfig::now();
        let mut undecided = None;
        loop {
            let seen = metrics.borrow_and_update().clone();
            let change = *changes.borrow_and_update();
            if seen.running_state.is_err() {
                break;
            }
            let mut waits_to_begin = false;
            if seen.state == ServerState::Leader {
                if self.told.take().is_some() {
                    // Nobody is sent to who led before.
                    self.slot.engine().replication().follow("this node begins to lead", None);
                }
                let term = seen.current_term;
                if self.is_to_begin(&seen) {
                    // Asking is news of the node by itself: without a pause it would be asked again at once.
                    waits_to_begin = true;
                    if TypeConfig::now() >= begin_at {
                        waits_to_begin = !self.begin(term, &refusals).await;
                        begin_at = TypeConfig::now() + PAUSE;
                    }
                }
            } else {
                let node = seen.current_leader.and_then(|leader| {
                    let members = seen.membership_config.membership();
                    let address = members.get_node(&leader)?.client.clone();
                    Some(LeaderHint { node: u16::try_from(leader).ok()?, address })
                });
                let told = Some((change, node.clone()));
                if self.told != told {
                    self.slot.engine().replication().follow("another node leads", node);
                    self.told = told;
                }
            }
            tokio::select! {
                biased;
                changed = self.news(&mut metrics, &seen) => if !changed { break },
                _ = changes.changed() => {}
                run = refused.recv() => self.end(run),
                () = TypeConfig::sleep_until(look_at) => {
                    undecided = self.look(undecided).await;
                    look_at = TypeConfig::now() + self.patience;
                }
                () = TypeConfig::sleep_until(begin_at), if waits_to_begin => {}
            }
        }
        self.slot.engine().replication().follow("the node stopped", None);
    }

    /// Waits until there is something to do: each entry changes what the library says of its node, and few of them
    /// matter here. False: the node stopped.
    async fn news(
        &self,
        metrics: &mut WatchReceiverOf<TypeConfig, LibraryMetrics>,
        seen: &LibraryMetrics,
    ) -> bool {
        while metrics.changed().await.is_ok() {
            let now = metrics.borrow_and_update();
            let role = |of: &LibraryMetrics| {
                let members = *of.membership_config.log_id();
                (of.state, of.current_term, of.current_leader, members)
            };
            if now.running_state.is_err() || role(&now) != role(seen) || self.is_to_begin(&now) {
                return true;
            }
        }
        false
    }

    /// The library's node leads, and the engine does not.
    fn is_to_begin(&self, now: &LibraryMetrics) -> bool {
        let led = || self.slot.engine().replication().standing();
        now.state == ServerState::Leader
            && !matches!(led(), Standing::Leading { term, .. } if term == now.current_term)
    }

    /// Ends the run when what was undecided a while ago still is, and most do not say that this node leads: the
    /// library waits for ever.
    async fn look(&self, before: Option<u64>) -> Option<u64> {
        let engine = self.slot.engine();
        let replication = engine.replication();
        let tip = replication.tip();
        let is_leading = matches!(replication.standing(), Standing::Leading { .. });
        let undecided = (is_leading && tip.index > tip.committed).then_some(tip.committed)?;
        if before == Some(undecided) && !self.leads().await {
            replication.follow("most of the group do not answer", None);
        }
        Some(undecided)
    }

    async fn leads(&self) -> bool {
        let asked = self.raft.get_read_linearizer(ReadPolicy::ReadIndex);
        matches!(TypeConfig::timeout(self.patience, asked).await, Ok(Ok(_)))
    }

    /// Ends a run of which a frame was refused.
    fn end(&self, run: Option<u64>) {
        let replication = self.slot.engine();
        let replication = replication.replication();
        if matches!(replication.standing(), Standing::Leading { run: led, .. } if Some(led) == run)
        {
            replication.follow("a frame was refused", None);
        }
    }

    /// Begins a run, when all before it is decided on; says whether it did.
    async fn begin(&mut self, term: u64, refusals: &mpsc::UnboundedSender<u64>) -> bool {
        let engine = self.slot.engine();
        if matches!(engine.replication().standing(), Standing::Leading { .. }) {
            engine.replication().follow("a later term", None);
        }
        match self.raft.write_blank().await {
            Ok(written) if written.log_id.leader_id.term == term => {}
            _ => return false,
        }
        self.run += 1;
        let (frames, given) = mpsc::unbounded_channel();
        let led = engine.replication().lead(term, self.run, Arc::new(Proposals { frames }));
        if let Err(error) = &led {
            tracing::debug!("can't lead yet: {error}");
            return false;
        }
        let run = (term, self.run);
        // It ends with its run.
        let _detached = TypeConfig::spawn(pass_on(
            self.raft.clone(),
            self.slot.clone(),
            run,
            given,
            refusals.clone(),
        ));
        true
    }
}

/// Finds out for readers whether the node still leads; one round serves all that wait.
pub(super) async fn confirm_rounds(raft: RaftOfGroup, slot: Arc<EngineSlot>) {
    loop {
        let mut changes = slot.changes();
        let engine = slot.engine();
        let replication = engine.replication();
        let begun = std::future::poll_fn(|context| replication.poll_round(context));
        let round = tokio::select! {
            biased;
            round = begun => round,
            changed = changes.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        match raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
            Ok(found) => {
                replication.confirm(found.read_log_id().log_id().leader_id.term, round);
            }
            Err(error) => {
                tracing::debug!("round {round} failed: {error}");
                replication.follow("it is not certain that the node still leads", None);
            }
        }
        if raft.metrics().borrow_watched().running_state.is_err() {
            return;
        }
    }
}
