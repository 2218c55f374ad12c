//! The reads of the model.

use rstmdb_machine::{Allowance, Situation};
use rstmdb_types::error::reason;
use rstmdb_types::limits::check;
use rstmdb_types::*;
use serde_json::json;

use super::{Instance, Key, Model, error, invalid, not_found};
use crate::watch_filter::WatchFilter;

impl Model {
    /// See [`Operation::GetMachine`].
    pub fn get_machine(&self, request: GetMachineRequest) -> Result<GetMachineResult> {
        let machine = self.machine(&request.machine, request.version)?;
        Ok(GetMachineResult {
            definition: machine.normal_form().clone(),
            checksum: machine.checksum().into(),
        })
    }

    /// See [`Operation::ListMachines`].
    pub fn list_machines(&self, _: ListMachinesRequest) -> Result<ListMachinesResult> {
        let mut items: Vec<MachineVersions> = Vec::new();
        for (machine, version) in self.machines.keys() {
            match items.last_mut().filter(|item| item.machine == *machine) {
                Some(item) => item.versions.push(*version),
                None => items
                    .push(MachineVersions { machine: machine.clone(), versions: vec![*version] }),
            }
        }
        Ok(ListMachinesResult { items })
    }

    /// See [`Operation::GetInstance`].
    pub fn get_instance(&self, request: GetInstanceRequest) -> Result<GetInstanceResult> {
        let instance = self.instance(&request.instance_id)?;
        Ok(GetInstanceResult {
            instance_id: request.instance_id,
            machine: instance.machine.clone(),
            version: instance.version,
            state: instance.state.clone(),
            ctx: instance.ctx.clone(),
            last_wal_offset: instance.last_wal_offset,
            last_event_id: instance.last_event_id.clone(),
            created_at: Some(instance.created_at),
            updated_at: Some(instance.updated_at),
        })
    }

    /// See [`Operation::ListInstances`]. The cursor has the last id of the page before.
    pub fn list_instances(&self, request: ListInstancesRequest) -> Result<ListInstancesResult> {
        let limit = self.page_limit(request.limit)?;
        let after = match request.cursor.as_deref().map(|cursor| cursor.strip_prefix("after:")) {
            Some(None) => return Err(invalid(reason::INVALID_CURSOR, "not a cursor".to_owned())),
            after => after.flatten(),
        };
        let matching: Vec<InstanceSummary> = self
            .instances
            .iter()
            .filter(|(_, instance)| {
                !instance.deleted
                    && is_or_any(&instance.machine, &request.machine)
                    && is_or_any(&instance.version, &request.version)
                    && is_or_any(&instance.state, &request.state)
            })
            .map(|(id, instance)| InstanceSummary {
                id: id.clone(),
                machine: instance.machine.clone(),
                version: instance.version,
                state: instance.state.clone(),
                created_at: instance.created_at,
                updated_at: instance.updated_at,
                last_wal_offset: instance.last_wal_offset,
            })
            .collect();
        let total = matching.len() as u64;
        let mut rest = matching
            .into_iter()
            .filter(|instance| after.is_none_or(|after| instance.id.as_str() > after))
            .skip(request.offset.unwrap_or(0) as usize);
        let instances: Vec<_> = rest.by_ref().take(limit).collect();
        let has_more = rest.next().is_some();
        let last = instances.last().filter(|_| has_more);
        let next_cursor = last.map(|instance| format!("after:{}", instance.id).into());
        Ok(ListInstancesResult { instances, total, has_more, next_cursor })
    }

    /// See [`Operation::CountInstances`].
    pub fn count_instances(&self, request: CountInstancesRequest) -> Result<CountInstancesResult> {
        let mut counts = Vec::new();
        for ((machine, version), definition) in &self.machines {
            for state in definition.states() {
                let count = self.instances.values().filter(|instance| {
                    !instance.deleted
                        && (&instance.machine, &instance.version) == (machine, version)
                        && instance.state == *state
                });
                counts.push(InstanceCount {
                    machine: machine.clone(),
                    version: *version,
                    state: state.clone(),
                    count: count.count() as u64,
                });
            }
        }
        counts.retain(|entry| {
            entry.count > 0
                && is_or_any(&entry.machine, &request.machine)
                && is_or_any(&entry.version, &request.version)
                && is_or_any(&entry.state, &request.state)
        });
        Ok(CountInstancesResult { counts })
    }

