//! Figures of this server's part among others, copied when someone asks.

use prometheus::{IntCounter, IntGauge, IntGaugeVec};
use rstmdb_types::Result;

use super::Register;
use crate::node::{NodeRole, NodeStanding};

/// What dashboards ask a server for that is followed or follows: zeros where it does neither.
#[derive(Debug)]
pub(super) struct OfNode {
    lag_entries: IntGauge,
    lag_seconds: IntGauge,
    replicas: IntGauge,
    sent: IntCounter,
    replica_lag: IntGaugeVec,
    replica_acked: IntGaugeVec,
    role: IntGaugeVec,
    epoch: IntGauge,
    committed: IntGauge,
    applied: IntGauge,
    ready: IntGauge,
    degraded: IntGauge,
    pub passed_on: IntCounter,
    peers_refused: IntCounter,
    peers_dropped: IntCounter,
    pub timeouts: IntCounter,
}

impl OfNode {
    pub(super) fn new(register: &Register<'_>) -> Result<OfNode> {
        register.counter(
            "rstmdb_replication_slow_replica_disconnects_total",
            "Replicas dropped as too slow: none, since each is sent only as much as it takes",
        )?;
        let by_replica = |name, help| register.gauges(name, help, "replica_id");
        Ok(OfNode {
            lag_entries: register
                .gauge("rstmdb_replication_lag_entries", "Changes this replica is behind")?,
            lag_seconds: register
                .gauge("rstmdb_replication_lag_seconds", "Time this replica is behind")?,
            replicas: register
                .gauge("rstmdb_replication_connected_replicas", "Replicas connected")?,
            sent: register
                .counter("rstmdb_replication_entries_sent_total", "Changes sent to replicas")?,
            replica_lag: by_replica(
                "rstmdb_replication_replica_lag_entries",
                "Changes a replica is behind",
            )?,
            replica_acked: by_replica(
                "rstmdb_replication_replica_last_acked_sequence",
                "The last change a replica has",
            )?,
            role: register.gauges(
                "rstmdb_role",
                "1 for what this node is to the others",
                "role",
            )?,
            epoch: register.gauge("rstmdb_epoch", "Grows with each promotion")?,
            committed: register.gauge(
                "rstmdb_commit_offset",
                "The last change that is known to be committed where writes are taken",
            )?,
            applied: register
                .gauge("rstmdb_apply_offset", "The last change that readers see here")?,
            ready: register.gauge(
                "rstmdb_node_ready",
                "1 while this node's part among others is as it should be",
            )?,
            degraded: register.gauge(
                "rstmdb_replication_degraded",
                "1 while writes go on without replicas that they should wait for",
            )?,
            passed_on: register.counter(
                "rstmdb_sessions_passed_on_total",
                "Sessions of plain clients that were carried to the node that leads",
            )?,
            peers_refused: register.counter(
                "rstmdb_peer_connections_refused_total",
                "Connections at the address for other members that were refused with a reason",
            )?,
            peers_dropped: register.counter(
                "rstmdb_peer_connections_dropped_total",
                "Connections at the address for other members for which there was no room",
            )?,
            timeouts: register.counter(
                "rstmdb_replication_sync_timeouts_total",
                "Writes that replicas did not confirm in time",
            )?,
        })
    }

    pub(super) fn update(&self, node: &NodeStanding, applied: u64) {
        let lag = node.lag.unwrap_or_default();
        set(&self.lag_entries, lag.entries);
        set(&self.lag_seconds, lag.age().unwrap_or_default().as_secs());
        set(&self.replicas, node.followers.len() as u64);
        raise(&self.sent, node.changes_sent);
        raise(&self.peers_refused, node.peers.refused);
        raise(&self.peers_dropped, node.peers.dropped);
        for role in NodeRole::ALL {
            let is_it = i64::from(role == node.role);
            self.role.with_label_values(&[role.name()]).set(is_it);
        }
        set(&self.epoch, node.epoch);
        set(&self.committed, lag.committed.max(applied));
        set(&self.applied, applied);
        set(&self.ready, u64::from(node.not_ready.is_none()));
        set(&self.degraded, u64::from(node.is_degraded));
        // Who is gone has no series.
        self.replica_lag.reset();
        self.replica_acked.reset();
        for follower in &node.followers {
            let name = [follower.name.as_str()];
            set(&self.replica_lag.with_label_values(&name), follower.lag_entries);
            set(&self.replica_acked.with_label_values(&name), follower.applied);
        }
    }
}

fn raise(counter: &IntCounter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}

fn set(gauge: &IntGauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}
