//! The database for threads: every method waits for its result.

use std::sync::Arc;
use std::time::Duration;

use rstmdb_engine::{Engine, Options, Pending};
use rstmdb_types::*;

/// A database whose methods wait. Cloning gives another handle to the same database.
///
/// ```
/// use rstmdb::blocking::Database;
/// use rstmdb::{ApplyEventRequest, CreateInstanceRequest, Json, PutMachineRequest};
///
/// let db = Database::open("mem:")?;
/// let turnstile = Json::parse(r#"{
///     "states": ["locked", "open"], "initial": "locked",
///     "transitions": [
///         {"from": "locked", "event": "COIN", "to": "open"},
///         {"from": "open", "event": "PUSH", "to": "locked"}
///     ]
/// }"#)?;
/// db.put_machine(PutMachineRequest::new("turnstile", 1, turnstile))?;
/// db.create_instance(CreateInstanceRequest::new("t-1", "turnstile", 1))?;
/// let outcome = db.apply_event(ApplyEventRequest::new("t-1", "COIN"))?;
/// assert_eq!(outcome.to_state, "open");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Database {
    engine: Arc<Engine>,
}

impl Database {
    /// Opens the database at `url` (`mem:`, `file:PATH` or a path), creating it when missing.
    pub fn open(url: &str) -> Result<Database> {
        Database::open_with(url, Options::default())
    }

    /// Opens the database at `url` with options.
    pub fn open_with(url: &str, options: Options) -> Result<Database> {
        Ok(Database { engine: crate::open::open(url, options)? })
    }

    /// Wraps an engine that was opened by hand.
    pub fn from_engine(engine: Arc<Engine>) -> Database {
        Database { engine }
    }