    /// See [`Operation::Permitted`].
    pub fn permitted(&self, request: PermittedRequest) -> Result<PermittedResult> {
        if let Some(payload) = &request.payload {
            self.settings.limits.check_payload(payload)?;
        }
        let instance = self.instance(&request.instance_id)?;
        let machine = self.machine(&instance.machine, instance.version)?;
        let situation = self.situation(&request.instance_id, instance, request.payload.as_ref());
        Ok(PermittedResult {
            state: instance.state.clone(),
            completed: machine.is_final(situation.state),
            events: machine.permitted(&situation),
            instance_id: request.instance_id,
        })
    }

    /// See [`Operation::SnapshotInstance`]. What it says about the file is made up.
    pub fn snapshot_instance(
        &mut self,
        request: SnapshotInstanceRequest,
    ) -> Result<SnapshotInstanceResult> {
        let instance = self.instance(&request.instance_id)?;
        let (wal_offset, count) = (instance.last_wal_offset, instance.snapshots.len());
        let limit = self.settings.limits.snapshots_max as usize;
        if limit > 0 && count >= limit {
            return Err(Error::invalid(reason::LIMIT_EXCEEDED, "too many snapshots")
                .with("instance_id", request.instance_id.as_str())
                .with("field", "snapshots")
                .with("limit", "snapshots_max")
                .with("size", count + 1)
                .with("limit_value", limit));
        }
        self.snapshots += 1;
        let snapshot_id = Text::from(format!("snap-{}", self.snapshots));
        let instance = self.instances.get_mut(&request.instance_id).expect("it was found above");
        instance.snapshots.push((snapshot_id.clone(), wal_offset));
        Ok(SnapshotInstanceResult {
            instance_id: request.instance_id,
            snapshot_id,
            wal_offset,
            size_bytes: 1,
            checksum: "00000000".into(),
        })
    }

    /// See [`Operation::ListSnapshots`]. What it says about the files is made up.
    pub fn list_snapshots(&self, request: ListSnapshotsRequest) -> Result<ListSnapshotsResult> {
        let summary = |(snapshot_id, wal_offset): &(Text, Offset)| SnapshotSummary {
            snapshot_id: snapshot_id.clone(),
            wal_offset: *wal_offset,
            size_bytes: 1,
            checksum: "00000000".into(),
        };
        let instance = self.instance(&request.instance_id)?;
        Ok(ListSnapshotsResult { snapshots: instance.snapshots.iter().map(summary).collect() })
    }

    /// See [`Operation::DropSnapshot`].
    pub fn drop_snapshot(&mut self, request: DropSnapshotRequest) -> Result<DropSnapshotResult> {
        let snapshot_id = request.snapshot_id;
        let instances = self.instances.values_mut().filter(|instance| !instance.deleted);
        for instance in instances {
            if let Some(at) = instance.snapshots.iter().position(|(id, _)| *id == snapshot_id) {
                instance.snapshots.remove(at);
                return Ok(DropSnapshotResult { snapshot_id, dropped: true });
            }
        }
        Err(error(ErrorCode::NotFound, "no such snapshot").with_reason(reason::SNAPSHOT_NOT_FOUND))
    }

