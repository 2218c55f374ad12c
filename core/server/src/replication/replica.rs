//! The part of a replica: it follows, and may be followed in turn.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rstmdb_cluster::follow::{Heir, Replica, Source, Stage, Status};
use rstmdb_cluster::peer::PeerError;
use rstmdb_engine::Engine;
use rstmdb_protocol::ClusterNode;
use rstmdb_types::{ReplicaFollowResult, ReplicaPromoteRequest, Result};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::Replicating;
use super::order::{NodeOrder, NodePart, Promotion, refused};
use super::seat::DoorSeat;
use super::upstream;
use crate::config::Role;
use crate::node::{NodeFollower, NodeLag, NodeRole, NodeStanding, NotReady, lag_exceeded};

/// Changes of how it stands are told so often at most.
const PAUSE: Duration = Duration::from_millis(50);

/// A planned promotion is given up after this time.
const TAKE_OVER_TIME: Duration = Duration::from_secs(10);

/// A server that follows.
pub(super) struct ReplicaPart {
    replicating: Arc<Replicating>,
    replica: Arc<Replica>,
    source: Arc<Source>,
    upstream: Option<String>,
    begun: Instant,
    /// It had all that there was once.
    has_caught_up: bool,
    /// Why it follows no longer.
    stopped: Option<String>,
}

impl ReplicaPart {
    /// Opens what is in the directory.
    pub(super) async fn begin(
        replicating: &Arc<Replicating>,
        upstream: Option<String>,
    ) -> Result<ReplicaPart> {
        let place = &replicating.place;
        let source = replicating.serve_by(Source::new(place.identity.clone(), place.pace.clone()));
        let replica = Arc::new(Replica::new(
            place.identity.clone(),
            place.pace.clone(),
            upstream.as_deref().unwrap_or_default(),
            place.location.clone(),
            place.options.clone(),
            Arc::new(DoorSeat(replicating.calls.clone())),
        ));
        replica.open().await?;
        let mut following = ReplicaPart {
            replicating: replicating.clone(),
            replica,
            source,
            upstream,
            begun: Instant::now(),
            has_caught_up: false,
            stopped: None,
        };
        following.publish(&Status::default());
        Ok(following)
    }

