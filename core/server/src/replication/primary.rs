//! The part of a primary: it leads, and is followed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rstmdb_cluster::follow::{Follower, Heir, Overtaken, Primary, Source, tell_epoch};
use rstmdb_engine::Engine;
use rstmdb_engine::replication::{LeaderHint, Standing};
use rstmdb_protocol::ClusterNode;
use rstmdb_types::error::reason;
use rstmdb_types::{
    Error, ErrorCode, InfoRequest, ReplicaFollowResult, ReplicaPromoteResult, Result,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::Replicating;
use super::order::{NodeOrder, NodePart, Promotion, refused};
use super::upstream;
use crate::config::{OnTimeout, ReplicationConfig, ReplicationMode, Role};
use crate::node::{NodeFollower, NodeRole, NodeStanding, NotReady};

/// It is looked after so often, at most and at least.
const LOOKS: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(500)];

/// A hand-over takes so long at most.
const HAND_OVER_TIME: Duration = Duration::from_secs(5);
/// All is written when that is so at some looks in a row.
const QUIET_LOOKS: u32 = 3;
const QUIET_PAUSE: Duration = Duration::from_millis(2);

/// A server that takes the writes.
pub(super) struct PrimaryPart {
    replicating: Arc<Replicating>,
    engine: Arc<Engine>,
    source: Arc<Source>,
    primary: Arc<Primary>,
    /// Why it stopped leading.
    stopped: Option<String>,
    /// Who takes over.
    heir: Option<(String, String)>,
    promotion: Option<Promotion>,
    /// Tells the one that led before.
    _courier: Option<Courier>,
    progress: SyncProgress,
}

/// A task that ends with its part.
struct Courier(JoinHandle<()>);

impl Drop for Courier {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Whether replicas have what is written, in mode `sync`.
struct SyncProgress {
    /// The last frame that was committed, and since when.
    committed: (u64, Instant),
    /// It goes on without replicas.
    is_degraded: bool,
}

impl PrimaryPart {
    pub(super) fn begin(
        replicating: &Arc<Replicating>,
        engine: Arc<Engine>,
        promotion: Option<Promotion>,
    ) -> PrimaryPart {
        let place = &replicating.place;
        let (identity, pace) = (place.identity.clone(), place.pace.clone());
        let source = match place.config.mode {
            ReplicationMode::Async => Source::new(identity, pace),
            ReplicationMode::Sync => Source::ahead(identity, pace),
        };
        let source = replicating.serve_by(source);
        let replicas = required(&place.config);
        let node = place.identity.node;
        let primary = Arc::new(Primary::new(engine.clone(), source.clone(), node, replicas));
        let progress = SyncProgress { committed: (0, Instant::now()), is_degraded: false };
        let former = promotion.as_ref().and_then(|promotion| promotion.former.clone());
        let courier = former.map(|former| {
            Courier(tokio::spawn(tell_former(replicating.clone(), engine.clone(), former)))
        });
        let leading = PrimaryPart {
            replicating: replicating.clone(),
            engine,
            source,
            primary,
            stopped: None,
            heir: None,
            promotion,
            _courier: courier,
            progress,
        };
        leading.publish();
        leading
    }

    /// Whether nothing is taken before replicas come.
    pub(super) fn waits_for_replicas(&self) -> bool {
        required(self.config()) > 0
    }

    fn config(&self) -> &ReplicationConfig {
        &self.replicating.place.config
    }

