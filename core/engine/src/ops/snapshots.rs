//! Writes, lists and removes snapshots of single instances, and removes those whose instance is gone.

use rstmdb_types::error::reason;
use rstmdb_types::{
    DropSnapshotRequest, DropSnapshotResult, Error, ErrorCode, GetInstanceResult,
    ListSnapshotsRequest, ListSnapshotsResult, Offset, Result, SnapshotInstanceRequest,
    SnapshotInstanceResult, Text,
};

use super::Edge;
use super::instances::get_in;
use crate::error::{io as io_error, snapshot_not_found, writing};
use crate::manifest::Manifest;
use crate::shared::Shared;
use crate::snapshots::{self, Index, SNAPSHOT_DIRECTORY, Snapshot, snapshot_id};

impl Shared {
    pub(crate) fn snapshot_instance(
        &self,
        request: SnapshotInstanceRequest,
        edge: &Edge<'_>,
    ) -> Result<SnapshotInstanceResult> {
        let (instance, life) = self.living(&request.instance_id)?;
        let text = serde_json::to_string(&instance)
            .map_err(|error| Error::new(ErrorCode::InternalError, error.to_string()))?;
        self.snapshots.read(&*self.storage)?;
        // Closing waits for this lock, and nothing may be written after it.
        let _manifest = self.manifest.lock();
        self.check_files_may_change()?;
        let mut index = self.snapshots.index(&*self.storage)?;
        self.check_count(&index, &instance, life)?;
        self.check_free_space()?;
        let id = snapshot_id(&edge.id(0));
        snapshots::write(&*self.storage, &id, text.as_bytes())
            .map_err(|error| writing("the snapshot", error))?;
        let wal_offset = instance.last_wal_offset;
        let snapshot = Snapshot::new(id, text.as_bytes(), wal_offset, instance.created_at);
        let summary = snapshot.summary.clone();
        index.insert(instance.instance_id.clone(), snapshot);
        drop(index);
        // The instance may have been deleted since it was read.
        self.growth.wake_all();
        Ok(SnapshotInstanceResult {
            instance_id: instance.instance_id,
            snapshot_id: summary.snapshot_id,
            wal_offset,
            size_bytes: summary.size_bytes,
            checksum: summary.checksum,
        })
    }

    pub(crate) fn list_snapshots(
        &self,
        request: ListSnapshotsRequest,
    ) -> Result<ListSnapshotsResult> {
        let (instance, life) = self.living(&request.instance_id)?;
        let index = self.snapshots.index(&*self.storage)?;
        let snapshots = of_life(&index, &instance, life).map(|one| one.summary.clone());
        Ok(ListSnapshotsResult { snapshots: snapshots.collect() })
    }

    pub(crate) fn drop_snapshot(&self, request: DropSnapshotRequest) -> Result<DropSnapshotResult> {
        self.snapshots.read(&*self.storage)?;
        let _manifest = self.manifest.lock();
        self.check_files_may_change()?;
        let mut index = self.snapshots.index(&*self.storage)?;
        let id = request.snapshot_id;
        if let Some((instance, snapshot)) = index.find(&id) {
            // What went with its instance is not there, though its file may be for another moment.
            let (instance, life) = self.living(instance).map_err(|error| match error.code() {
                ErrorCode::InstanceNotFound => snapshot_not_found(&id),
                _ => error,
            })?;
            if !snapshot.is_of(life, instance.created_at) {
                return Err(snapshot_not_found(&id));
            }
        }
        let failed = |error| io_error(&format!("removing snapshot {id}"), error);
        if !snapshots::remove(&*self.storage, &id).map_err(failed)? {
            index.remove(&id);
            return Err(snapshot_not_found(&id));
        }
        index.remove(&id);
        self.storage.sync_dir(SNAPSHOT_DIRECTORY).map_err(failed)?;
        Ok(DropSnapshotResult { snapshot_id: id, dropped: true })
    }

    /// Removes the files of snapshots whose instance is gone, for who holds the lock of the manifest. Nobody
    /// waits for the directory to be read here: it must have been.
    pub(crate) fn tidy_snapshots(&self, _held: &Manifest) -> Result<()> {
        if self.is_read_only {
            return Ok(());
        }
        let Some(mut index) = self.snapshots.known() else { return Ok(()) };
        let look = || index.iter().filter(|(id, one)| !self.is_current(id, one));
        let seen = self.observe(|| {
            Ok(look().map(|(_, one)| one.summary.snapshot_id.clone()).collect::<Vec<Text>>())
        });
        let gone = seen.result?;
        if !gone.is_empty() {
            // A deletion that is taken back brings its instance back.
            self.queue.wait(seen.ticket.without_round())?;
            // And what a policy has not synced yet, the machine may take back.
            self.queue.try_with_sink(|sink| sink.writer.sync())?;
            self.check_directory()?;
            let failed = |error| io_error("removing snapshots of deleted instances", error);
            for id in &gone {
                snapshots::remove(&*self.storage, id).map_err(failed)?;
                index.remove(id);
            }
            self.storage.sync_dir(SNAPSHOT_DIRECTORY).map_err(failed)?;
        }
        index.is_compared();
        Ok(())
    }

    /// The same where nobody is there to be told.
    pub(crate) fn tidy_snapshots_or_warn(&self, held: &Manifest) {
        self.tidy_snapshots(held).unwrap_or_else(|error| {
            tracing::warn!("snapshots of deleted instances stay for now: {error}");
        });
    }

    /// An instance and the offset that its life began at, once that is safe to be shown.
    fn living(&self, id: &str) -> Result<(GetInstanceResult, Offset)> {
        self.check_open()?;
        let hash = self.state.hash(id);
        let partition = self.state.partition(hash);
        let life = partition.live(hash, id).map(|(_, slot)| slot.life);
        let found = life.and_then(|life| Ok((get_in(&partition, hash, id)?, life)));
        let ticket = self.seen(&partition, hash, id);
        drop(partition);
        // It is a matter of this node.
        self.queue.wait(ticket.without_round())?;
        found
    }

    /// Whether the life lasts that a snapshot was taken in.
    fn is_current(&self, instance: &str, snapshot: &Snapshot) -> bool {
        let hash = self.state.hash(instance);
        let partition = self.state.partition(hash);
        let slot = partition.live(hash, instance);
        slot.is_ok_and(|(_, slot)| snapshot.is_of(slot.life, Some(slot.created_at)))
    }

    fn check_files_may_change(&self) -> Result<()> {
        self.check_open()?;
        self.check_writable()?;
        self.check_directory()
    }

    fn check_count(&self, index: &Index, instance: &GetInstanceResult, life: Offset) -> Result<()> {
        let setting = "snapshots_max";
        let limit = self.options.limits.snapshots_max as usize;
        let count = of_life(index, instance, life).count();
        if limit == 0 || count < limit {
            return Ok(());
        }
        let id = &instance.instance_id;
        let message = format!(
            "instance {id:?} has {count} snapshots, the limit {setting} is {limit}; remove one that \
             list_snapshots tells with drop_snapshot"
        );
        Err(Error::invalid(reason::LIMIT_EXCEEDED, message)
            .with("instance_id", id.as_str())
            .with("field", "snapshots")
            .with("limit", setting)
            .with("size", count + 1)
            .with("limit_value", limit))
    }
}

fn of_life<'a>(
    index: &'a Index,
    instance: &GetInstanceResult,
    life: Offset,
) -> impl Iterator<Item = &'a Snapshot> {
    let created_at = instance.created_at;
    index.of(&instance.instance_id).iter().filter(move |one| one.is_of(life, created_at))
}