    /// Follows until it is something else; says what.
    pub(super) async fn run(mut self, orders: &mut mpsc::Receiver<NodeOrder>) -> NodePart {
        let (replica, replicating) = (self.replica.clone(), self.replicating.clone());
        let upstream = self.upstream.clone();
        let mut running = std::pin::pin!(async move {
            match &upstream {
                Some(address) => {
                    let place = &replicating.place;
                    replica
                        .run(|| upstream::connect(&place.config, &place.identity.name, address))
                        .await
                }
                None => std::future::pending::<PeerError>().await,
            }
        });
        let mut status = self.replica.status();
        let mut followers = self.source.watch();
        let mut heirs = self.source.heirs();
        let mut looks = tokio::time::interval(self.replicating.place.config.lag_check_interval);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let is_running = self.stopped.is_none();
            tokio::select! {
                error = &mut running, if is_running => {
                    self.stopped = Some(format!("it follows no longer: {error}"));
                }
                _ = status.changed() => {}
                _ = followers.changed() => {}
                _ = looks.tick() => {}
                Some(heir) = heirs.recv() => self.yield_to(heir),
                Some(order) = orders.recv() => match order {
                    NodeOrder::Follow(upstream, answer) => {
                        let role = NodeRole::Replica.name().into();
                        let text = upstream.as_deref().map(Into::into);
                        self.replicating.keep(Role::Replica, upstream.as_deref());
                        let _ = answer.send(Ok(ReplicaFollowResult { role, upstream: text }));
                        return self.follow(upstream).await;
                    }
                    NodeOrder::Promote(request, answer) => {
                        let began = Instant::now();
                        let promotable = tokio::select! {
                            promotable = self.may_lead(&request) => promotable,
                            error = &mut running, if is_running => Err(refused(error.to_string())),
                        };
                        match promotable {
                            Ok((engine, lost)) => {
                                let former = self.upstream.clone().filter(|_| request.force);
                                let promotion = Promotion { began, lost, former, answer };
                                return NodePart::Primary(engine, Some(promotion));
                            }
                            Err(error) => drop(answer.send(Err(error))),
                        }
                    }
                },
            }
            let now = status.borrow_and_update().clone();
            self.publish(&now);
            if is_running && self.stopped.is_none() {
                tokio::select! {
                    error = &mut running => {
                        self.stopped = Some(format!("it follows no longer: {error}"));
                        self.publish(&now);
                    }
                    () = sleep(PAUSE) => {}
                }
            }
        }
    }

    /// Says again where the log ended when it was handed over to the one that this server follows since then: the connection may have been
    /// cut in between, and nobody takes the writes until that one does.
    fn yield_to(&self, heir: Heir) {
        let tip = self.replica.engine().map(|engine| engine.replication().tip());
        let end = match tip {
            Some(tip) if self.upstream.as_deref() == Some(&*heir.address) => Ok(tip.index),
            _ => Err(format!("{} takes no writes itself", self.replicating.identity().name)),
        };
        // It may be gone again.
        let _ = heir.answer.send(end);
    }

    /// The engine in which it may lead, and how many changes are lost as far as is known.
    async fn may_lead(&self, request: &ReplicaPromoteRequest) -> Result<(Arc<Engine>, u64)> {
        let engine = self.replica.engine();
        let engine = engine.ok_or_else(|| refused("there is no database here yet"))?;
        if !request.force {
            let planned = self.replica.take_over(TAKE_OVER_TIME).await;
            return match planned {
                Ok(()) => Ok((engine, 0)),
                Err(error) => Err(refused(format!(
                    "nothing was changed: {}; {}. To take the writes all the same, use force",
                    error.message(),
                    self.what_is_lost()
                ))),
            };
        }
        let (lost, allowed) = (self.replica.lag().0, request.lose_up_to.unwrap_or(0));
        if lost > allowed {
            let what = format!(
                "nothing was changed: {}, more than lose_up_to = {allowed}",
                self.what_is_lost()
            );
            return Err(refused(what).with("lost", lost).with("lose_up_to", allowed));
        }
        tracing::warn!(
            "{} takes the writes without being asked: {}",
            self.replicating.identity().name,
            self.what_is_lost()
        );
        Ok((engine, lost))
    }

    /// What a forced promotion costs, as far as is known.
    fn what_is_lost(&self) -> String {
        let (entries, age) = self.replica.lag();
        let heard = match age {
            Some(age) => format!("{} ms", age.as_millis()),
            None => "the start".to_owned(),
        };
        format!(
            "{entries} changes are known to be missing here, and what was written in the last {heard} may be"
        )
    }

    /// Follows another one.
    async fn follow(self, upstream: Option<String>) -> NodePart {
        let replica = self.replica.clone();
        drop(self);
        let closed = tokio::task::spawn_blocking(move || replica.close()).await;
        if let Ok(Err(error)) = closed {
            tracing::warn!("closing: {error}");
        }
        NodePart::Replica(upstream)
    }

    /// Says how it stands.
    fn publish(&mut self, status: &Status) {
        let (config, identity) = (&self.replicating.place.config, self.replicating.identity());
        let (entries, age) = self.replica.lag();
        let engine = self.replica.engine();
        let tip = engine.as_ref().map(|engine| engine.replication().tip());
        let committed = tip.map_or(0, |tip| tip.committed_offset);
        self.has_caught_up |= status.stage == Stage::Streaming && entries == 0 && age.is_some();
        // Of one that never heard anything it is not known.
        let silence = age.unwrap_or_else(|| self.begun.elapsed());
        let late = (!config.max_lag.is_zero() && silence > config.max_lag).then(|| {
            format!("{} ms, more than replication.max_lag_seconds allows", silence.as_millis())
        });
        let far = (config.max_lag_entries > 0 && entries > config.max_lag_entries)
            .then(|| format!("{entries} changes, more than replication.max_lag_entries allows"));
        let lagging = late.or(far).map(|how| format!("this replica is {how} behind"));
        let not_ready = match (&self.stopped, &lagging) {
            (Some(why), _) => Some(("stopped", why.clone())),
            (None, Some(why)) => Some(("lagging", why.clone())),
            (None, None) if self.upstream.is_none() => {
                Some(("detached", "this replica follows nobody".to_owned()))
            }
            (None, None) if !self.has_caught_up => Some(("catching_up", catching_up(status))),
            (None, None) => None,
        };
        let shown = self.source.followers();
        let shown = shown.iter().filter(|follower| !follower.name.is_empty());
        let own = ClusterNode {
            id: identity.node.into(),
            address: Some(identity.address.clone()).filter(|address| !address.is_empty()),
            role: NodeRole::Replica.name().to_owned(),
            ..ClusterNode::default()
        };
        let leader_address = engine.as_ref().and_then(|engine| engine.replication().writes_at());
        let primary =
            leader_address.clone().zip(Some(status.source_node)).map(|(address, id)| ClusterNode {
                id: id.into(),
                address: Some(address),
                role: NodeRole::Primary.name().to_owned(),
                ..ClusterNode::default()
            });
        let followers = shown.map(|follower| NodeFollower {
            node: follower.node,
            name: follower.name.clone(),
            applied: follower.ack.applied_offset,
            lag_entries: committed.saturating_sub(follower.ack.applied_offset),
        });
        self.replicating.calls.node().set(NodeStanding {
            role: NodeRole::Replica,
            node: identity.node,
            name: identity.name.clone(),
            epoch: engine.as_ref().zip(tip).map_or(0, |(engine, tip)| {
                tip.term.max(engine.replication().highest_epoch()) >> 16
            }),
            leader: primary.as_ref().map(|_| status.source_node),
            leader_address,
            nodes: primary.into_iter().chain([own]).collect(),
            committed,
            upstream: self.upstream.clone(),
            lag: Some(NodeLag { entries, age, as_of: None, committed: status.committed }),
            followers: followers.collect(),
            reads: lagging.map(|why| lag_exceeded(format!("{why}; ask another node"))),
            not_ready: not_ready.map(|(status, reason)| NotReady { status, reason }),
            changes_sent: self.source.changes_sent(),
            ..NodeStanding::default()
        });
    }
}

fn catching_up(status: &Status) -> String {
    let doing = match status.stage {
        Stage::Connecting => "it has no connection yet",
        Stage::Comparing => "it finds out where to go on",
        Stage::Installing => "a checkpoint comes",
        Stage::Streaming => "the log comes",
    };
    match &status.error {
        Some(error) => format!("this replica has not caught up: {doing}; {error}"),
        None => format!("this replica has not caught up: {doing}"),
    }
}
