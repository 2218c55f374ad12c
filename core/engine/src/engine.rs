//! The handle to an open database: its threads and its public methods.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use rstmdb_types::*;

use crate::open::{Opened, open};
use crate::options::{Background, FsyncPolicy, Location, Options};
use crate::pending::Pending;
use crate::shared::Shared;
use crate::storage::DirectoryLock;
use crate::sync::{park, thread_waker};
use crate::watch::Subscription;

/// An open database. Shared by reference or [`Arc`]; closed when dropped.
pub struct Engine {
    shared: Arc<Shared>,
    lock: Mutex<Option<Box<dyn DirectoryLock>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Engine({}, {:?})", self.shared.name, self.shared.queue)
    }
}

impl Engine {
    /// Opens the database at `location`, recovering whatever a stop left behind.
    pub fn open(location: Location, options: Options) -> Result<Engine> {
        let Opened { shared, lock } = open(location, options)?;
        let engine = Engine {
            shared: Arc::new(shared),
            lock: Mutex::new(Some(lock)),
            threads: Mutex::default(),
        };
        if engine.shared.options.background == Background::Threads {
            engine.spawn("rstmdb-log", run_log_thread)?;
            if engine.shared.options.checkpoint_log_bytes > 0 {
                engine.spawn("rstmdb-checkpoint", run_checkpoint_thread)?;
            }
        }
        Ok(engine)
    }

    fn spawn(&self, name: &str, run: fn(&Shared)) -> Result<()> {
        let shared = self.shared.clone();
        let started = Arc::new(std::sync::Barrier::new(2));
        let ready = started.clone();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            if name_is_log(std::thread::current().name()) {
                shared.queue.become_log_thread();
            } else {
                shared.queue.with_sink(|sink| sink.checkpointer = Some(thread_waker()));
            }
            ready.wait();
            run(&shared);
        });
        let thread = thread.map_err(|error| crate::error::io("starting a thread", error))?;
        started.wait();
        self.threads.lock().push(thread);
        Ok(())
    }

    /// Syncs what is not synced, stops the threads and releases the directory.
    ///
    /// Requests that come later get an error of kind `Closed`. Closing twice is fine.
    pub fn close(&self) -> Result<()> {
        // Held to the end: who closes a second time waits for the first.
        let mut lock = self.lock.lock();
        if lock.is_none() {
            return Ok(());
        }
        self.shared.queue.close();
        let synced = self.shared.queue.with_sink(|sink| {
            if let Some(waker) = sink.checkpointer.take() {
                waker.wake();
            }
            sink.writer.sync().map(|()| sink.writer.synced())
        });
        for thread in self.threads.lock().drain(..) {
            // A thread that panicked has nothing left to do.
            let _ = thread.join();
        }
        let result = match synced {
            Ok(durable) => self.record_durable(durable),
            Err(failure) => Err(failure.batch),
        };
        // A compaction that began before has ended when its lock is free; none begins after.
        drop(self.shared.manifest.lock());
        *lock = None;
        result
    }

    /// The next start will know how far the log must reach.
    fn record_durable(&self, durable: Offset) -> Result<()> {
        let mut manifest = self.shared.manifest.lock();
        if manifest.durable_offset >= durable {
            return Ok(());
        }
        let mut next = manifest.clone();
        next.durable_offset = durable;
        self.shared.replace_manifest(&mut manifest, next)
    }

    /// What requests are held to.
    pub fn limits(&self) -> &Limits {
        &self.shared.options.limits
    }

    /// As [`Engine::apply_event`], but a known idempotency key gets the first result even when the
    /// request is another one: clients of RCP 0.3 rely on that.
    pub fn apply_event_or_first(
        &self,
        request: ApplyEventRequest,
    ) -> Pending<'_, ApplyEventResult> {
        self.shared.apply_event_or_first(request).named(Operation::ApplyEvent)
    }

    /// Follows the events of one instance.
    pub fn watch_instance(
        &self,
        request: WatchInstanceRequest,
    ) -> Result<(WatchInstanceResult, Subscription)> {
        named(self.shared.watch_instance(request), Operation::WatchInstance)
    }

    /// Follows the events of all instances that pass the filters.
    pub fn watch_all(&self, request: WatchAllRequest) -> Result<(WatchAllResult, Subscription)> {
        named(self.shared.watch_all(request), Operation::WatchAll)
    }
}

fn named<T>(result: Result<T>, operation: Operation) -> Result<T> {
    result.map_err(|error| error.with_operation(operation.wire_name()))
}