    /// Leads until somebody else is to; says what this server is then.
    pub(super) async fn run(mut self, orders: &mut mpsc::Receiver<NodeOrder>) -> NodePart {
        let primary = self.primary.clone();
        let mut running = std::pin::pin!(primary.run());
        let (mut followers, mut overtaken) = (self.source.watch(), self.source.overtaken());
        let mut leads = self.primary.leads();
        let mut heirs = self.source.heirs();
        let [least, most] = LOOKS;
        let mut looks = tokio::time::interval((self.config().sync_timeout / 4).clamp(least, most));
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let is_running = self.stopped.is_none();
            tokio::select! {
                error = &mut running, if is_running => {
                    tracing::error!("{} leads no longer: {error}", self.replicating.identity().name);
                    self.stopped = Some(error.to_string());
                }
                later = next(&mut overtaken) => return self.give_way(later).await,
                _ = followers.changed() => {}
                Some(heir) = heirs.recv() => {
                    let drained = tokio::select! {
                        drained = self.drain(&heir) => drained,
                        error = &mut running, if is_running => Err(error.to_string()),
                    };
                    match drained {
                        Ok(index) => return self.hand_over(heir, index).await,
                        Err(why) => {
                            tracing::warn!("{} does not take over: {why}", heir.name);
                            self.heir = None;
                            let _ = heir.answer.send(Err(why));
                        }
                    }
                }
                Some(order) = orders.recv() => match order {
                    NodeOrder::Promote(_, answer) => drop(answer.send(self.promoted(0, 0))),
                    NodeOrder::Follow(None, answer) => {
                        let what = "this server takes the writes: promote another one, and it follows that";
                        let _ = answer.send(Err(refused(what)));
                    }
                    NodeOrder::Follow(Some(upstream), answer) => {
                        let role = NodeRole::Replica.name().into();
                        let text = Some(upstream.as_str().into());
                        let _ = answer.send(Ok(ReplicaFollowResult { role, upstream: text }));
                        return self.follow("an order", Some(upstream)).await;
                    }
                },
                Ok(()) = leads.changed() => {
                    // Writes are taken before anybody hears that they are.
                    self.publish();
                    self.answer_promotion();
                }
                _ = looks.tick() => self.look(),
            }
            self.publish();
        }
    }

    /// Somebody else was promoted: this server follows.
    async fn give_way(self, later: Overtaken) -> NodePart {
        let number = later.epoch >> 16;
        tracing::warn!(
            "{} gives way: epoch {number} has begun, and writes are taken at {:?}",
            self.replicating.identity().name,
            later.writes_at
        );
        let upstream = Some(later.writes_at).filter(|address| !address.is_empty());
        // Kept, so that a start does not take the old part for its own.
        if let Err(error) = self.engine.replication().save_epoch(later.epoch) {
            tracing::error!("the epoch can't be kept: {error}");
        }
        self.follow("another node was promoted", upstream).await
    }

    /// It takes no more writes from now on.
    async fn follow(self, why: &str, upstream: Option<String>) -> NodePart {
        let leader = upstream.clone().map(|address| LeaderHint { node: 0, address });
        let engine = self.engine.clone();
        engine.replication().follow(why, leader);
        self.replicating.keep(Role::Replica, upstream.as_deref());
        self.replicating.calls.withdraw();
        let closed = tokio::task::spawn_blocking(move || engine.close()).await;
        if let Ok(Err(error)) = closed {
            tracing::warn!("closing: {error}");
        }
        NodePart::Replica(upstream)
    }

    /// What is told to who promotes it.
    fn promoted(&self, lost: u64, took_ms: u64) -> Result<ReplicaPromoteResult> {
        let epoch = self.engine.replication().tip().term >> 16;
        Ok(ReplicaPromoteResult { role: NodeRole::Primary.name().into(), epoch, lost, took_ms })
    }

    /// It leads, as it was told to.
    fn answer_promotion(&mut self) {
        if !*self.primary.leads().borrow() {
            return;
        }
        let Some(promotion) = self.promotion.take() else { return };
        let took = promotion.began.elapsed().as_millis();
        let result = self.promoted(promotion.lost, u64::try_from(took).unwrap_or(u64::MAX));
        tracing::warn!(
            took_ms = took as u64,
            lost = promotion.lost,
            "{} was promoted",
            self.replicating.identity().name
        );
        self.replicating.keep(Role::Primary, None);
        let _ = promotion.answer.send(result);
    }