    /// See [`Operation::Backup`]. Its bytes are made up: 200 of them, whatever there is.
    pub fn backup(&self, request: BackupRequest) -> Result<BackupResult> {
        const SIZE: u64 = 200;
        let position = request.position.unwrap_or(0);
        let refused =
            |field: &str| Err(Error::invalid(reason::INVALID_REQUEST, field).with("field", field));
        match &request.backup_id {
            None if position > 0 => return refused("position"),
            Some(id) if !id.starts_with("backup-") => {
                let gone = error(ErrorCode::NotFound, "no such backup");
                return Err(gone.with_reason(reason::BACKUP_GONE).with("backup_id", id.as_str()));
            }
            _ => {}
        }
        let most = u64::from(request.bytes_max.unwrap_or(u32::MAX));
        if most == 0 {
            return refused("bytes_max");
        }
        if position >= SIZE {
            return refused("position");
        }
        let bytes = vec![0; usize::try_from(most.min(SIZE - position)).unwrap_or_default()];
        let next = position + bytes.len() as u64;
        let named = request.backup_id.as_deref().and_then(|id| id.strip_prefix("backup-"));
        let last_offset = named.and_then(|last| last.parse().ok()).unwrap_or(self.latest_offset());
        Ok(BackupResult {
            backup_id: request.backup_id.unwrap_or_else(|| format!("backup-{last_offset}").into()),
            database_id: "0".repeat(32).into(),
            history_id: None,
            checkpoint_offset: 0,
            last_offset,
            last_at: None,
            begun_at: self.now_ms,
            size_bytes: SIZE,
            position,
            data: BackupResult::encode(&bytes),
            next_position: (next < SIZE).then_some(next),
        })
    }

    /// See [`Operation::Verify`]. It has no files that anything could be wrong with.
    pub fn verify(&self, request: VerifyRequest) -> Result<VerifyResult> {
        if let Some(next) = request.next.filter(|next| next.parse::<u64>().is_err()) {
            return Err(Error::invalid(reason::INVALID_CURSOR, next.as_str()).with("field", "next"));
        }
        Ok(VerifyResult {
            database_id: "0".repeat(32).into(),
            ok: true,
            last_offset: self.latest_offset(),
            segments: Vec::new(),
            checkpoints: Vec::new(),
            problems: Vec::new(),
            next: None,
        })
    }

    /// See [`Operation::History`]. The cursor is the last offset of the page before.
    pub fn history(&self, request: HistoryRequest) -> Result<HistoryResult> {
        let limit = self.page_limit(request.limit)?;
        let mut all: Vec<&InstanceEvent> = self
            .events
            .iter()
            .filter(|event| event.wal_offset > self.flushed_at)
            .filter(|event| event.instance_id == request.instance_id)
            .collect();
        if all.is_empty() {
            return Err(not_found(&request.instance_id));
        }
        let known = all.len();
        all.retain(|event| event.wal_offset >= self.first_offset);
        let truncated = all.len() < known;
        if request.order == HistoryOrder::Newest {
            all.reverse();
        }
        let is_after = |event: &&InstanceEvent| match (request.cursor, request.order) {
            (None, _) => true,
            (Some(cursor), HistoryOrder::Newest) => event.wal_offset < cursor,
            (Some(cursor), HistoryOrder::Oldest) => event.wal_offset > cursor,
        };
        let mut rest = all.into_iter().filter(is_after).cloned();
        let events: Vec<_> = rest.by_ref().take(limit).collect();
        let has_more = rest.next().is_some();
        let next_cursor = events.last().map(|event| event.wal_offset).filter(|_| has_more);
        Ok(HistoryResult { events, next_cursor, first_offset: self.first_offset, truncated })
    }

    /// See [`Operation::WatchInstance`]; [`Model::events_from`] has the events.
    pub fn watch_instance(&self, request: WatchInstanceRequest) -> Result<WatchInstanceResult> {
        let instance = self.instance(&request.instance_id)?;
        let history_id = self.begin_watch(
            request.from_offset,
            request.history_id.as_ref(),
            instance.last_wal_offset + 1,
        )?;
        // What has not changed since can be followed from any offset.
        if request.from_offset.is_none_or(|from| from <= instance.last_wal_offset) {
            self.check_replay(request.from_offset)?;
        }
        Ok(WatchInstanceResult {
            subscription_id: Text::default(),
            current_state: instance.state.clone(),
            current_wal_offset: instance.last_wal_offset,
            history_id,
            instance_id: request.instance_id,
        })
    }

