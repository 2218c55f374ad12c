//! Says what this database is, how it is, and what its log holds.

use rstmdb_types::error::reason;
use rstmdb_types::{
    ClusterStatusResult, Error, Feature, InfoRequest, InfoResult, KnownLimits, LogPosition,
    PingRequest, PingResult, ReplicaFollowRequest, ReplicaFollowResult, ReplicaPromoteRequest,
    ReplicaPromoteResult, ReplicationStatusRequest, ReplicationStatusResult, Result,
    WalStatsRequest, WalStatsResult,
};

use crate::manifest::hex;
use crate::pending::Evaluated;
use crate::shared::Shared;

impl Shared {
    pub(crate) fn ping(&self, _request: PingRequest) -> Evaluated<PingResult> {
        self.ready(self.check_open().map(|()| PingResult { pong: true }))
    }

    pub(crate) fn replication_status(
        &self,
        _request: ReplicationStatusRequest,
    ) -> Evaluated<ReplicationStatusResult> {
        let role = self.role().into();
        self.ready(
            self.check_open().map(|()| ReplicationStatusResult { role, ..Default::default() }),
        )
    }

    fn role(&self) -> &'static str {
        match &self.node {
            None => "standalone",
            Some(_) if self.queue.check_stands().is_ok() => "primary",
            Some(_) => "replica",
        }
    }

    /// Who belongs to no group decides alone.
    pub(crate) fn cluster_of_one(&self) -> Result<ClusterStatusResult> {
        self.check_open()?;
        let role = self.role().into();
        Ok(ClusterStatusResult { role, has_quorum: true, ..Default::default() })
    }

    /// Why nothing can be ordered about a group: whoever runs a member has its own answers.
    pub(crate) fn has_no_group(&self) -> Error {
        if let Err(error) = self.check_open() {
            return error;
        }
        Error::invalid(
            reason::UNSUPPORTED,
            "this database belongs to no group: start its server with cluster.enabled, or ask a member of one",
        )
    }

    /// Who is alone takes the writes: whoever runs a node has its own answer.
    pub(crate) fn promote(&self, request: &ReplicaPromoteRequest) -> Result<ReplicaPromoteResult> {
        self.check_open()?;
        request.check()?;
        Ok(ReplicaPromoteResult { role: "standalone".into(), epoch: 0, lost: 0, took_ms: 0 })
    }

    /// And follows nobody.
    pub(crate) fn follow_nobody(
        &self,
        request: &ReplicaFollowRequest,
    ) -> Result<ReplicaFollowResult> {
        self.check_open()?;
        match &request.upstream {
            None => Ok(ReplicaFollowResult { role: "standalone".into(), upstream: None }),
            Some(_) => Err(Error::invalid(
                reason::UNSUPPORTED,
                "only a server follows another one, with replication.role primary or replica in its configuration",
            )
            .with("field", "upstream")),
        }
    }

    pub(crate) fn info(&self, _request: InfoRequest) -> Evaluated<InfoResult> {
        self.observe(|| self.check_open().map(|()| self.describe()))
    }

    fn describe(&self) -> InfoResult {
        let refusal = self.refusal();
        let LogPosition { next, history_id } = self.position(self.queue.appended() + 1);
        InfoResult {
            server_name: "rstmdb".into(),
            server_version: env!("CARGO_PKG_VERSION").into(),
            backend: if self.storage.is_volatile() { "memory" } else { "file" }.into(),
            database_id: Some(hex(&self.database).into()),
            features: Feature::ALL.iter().map(|feature| feature.name().into()).collect(),
            writable: Some(refusal.is_none()),
            health: Some(refusal.map_or_else(|| "ok".into(), |error| error.message().into())),
            limits: KnownLimits::from(&self.options.limits),
            instances: Some(self.state.instance_count()),
            machines: Some(self.state.machines.read().len() as u64),
            latest_offset: Some(next - 1),
            history_id,
        }
    }

    pub(crate) fn wal_stats(&self, _request: WalStatsRequest) -> Evaluated<WalStatsResult> {
        self.observe(|| self.check_open().map(|()| self.figures()))
    }

    fn figures(&self) -> WalStatsResult {
        let (segment_count, total_size_bytes) = self.files.totals();
        let latest_offset = self.queue.appended();
        WalStatsResult {
            entry_count: latest_offset,
            segment_count,
            total_size_bytes,
            latest_offset,
            first_offset: Some(self.first_offset()),
            io_stats: self.files.counters.stats(),
        }
    }
}