    /// Takes no more writes, and waits until all of them are committed; says where the log ends.
    async fn drain(&mut self, heir: &Heir) -> std::result::Result<u64, String> {
        if heir.address.is_empty() {
            return Err(format!(
                "{} does not say where clients reach it: set replication.advertise there",
                heir.name
            ));
        }
        self.heir = Some((heir.name.clone(), heir.address.clone()));
        self.publish();
        let end = Instant::now() + HAND_OVER_TIME;
        let mut quiet = 0;
        loop {
            let (_, info) = self.replicating.calls.ask(InfoRequest {});
            let appended = info.ok().and_then(|info| info.latest_offset);
            let tip = self.engine.replication().tip();
            let is_quiet = appended == Some(tip.committed_offset) && tip.index == tip.committed;
            quiet = if is_quiet { quiet + 1 } else { 0 };
            if quiet >= QUIET_LOOKS {
                return Ok(tip.index);
            }
            if Instant::now() >= end {
                return Err("what was written is not committed yet".to_owned());
            }
            tokio::time::sleep(QUIET_PAUSE).await;
        }
    }

    /// Says that nothing more is written here, and follows who takes over once that one is gone from here: it leads then.
    async fn hand_over(self, heir: Heir, index: u64) -> NodePart {
        tracing::warn!("{} hands over to {}", self.replicating.identity().name, heir.name);
        let mut changed = self.source.watch();
        let _ = heir.answer.send(Ok(index));
        let is_gone = || self.source.followers().iter().all(|follower| follower.node != heir.node);
        let gone = async {
            while !is_gone() {
                let _ = changed.changed().await;
            }
        };
        if tokio::time::timeout(HAND_OVER_TIME, gone).await.is_err() {
            tracing::error!(
                "{} did not take over in time; promote it with force if it does not lead",
                heir.name
            );
        }
        self.follow("another node took over", Some(heir.address)).await
    }

    /// Looks whether replicas keep what is written waiting.
    fn look(&mut self) {
        let required = required(self.config());
        if required == 0 {
            return;
        }
        let tip = self.engine.replication().tip();
        let now = Instant::now();
        let (before, since) = self.progress.committed;
        if tip.committed != before || tip.committed == tip.index {
            self.progress.committed = (tip.committed, now);
        } else if !self.progress.is_degraded {
            // Whoever waits looks whether that is too long.
            self.replicating.calls.nudge();
            let timeout = self.config().sync_timeout;
            if now - since >= timeout && self.config().on_timeout == OnTimeout::Degrade {
                tracing::error!(
                    "writes go on without replicas, since {required} of them did not confirm within {} ms: what is \
                     written now is lost with this server",
                    timeout.as_millis()
                );
                self.progress.is_degraded = true;
                self.primary.require(0);
            }
        }
        if self.progress.is_degraded && self.in_sync(&self.source.followers()) >= required {
            tracing::warn!("{required} replicas are back: writes wait for them again");
            self.progress.is_degraded = false;
            self.primary.require(required);
        }
    }

    /// How many replicas have what there was at the last look.
    fn in_sync(&self, followers: &[Follower]) -> usize {
        let (committed, _) = self.progress.committed;
        let has_it =
            |follower: &&Follower| follower.is_streaming && follower.ack.synced >= committed;
        followers.iter().filter(has_it).count()
    }