    /// See [`Operation::WatchAll`]; [`Model::events_from`] has the events.
    pub fn watch_all(&self, request: WatchAllRequest) -> Result<WatchAllResult> {
        let wal_offset = self.latest_offset() + 1;
        let history_id =
            self.begin_watch(request.from_offset, request.history_id.as_ref(), wal_offset)?;
        self.check_replay(request.from_offset)?;
        Ok(WatchAllResult { subscription_id: Text::default(), wal_offset, history_id })
    }

    /// The events at `offset` and later that pass the filter of a watch.
    pub fn events_from(&self, offset: Offset, filter: &WatchFilter) -> Vec<InstanceEvent> {
        let later = self.events.iter().filter(|event| event.wal_offset >= offset);
        let passed = later.filter_map(|event| filter.pass(event));
        let history_id = |event: &InstanceEvent| self.history_at(event.wal_offset);
        passed.map(|event| InstanceEvent { history_id: history_id(&event), ..event }).collect()
    }

    /// See [`Operation::WalRead`]. A page may be shorter than asked for, so the limit only cuts.
    pub fn wal_read(&self, request: WalReadRequest) -> Result<WalReadResult> {
        self.check_place(request.from_offset, request.history_id.as_ref())?;
        let most = u64::from(self.settings.limits.page_entries_max);
        let limit = request.limit.unwrap_or(100).min(most) as usize;
        let from = request.from_offset.max(self.first_offset);
        let all = request.entries.as_deref() == Some("all");
        let mark = |offset| {
            let entry = WalEntry::Mark { is_boundary: true, digest: None };
            WalRecord { sequence: offset, offset, timestamp: Some(self.newest_ms), entry }
        };
        let later = (1..).zip(&self.wal).skip_while(|(offset, _)| *offset < from);
        let shown = later.filter_map(|(offset, record)| match record {
            None => all.then(|| mark(offset)),
            Some(WalRecord { entry: WalEntry::DeleteAgain { .. }, .. }) if !all => None,
            Some(record) => Some(record.clone()),
        });
        let records: Vec<WalRecord> = shown.take(limit).collect();
        let next_offset = if records.len() == limit {
            records.last().map_or(from, |last| last.offset + 1)
        } else {
            // Marks are passed over, those at the end too.
            from.max(self.latest_offset() + 1)
        };
        let history_id = self.history_at(next_offset.max(1) - 1);
        Ok(WalReadResult { records, next_offset, history_id })
    }

    /// See [`Operation::WalStats`]. What it says about files is made up.
    pub fn wal_stats(&self, _: WalStatsRequest) -> Result<WalStatsResult> {
        Ok(WalStatsResult {
            entry_count: self.latest_offset(),
            segment_count: 1,
            total_size_bytes: self.latest_offset(),
            latest_offset: self.latest_offset(),
            first_offset: Some(self.first_offset),
            io_stats: IoStats::default(),
        })
    }

    /// What the database logs of itself is its own choice: the entries after an offset, instead of what
    /// the model took for granted. A compaction logs a mark at most, and behind it a purge floor at most.
    ///
    /// # Panics
    ///
    /// When something else is there, or an instance is forgotten that a key may still ask for.
    pub fn follow(&mut self, after: Offset, wal_read: &mut dyn FnMut(&Json) -> Result<Json>) {
        self.wal.truncate(after as usize);
        let request = json!({"from_offset": after + 1, "entries": "all"});
        let page = wal_read(&Json::from_value(&request));
        let page = page.map(|page| page.to_value()).unwrap_or_default();
        let records = page["records"].as_array().cloned().unwrap_or_default();
        let types: Vec<_> = records.iter().filter_map(|it| it["entry"]["type"].as_str()).collect();
        assert!(
            matches!(types[..], [] | ["mark"] | ["purge_floor"] | ["mark", "purge_floor"]),
            "a compaction logged {types:?}"
        );
        for record in &records {
            self.wal.push(None);
            self.newest_ms = self.now_ms;
            match record["entry"]["floor"].as_u64() {
                Some(floor) => self.purge(floor),
                None => self.marked = self.latest_offset(),
            }
        }
    }