    /// Hands an event over without waiting: wait for the [`Pending`] result, or await it.
    ///
    /// Many events in flight share one sync.
    pub fn submit_event(&self, request: ApplyEventRequest) -> Pending<'_, ApplyEventResult> {
        self.engine.apply_event(request)
    }

    /// Syncs what is not synced, stops background work and releases the directory.
    ///
    /// Every other handle to the database answers `Closed` from then on.
    pub fn close(&self) -> Result<()> {
        self.engine.close()
    }

    /// Follows the events of one instance.
    pub fn watch_instance(
        &self,
        request: WatchInstanceRequest,
    ) -> Result<(WatchInstanceResult, Subscription)> {
        let (result, inner) = self.engine.watch_instance(request)?;
        Ok((result, Subscription { inner }))
    }

    /// Follows the events of all instances that pass the filters.
    pub fn watch_all(&self, request: WatchAllRequest) -> Result<(WatchAllResult, Subscription)> {
        let (result, inner) = self.engine.watch_all(request)?;
        Ok((result, Subscription { inner }))
    }

    /// Runs the operation `operation` on a JSON request; watches are not among them.
    ///
    /// An operation or a request that does not fit is `BAD_REQUEST`, reason `invalid_request`.
    pub fn call(&self, operation: Operation, request: &Json) -> Result<Json> {
        match operation {
            Operation::PutMachine => crate::call::call(request, |r| self.put_machine(r)),
            Operation::GetMachine => crate::call::call(request, |r| self.get_machine(r)),
            Operation::ListMachines => crate::call::call(request, |r| self.list_machines(r)),
            Operation::CreateInstance => crate::call::call(request, |r| self.create_instance(r)),
            Operation::GetInstance => crate::call::call(request, |r| self.get_instance(r)),
            Operation::ListInstances => crate::call::call(request, |r| self.list_instances(r)),
            Operation::CountInstances => crate::call::call(request, |r| self.count_instances(r)),
            Operation::DeleteInstance => crate::call::call(request, |r| self.delete_instance(r)),
            Operation::ApplyEvent => crate::call::call(request, |r| self.apply_event(r)),
            Operation::Permitted => crate::call::call(request, |r| self.permitted(r)),
            Operation::Batch => crate::call::call(request, |r| self.batch(r)),
            Operation::History => crate::call::call(request, |r| self.history(r)),
            Operation::WalRead => crate::call::call(request, |r| self.wal_read(r)),
            Operation::WalStats => crate::call::call(request, |r| self.wal_stats(r)),
            Operation::Compact => crate::call::call(request, |r| self.compact(r)),
            Operation::SnapshotInstance => {
                crate::call::call(request, |r| self.snapshot_instance(r))
            }
            Operation::FlushAll => crate::call::call(request, |r| self.flush_all(r)),
            Operation::Info => crate::call::call(request, |r| self.info(r)),
            Operation::Ping => crate::call::call(request, |r| self.ping(r)),
            Operation::WatchInstance | Operation::WatchAll => {
                Err(crate::call::no_stream(operation))
            }
        }
    }

    /// Stores a machine definition under a name and version.
    pub fn put_machine(&self, request: PutMachineRequest) -> Result<PutMachineResult> {
        self.engine.put_machine(request).wait()
    }

    /// Returns a machine definition.
    pub fn get_machine(&self, request: GetMachineRequest) -> Result<GetMachineResult> {
        self.engine.get_machine(request).wait()
    }

    /// Lists machines and their versions.
    pub fn list_machines(&self, request: ListMachinesRequest) -> Result<ListMachinesResult> {
        self.engine.list_machines(request).wait()
    }

    /// Creates an instance of a machine.
    pub fn create_instance(&self, request: CreateInstanceRequest) -> Result<CreateInstanceResult> {
        self.engine.create_instance(request).wait()
    }

    /// Returns the state and context of an instance.
    pub fn get_instance(&self, request: GetInstanceRequest) -> Result<GetInstanceResult> {
        self.engine.get_instance(request).wait()
    }

    /// Lists instances by id, a page at a time.
    pub fn list_instances(&self, request: ListInstancesRequest) -> Result<ListInstancesResult> {
        self.engine.list_instances(request).wait()
    }

    /// Counts instances by machine, version and state.
    pub fn count_instances(&self, request: CountInstancesRequest) -> Result<CountInstancesResult> {
        self.engine.count_instances(request).wait()
    }

    /// Deletes an instance; its id may be used again.
    pub fn delete_instance(&self, request: DeleteInstanceRequest) -> Result<DeleteInstanceResult> {
        self.engine.delete_instance(request).wait()
    }

    /// Applies an event to an instance.
    pub fn apply_event(&self, request: ApplyEventRequest) -> Result<ApplyEventResult> {
        self.engine.apply_event(request).wait()
    }

    /// Says which events an instance would accept now.
    pub fn permitted(&self, request: PermittedRequest) -> Result<PermittedResult> {
        self.engine.permitted(request).wait()
    }

    /// Runs several operations, all or nothing or each on its own.
    pub fn batch(&self, request: BatchRequest) -> Result<BatchResult> {
        self.engine.batch(request).wait()
    }

    /// Returns the events of one instance.
    pub fn history(&self, request: HistoryRequest) -> Result<HistoryResult> {
        self.engine.history(request)
    }

    /// Returns the log's entries in order.
    pub fn wal_read(&self, request: WalReadRequest) -> Result<WalReadResult> {
        self.engine.wal_read(request)
    }

    /// Returns figures of the log.
    pub fn wal_stats(&self, request: WalStatsRequest) -> Result<WalStatsResult> {
        self.engine.wal_stats(request).wait()
    }

    /// Writes a checkpoint and deletes log segments that are no longer needed.
    pub fn compact(&self, request: CompactRequest) -> Result<CompactResult> {
        self.engine.compact(request)
    }

    /// Writes a snapshot of one instance.
    pub fn snapshot_instance(
        &self,
        request: SnapshotInstanceRequest,
    ) -> Result<SnapshotInstanceResult> {
        self.engine.snapshot_instance(request)
    }

    /// Removes all machines and instances.
    pub fn flush_all(&self, request: FlushAllRequest) -> Result<FlushAllResult> {
        self.engine.flush_all(request).wait()
    }

    /// Returns name, version, features and limits.
    pub fn info(&self, request: InfoRequest) -> Result<InfoResult> {
        self.engine.info(request).wait()
    }

    /// Answers when the database is alive.
    pub fn ping(&self, request: PingRequest) -> Result<PingResult> {
        self.engine.ping(request).wait()
    }
}

/// A stream of events. Dropping it ends the subscription.
///
/// As an iterator it waits for each event and ends when the database is closed.
#[derive(Debug)]
pub struct Subscription {
    inner: rstmdb_engine::Subscription,
}

impl Subscription {
    /// Waits at most `timeout` for the next event; `None` when none came in time.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<InstanceEvent>> {
        self.inner.next_timeout(timeout)
    }

    /// The offset to resume from after the events received so far.
    pub fn resume_offset(&self) -> Offset {
        self.inner.resume_offset()
    }
}

impl Iterator for Subscription {
    type Item = Result<InstanceEvent>;

    fn next(&mut self) -> Option<Result<InstanceEvent>> {
        self.inner.next_blocking()
    }
}