    /// Says how it stands.
    fn publish(&self) {
        let (config, identity) = (self.config(), self.replicating.identity());
        let replication = self.engine.replication();
        let (tip, leads) = (
            replication.tip(),
            matches!(replication.standing(), Standing::Leading { .. }) && self.stopped.is_none(),
        );
        let connected = self.source.followers();
        let in_sync = self.in_sync(&connected);
        let missing = match (leads, &self.stopped) {
            (_, Some(why)) => Some(("stopped", why.clone())),
            (false, None) if required(config) > 0 => Some((
                "waiting",
                format!(
                    "writes begin when {} of replication.sync_replicas are connected, and {in_sync} are",
                    config.sync_replicas
                ),
            )),
            (false, None) => Some(("starting", "this server begins to take writes".to_owned())),
            (true, None) if in_sync < config.min_in_sync_replicas as usize => Some((
                "too_few_replicas",
                format!(
                    "{in_sync} replicas are connected, fewer than replication.min_in_sync_replicas = {}",
                    config.min_in_sync_replicas
                ),
            )),
            (true, None) => None,
        };
        let shown = connected.iter().filter(|follower| !follower.name.is_empty());
        let shown = shown.map(|follower| NodeFollower {
            node: follower.node,
            name: follower.name.clone(),
            applied: follower.ack.applied_offset,
            lag_entries: tip.committed_offset.saturating_sub(follower.ack.applied_offset),
        });
        let others =
            connected.iter().filter(|follower| follower.node > 0 && follower.node != identity.node);
        let others = others.map(|follower| ClusterNode {
            id: follower.node.into(),
            address: Some(follower.address.clone()).filter(|address| !address.is_empty()),
            role: NodeRole::Replica.name().to_owned(),
            ..ClusterNode::default()
        });
        let own = ClusterNode {
            id: identity.node.into(),
            address: Some(identity.address.clone()).filter(|address| !address.is_empty()),
            role: NodeRole::Primary.name().to_owned(),
            ..ClusterNode::default()
        };
        let is_sync = config.mode == ReplicationMode::Sync;
        self.replicating.calls.node().set(NodeStanding {
            role: NodeRole::Primary,
            node: identity.node,
            name: identity.name.clone(),
            epoch: tip.term.max(replication.highest_epoch()) >> 16,
            leader: leads.then_some(identity.node),
            leader_address: own.address.clone().filter(|_| leads),
            nodes: std::iter::once(own).chain(others).collect(),
            committed: tip.committed_offset,
            followers: shown.collect(),
            mode: Some(if is_sync { "sync" } else { "async" }),
            writes: match (&missing, &self.stopped) {
                (_, None) if self.heir.is_some() => self.heir.as_ref().map(handing_over),
                (Some((status, why)), None) => Some(match *status {
                    "starting" => not_yet(why),
                    _ => too_few(why),
                }),
                _ => None,
            },
            not_ready: missing.map(|(status, reason)| NotReady { status, reason }),
            commit_timeout: (is_sync && !self.progress.is_degraded).then_some(config.sync_timeout),
            is_degraded: self.progress.is_degraded,
            changes_sent: self.source.changes_sent(),
            ..NodeStanding::default()
        });
    }
}

fn required(config: &ReplicationConfig) -> usize {
    match config.mode {
        ReplicationMode::Async => 0,
        ReplicationMode::Sync => config.sync_replicas as usize,
    }
}

/// Repeated, it is carried out.
fn not_yet(why: &str) -> Error {
    let message = format!("{why}; the request changed nothing, repeat it");
    Error::new(ErrorCode::ReadOnlyMode, message).with_reason(reason::NOT_LEADER)
}

/// Repeated, it comes to who takes over.
fn handing_over((name, address): &(String, String)) -> Error {
    let message = format!("{name} takes the writes over: write at {address}");
    Error::new(ErrorCode::ReadOnlyMode, message)
        .with_reason(reason::NOT_LEADER)
        .with("address", address.as_str())
}

/// Tells the one that led before that it does no longer, as soon as it can be reached.
async fn tell_former(replicating: Arc<Replicating>, engine: Arc<Engine>, former: String) {
    let place = &replicating.place;
    loop {
        let reached = upstream::connect(&place.config, &place.identity.name, &former).await;
        let told = match reached {
            Ok(stream) => tell_epoch(&place.identity, &engine, stream, place.pace.silence).await,
            Err(error) => Err(error),
        };
        match told {
            Ok(_) => {
                tracing::info!("{former} knows that it was replaced");
                return;
            }
            Err(error) => {
                tracing::debug!("{former} does not know yet that it was replaced: {error}")
            }
        }
        tokio::time::sleep(place.pace.retry_max).await;
    }
}

fn too_few(why: &str) -> Error {
    let message = format!("{why}; the request changed nothing, repeat it");
    Error::new(ErrorCode::ReplicationError, message).with_reason(reason::TOO_FEW_REPLICAS)
}

/// The next that was heard of.
async fn next(overtaken: &mut watch::Receiver<Option<Overtaken>>) -> Overtaken {
    loop {
        if let Some(later) = overtaken.borrow_and_update().clone() {
            return later;
        }
        if overtaken.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
