//! The asynchronous database. It needs no runtime: writes wake their waiter, files are read on a
//! small pool of threads.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rstmdb_engine::{Engine, Options};
use rstmdb_types::*;

/// A database whose methods are awaited, on any executor. Cloning gives another handle.
///
/// Dropping the future of a write stops the waiting, not the write.
#[derive(Clone, Debug)]
pub struct Database {
    engine: Arc<Engine>,
}

impl Database {
    /// Opens the database at `url` (`mem:`, `file:PATH` or a path), creating it when missing.
    pub async fn open(url: &str) -> Result<Database> {
        Database::open_with(url, Options::default()).await
    }

    /// Opens the database at `url` with options.
    pub async fn open_with(url: &str, options: Options) -> Result<Database> {
        let url = url.to_owned();
        let engine = ::blocking::unblock(move || crate::open::open(&url, options)).await?;
        Ok(Database { engine })
    }

    /// The same database for threads.
    pub fn blocking(&self) -> crate::blocking::Database {
        crate::blocking::Database::from_engine(self.engine.clone())
    }

    /// Syncs what is not synced, stops background work and releases the directory.
    ///
    /// Every other handle to the database answers `Closed` from then on.
    pub async fn close(&self) -> Result<()> {
        let engine = self.engine.clone();
        ::blocking::unblock(move || engine.close()).await
    }

    /// Follows the events of one instance.
    pub async fn watch_instance(
        &self,
        request: WatchInstanceRequest,
    ) -> Result<(WatchInstanceResult, Subscription)> {
        let engine = self.engine.clone();
        let (result, inner) = ::blocking::unblock(move || engine.watch_instance(request)).await?;
        Ok((result, Subscription::new(inner)))
    }

    /// Follows the events of all instances that pass the filters.
    pub async fn watch_all(
        &self,
        request: WatchAllRequest,
    ) -> Result<(WatchAllResult, Subscription)> {
        let engine = self.engine.clone();
        let (result, inner) = ::blocking::unblock(move || engine.watch_all(request)).await?;
        Ok((result, Subscription::new(inner)))
    }

    /// Runs the operation `operation` on a JSON request; watches are not among them.
    ///
    /// An operation or a request that does not fit is `BAD_REQUEST`, reason `invalid_request`.
    pub async fn call(&self, operation: Operation, request: &Json) -> Result<Json> {
        use crate::call::{decode, encode};
        match operation {
            Operation::PutMachine => encode(&self.put_machine(decode(request)?).await?),
            Operation::GetMachine => encode(&self.get_machine(decode(request)?).await?),
            Operation::ListMachines => encode(&self.list_machines(decode(request)?).await?),
            Operation::CreateInstance => encode(&self.create_instance(decode(request)?).await?),
            Operation::GetInstance => encode(&self.get_instance(decode(request)?).await?),
            Operation::ListInstances => encode(&self.list_instances(decode(request)?).await?),
            Operation::CountInstances => encode(&self.count_instances(decode(request)?).await?),
            Operation::DeleteInstance => encode(&self.delete_instance(decode(request)?).await?),
            Operation::ApplyEvent => encode(&self.apply_event(decode(request)?).await?),
            Operation::Permitted => encode(&self.permitted(decode(request)?).await?),
            Operation::Batch => encode(&self.batch(decode(request)?).await?),
            Operation::History => encode(&self.history(decode(request)?).await?),
            Operation::WalRead => encode(&self.wal_read(decode(request)?).await?),
            Operation::WalStats => encode(&self.wal_stats(decode(request)?).await?),
            Operation::Compact => encode(&self.compact(decode(request)?).await?),
            Operation::SnapshotInstance => encode(&self.snapshot_instance(decode(request)?).await?),
            Operation::FlushAll => encode(&self.flush_all(decode(request)?).await?),
            Operation::Info => encode(&self.info(decode(request)?).await?),
            Operation::Ping => encode(&self.ping(decode(request)?).await?),
            Operation::WatchInstance | Operation::WatchAll => {
                Err(crate::call::no_stream(operation))
            }
        }
    }

    /// Stores a machine definition under a name and version.
    pub async fn put_machine(&self, request: PutMachineRequest) -> Result<PutMachineResult> {
        self.engine.put_machine(request).await
    }

    /// Returns a machine definition.
    pub async fn get_machine(&self, request: GetMachineRequest) -> Result<GetMachineResult> {
        self.engine.get_machine(request).await
    }

    /// Lists machines and their versions.
    pub async fn list_machines(&self, request: ListMachinesRequest) -> Result<ListMachinesResult> {
        self.engine.list_machines(request).await
    }

    /// Creates an instance of a machine.
    pub async fn create_instance(
        &self,
        request: CreateInstanceRequest,
    ) -> Result<CreateInstanceResult> {
        self.engine.create_instance(request).await
    }

    /// Returns the state and context of an instance.
    pub async fn get_instance(&self, request: GetInstanceRequest) -> Result<GetInstanceResult> {
        self.engine.get_instance(request).await
    }

