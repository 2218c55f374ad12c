//! The embedded engine.

pub mod options;
pub mod storage;

pub use options::{
    Background, FsyncPolicy, Location, Options, Progress, ProgressUpdate, Retention,
};

use rstmdb_types::*;
use std::task::{Context, Poll};
use std::time::Duration;

/// A result that becomes visible once it is durable.
#[derive(Debug)]
pub struct Pending<'a, T>(Result<T>, std::marker::PhantomData<&'a ()>);
impl<T> Pending<'_, T> {
    /// Waits.
    pub fn wait(self) -> Result<T> {
        self.0
    }
}
impl<T: Unpin> std::future::Future for Pending<'_, T> {
    type Output = Result<T>;
    fn poll(self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<T>> {
        Poll::Ready(Err(closed()))
    }
}
fn closed() -> Error {
    Error::new(ErrorCode::InternalError, "engine under construction")
}

/// Engine.
#[derive(Debug)]
pub struct Engine;
impl Engine {
    /// open
    pub fn open(_: Location, _: Options) -> Result<Engine> {
        Ok(Engine)
    }
    /// close
    pub fn close(&self) -> Result<()> {
        Ok(())
    }
    /// watch
    pub fn watch_instance(
        &self,
        _: WatchInstanceRequest,
    ) -> Result<(WatchInstanceResult, Subscription)> {
        Err(closed())
    }
    /// watch
    pub fn watch_all(&self, _: WatchAllRequest) -> Result<(WatchAllResult, Subscription)> {
        Err(closed())
    }
    /// put_machine
    pub fn put_machine(&self, _: PutMachineRequest) -> Pending<'_, PutMachineResult> {
        Pending(Err(closed()), std::marker::PhantomData)
    }
    /// get_machine
    pub fn get_machine(&self, _: GetMachineRequest) -> Pending<'_, GetMachineResult> {
        Pending(Err(closed()), std::marker::PhantomData)
    }
    /// list_machines
    pub fn list_machines(&self, _: ListMachinesRequest) -> Pending<'_, ListMachinesResult> {
        Pending(Err(closed()), std::marker::PhantomData)
    }
    /// create_instance
    pub fn create_instance(&self, _: CreateInstanceRequest) -> Pending<'_, CreateInstanceResult> {
        Pending(Err(closed()), std::marker::PhantomData)
    }
    /// get_instance
    pub fn get_instance(&self, _: GetInstanceRequest) -> Pending<'_, GetInstanceResult> {
        Pending(Err(closed()), std::marker::PhantomData)
    }
    /// list_instances
    pub fn list_instances(&self, _: ListInstancesRequest) -> Pending<'_, ListInstancesResult> {
        Pending(Err(closed()), std::marker::PhantomData)
    }
    /// count_instances
    pub fn count_instances(&self, _: CountInstancesRequest) -> Pending<'_, CountInstancesResult> {
        Pending(Err(closed()), std::marker::PhantomData)
    }
    /// delete_instance
    pub fn delete_instance(&self, _: DeleteInstanceRequest) -> Pending<'_, DeleteInstanceResult> {
        Pending(Err(closed()), std::marker::PhantomData)
    }
    /// apply_event
    pub fn apply_event(&self, _: ApplyEventRequest) -> Pending<'_, ApplyEventResult> {
        Pending(Err(closed()), std::marker::PhantomData)
    }
    /// permitted
    pub fn permitted(&self, _: PermittedRequest) -> Pending<'_, PermittedResult> {
        Pending(Err(closed()), std::marker::PhantomData)
    }
    /// batch
    pub fn batch(&self, _: BatchRequest) -> Pending<'_, BatchResult> {
        Pending(Err(closed()), std::marker::PhantomData)
    }
    /// history
    pub fn history(&self, _: HistoryRequest) -> Result<HistoryResult> {
        Err(closed())
    }
    /// wal_read
    pub fn wal_read(&self, _: WalReadRequest) -> Result<WalReadResult> {
        Err(closed())
    }
    /// wal_stats
    pub fn wal_stats(&self, _: WalStatsRequest) -> Pending<'_, WalStatsResult> {
        Pending(Err(closed()), std::marker::PhantomData)
    }
    /// compact
    pub fn compact(&self, _: CompactRequest) -> Result<CompactResult> {
        Err(closed())
    }
    /// snapshot_instance
    pub fn snapshot_instance(&self, _: SnapshotInstanceRequest) -> Result<SnapshotInstanceResult> {
        Err(closed())
    }
    /// flush_all
    pub fn flush_all(&self, _: FlushAllRequest) -> Pending<'_, FlushAllResult> {
        Pending(Err(closed()), std::marker::PhantomData)
    }
    /// info
    pub fn info(&self, _: InfoRequest) -> Pending<'_, InfoResult> {
        Pending(Err(closed()), std::marker::PhantomData)
    }
    /// ping
    pub fn ping(&self, _: PingRequest) -> Pending<'_, PingResult> {
        Pending(Err(closed()), std::marker::PhantomData)
    }
}
/// Subscription.
#[derive(Debug)]
pub struct Subscription;
impl Subscription {
    /// next
    pub fn next_timeout(&mut self, _: Duration) -> Result<Option<InstanceEvent>> {
        Err(closed())
    }
    /// next
    pub fn next_blocking(&mut self) -> Option<Result<InstanceEvent>> {
        None
    }
    /// position
    pub fn position(&self) -> Offset {
        0
    }
    /// files
    pub fn needs_files(&self) -> bool {
        false
    }
    /// load
    pub fn load(&mut self) {}
    /// poll
    pub fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<InstanceEvent>>> {
        Poll::Ready(None)
    }
}