    /// Forgets deleted instances that last changed before an offset.
    fn purge(&mut self, floor: Offset) {
        let oldest = self.newest_ms - self.settings.idempotency_window_ms;
        self.instances.retain(|id, instance| {
            let deletion = (instance.last_wal_offset, instance.updated_at);
            let (last, last_ms) = instance.deleted_again.unwrap_or(deletion);
            let is_left = !instance.deleted || last >= floor;
            assert!(is_left || last_ms <= oldest, "{id} was forgotten too early");
            is_left
        });
        let instances = &self.instances;
        // What they were can't be read any more.
        self.events.retain(|event| {
            event.wal_offset >= floor || instances.contains_key(&event.instance_id)
        });
        self.keys.retain(|Key { instance_id, .. }, _| {
            instance_id.as_ref().is_none_or(|id| instances.contains_key(id))
        });
    }

    /// See [`Operation::Compact`]. It changes nothing that can be seen; what it says about files is
    /// made up.
    pub fn compact(&mut self, request: CompactRequest) -> Result<CompactResult> {
        if request.force_snapshot || self.marked < self.latest_offset() {
            self.wal.push(None);
            self.marked = self.latest_offset();
            self.newest_ms = self.now_ms;
        }
        Ok(CompactResult {
            snapshots_created: self.live(),
            segments_deleted: 0,
            bytes_reclaimed: 0,
            total_snapshots: self.live(),
            wal_segments: 1,
        })
    }

    /// See [`Operation::Info`].
    pub fn info(&self, _: InfoRequest) -> Result<InfoResult> {
        Ok(InfoResult {
            server_name: "rstmdb".into(),
            server_version: env!("CARGO_PKG_VERSION").into(),
            backend: "memory".into(),
            database_id: Some(Text::default()),
            features: Feature::ALL.iter().map(|feature| feature.name().into()).collect(),
            writable: Some(true),
            health: Some("ok".into()),
            limits: KnownLimits::from(&self.settings.limits),
            instances: Some(self.live()),
            machines: Some(self.machines.len() as u64),
            latest_offset: Some(self.latest_offset()),
            history_id: self.history_at(self.latest_offset()),
        })
    }

    pub(super) fn situation<'a>(
        &self,
        id: &'a Text,
        instance: &'a Instance,
        payload: Option<&'a Json>,
    ) -> Situation<'a> {
        let machine = &self.machines[&(instance.machine.clone(), instance.version)];
        Situation {
            machine: &instance.machine,
            version: instance.version,
            instance_id: id,
            state: machine.state_id(&instance.state).unwrap(),
            ctx: &instance.ctx,
            payload,
            now_ms: self.now_ms,
            created_at_ms: instance.created_at,
            allowance: Allowance::from(&self.settings.limits),
        }
    }

    fn page_limit(&self, limit: Option<u32>) -> Result<usize> {
        let limit = limit.unwrap_or(100) as usize;
        let most = self.settings.limits.page_entries_max as usize;
        check("limit", limit, "page_entries_max", most)?;
        Ok(limit)
    }

    /// Refuses a replay of what retention has cut off.
    /// The history at the beginning of a watch, which may be compared with one.
    fn begin_watch(
        &self,
        from: Option<Offset>,
        history_id: Option<&Text>,
        live: Offset,
    ) -> Result<Option<Text>> {
        let from = from.filter(|from| *from > 0);
        if let Some(from) = from {
            self.check_place(from, history_id)?;
        }
        Ok(self.history_at(from.unwrap_or(live) - 1))
    }

    fn check_replay(&self, from: Option<Offset>) -> Result<()> {
        match from.filter(|from| *from > 0) {
            Some(from) if from < self.first_offset => {
                Err(error(ErrorCode::NotFound, "cut off").with_reason(reason::OFFSET_COMPACTED))
            }
            _ => Ok(()),
        }
    }
}

fn is_or_any<T: PartialEq>(value: &T, wanted: &Option<T>) -> bool {
    wanted.as_ref().is_none_or(|wanted| wanted == value)
}