    /// Lists instances by id, a page at a time.
    pub async fn list_instances(
        &self,
        request: ListInstancesRequest,
    ) -> Result<ListInstancesResult> {
        self.engine.list_instances(request).await
    }

    /// Counts instances by machine, version and state.
    pub async fn count_instances(
        &self,
        request: CountInstancesRequest,
    ) -> Result<CountInstancesResult> {
        self.engine.count_instances(request).await
    }

    /// Deletes an instance; its id may be used again.
    pub async fn delete_instance(
        &self,
        request: DeleteInstanceRequest,
    ) -> Result<DeleteInstanceResult> {
        self.engine.delete_instance(request).await
    }

    /// Applies an event to an instance.
    pub async fn apply_event(&self, request: ApplyEventRequest) -> Result<ApplyEventResult> {
        self.engine.apply_event(request).await
    }

    /// Says which events an instance would accept now.
    pub async fn permitted(&self, request: PermittedRequest) -> Result<PermittedResult> {
        self.engine.permitted(request).await
    }

    /// Runs several operations, all or nothing or each on its own.
    pub async fn batch(&self, request: BatchRequest) -> Result<BatchResult> {
        self.engine.batch(request).await
    }

    /// Returns the events of one instance.
    pub async fn history(&self, request: HistoryRequest) -> Result<HistoryResult> {
        let engine = self.engine.clone();
        ::blocking::unblock(move || engine.history(request)).await
    }

    /// Returns the log's entries in order.
    pub async fn wal_read(&self, request: WalReadRequest) -> Result<WalReadResult> {
        let engine = self.engine.clone();
        ::blocking::unblock(move || engine.wal_read(request)).await
    }

    /// Returns figures of the log.
    pub async fn wal_stats(&self, request: WalStatsRequest) -> Result<WalStatsResult> {
        self.engine.wal_stats(request).await
    }

    /// Writes a checkpoint and deletes log segments that are no longer needed.
    pub async fn compact(&self, request: CompactRequest) -> Result<CompactResult> {
        let engine = self.engine.clone();
        ::blocking::unblock(move || engine.compact(request)).await
    }

    /// Writes a snapshot of one instance.
    pub async fn snapshot_instance(
        &self,
        request: SnapshotInstanceRequest,
    ) -> Result<SnapshotInstanceResult> {
        let engine = self.engine.clone();
        ::blocking::unblock(move || engine.snapshot_instance(request)).await
    }

    /// Removes all machines and instances.
    pub async fn flush_all(&self, request: FlushAllRequest) -> Result<FlushAllResult> {
        self.engine.flush_all(request).await
    }

    /// Returns name, version, features and limits.
    pub async fn info(&self, request: InfoRequest) -> Result<InfoResult> {
        self.engine.info(request).await
    }

    /// Answers when the database is alive.
    pub async fn ping(&self, request: PingRequest) -> Result<PingResult> {
        self.engine.ping(request).await
    }
}

/// A stream of events. Dropping it ends the subscription.
///
/// [`Subscription::next`] is cancel-safe: dropping its future loses no event. The type is also a
/// [`futures_core::Stream`].
#[derive(Debug)]
pub struct Subscription {
    state: State,
    resume_offset: Offset,
}

#[derive(Debug)]
enum State {
    Ready(Box<rstmdb_engine::Subscription>),
    /// A read of older events runs on another thread.
    Loading(::blocking::Task<Box<rstmdb_engine::Subscription>>),
    Ended,
}

impl Subscription {
    fn new(inner: rstmdb_engine::Subscription) -> Subscription {
        Subscription { resume_offset: inner.resume_offset(), state: State::Ready(Box::new(inner)) }
    }

    /// Waits for the next event; `None` when the database was closed.
    pub async fn next(&mut self) -> Option<Result<InstanceEvent>> {
        std::future::poll_fn(|context| self.poll_event(context)).await
    }

    /// The offset to resume from after the events received so far.
    pub fn resume_offset(&self) -> Offset {
        self.resume_offset
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<InstanceEvent>>> {
        loop {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Ended => return Poll::Ready(None),
                State::Loading(mut task) => match Pin::new(&mut task).poll(context) {
                    Poll::Pending => {
                        self.state = State::Loading(task);
                        return Poll::Pending;
                    }
                    Poll::Ready(inner) => self.state = State::Ready(inner),
                },
                State::Ready(mut inner) => {
                    if inner.needs_files() {
                        self.state = State::Loading(::blocking::unblock(move || {
                            inner.load();
                            inner
                        }));
                        continue;
                    }
                    let polled = inner.poll_next(context);
                    self.resume_offset = inner.resume_offset();
                    let again = polled.is_pending() && inner.needs_files();
                    self.state = State::Ready(inner);
                    if !again {
                        return polled;
                    }
                }
            }
        }
    }
}

impl futures_core::Stream for Subscription {
    type Item = Result<InstanceEvent>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_event(context)
    }
}