fn name_is_log(name: Option<&str>) -> bool {
    name == Some("rstmdb-log")
}

macro_rules! operations {
    (pending: $($(#[$doc:meta])* $name:ident($request:ident) -> $result:ident;)*) => {
        impl Engine {
            $($(#[$doc])*
            pub fn $name(&self, request: $request) -> Pending<'_, $result> {
                self.shared.$name(request).named(<$request as OperationRequest>::OPERATION)
            })*
        }
    };
    (blocking: $($(#[$doc:meta])* $name:ident($request:ident) -> $result:ident;)*) => {
        impl Engine {
            $($(#[$doc])*
            pub fn $name(&self, request: $request) -> Result<$result> {
                named(self.shared.$name(request), <$request as OperationRequest>::OPERATION)
            })*
        }
    };
}

operations! { pending:
    /// Stores a machine definition under a name and version.
    put_machine(PutMachineRequest) -> PutMachineResult;
    /// Returns a machine definition.
    get_machine(GetMachineRequest) -> GetMachineResult;
    /// Lists machines and their versions.
    list_machines(ListMachinesRequest) -> ListMachinesResult;
    /// Creates an instance of a machine.
    create_instance(CreateInstanceRequest) -> CreateInstanceResult;
    /// Returns the state and context of an instance.
    get_instance(GetInstanceRequest) -> GetInstanceResult;
    /// Lists instances by id, a page at a time.
    list_instances(ListInstancesRequest) -> ListInstancesResult;
    /// Counts instances by machine, version and state.
    count_instances(CountInstancesRequest) -> CountInstancesResult;
    /// Deletes an instance; its id may be used again.
    delete_instance(DeleteInstanceRequest) -> DeleteInstanceResult;
    /// Applies an event to an instance.
    apply_event(ApplyEventRequest) -> ApplyEventResult;
    /// Says which events an instance would accept now.
    permitted(PermittedRequest) -> PermittedResult;
    /// Runs several operations, all or nothing or each on its own.
    batch(BatchRequest) -> BatchResult;
    /// Returns figures of the log.
    wal_stats(WalStatsRequest) -> WalStatsResult;
    /// Removes all machines and instances.
    flush_all(FlushAllRequest) -> FlushAllResult;
    /// Returns name, version, features and limits.
    info(InfoRequest) -> InfoResult;
    /// Answers when the database is alive.
    ping(PingRequest) -> PingResult;
    /// Checks a machine definition without storing it.
    validate_machine(ValidateMachineRequest) -> ValidateMachineResult;
}

operations! { blocking:
    /// Returns the events of one instance. Reads files.
    history(HistoryRequest) -> HistoryResult;
    /// Returns the log's entries in order. Reads files.
    wal_read(WalReadRequest) -> WalReadResult;
    /// Writes a checkpoint and deletes log segments that are no longer needed.
    compact(CompactRequest) -> CompactResult;
    /// Writes a snapshot of one instance.
    snapshot_instance(SnapshotInstanceRequest) -> SnapshotInstanceResult;
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!("closing {}: {error}", self.shared.name);
        }
    }
}

/// Writes for callers that only wait, and syncs by the clock when the policy says so.
fn run_log_thread(shared: &Shared) {
    let period = match shared.options.fsync {
        FsyncPolicy::EveryMs(ms) => Some(Duration::from_millis(u64::from(ms))),
        _ => None,
    };
    while !shared.queue.is_closed() {
        shared.queue.log_thread_turn(period);
        // A failure is told to those who write next; those who wait already still need this thread.
        if period.is_some() {
            let _ = shared.queue.try_with_sink(|sink| sink.writer.sync_if_due());
        }
    }
}

/// Writes a checkpoint whenever the log has grown enough since the last.
fn run_checkpoint_thread(shared: &Shared) {
    use std::sync::atomic::Ordering;
    while !shared.queue.is_closed() {
        park(None);
        let written = shared.files.counters.bytes_written.load(Ordering::Relaxed);
        let since = written.saturating_sub(shared.checkpointed_bytes.load(Ordering::Relaxed));
        if shared.queue.is_closed() || since < shared.options.checkpoint_log_bytes {
            continue;
        }
        if let Err(error) = shared.compact(CompactRequest::default()) {
            tracing::warn!("the automatic checkpoint failed: {error}");
            // Try again after as much log again, not at once.
            shared.checkpointed_bytes.store(written, Ordering::Relaxed);
        }
    }
}
