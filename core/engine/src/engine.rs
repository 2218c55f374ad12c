//! The handle to an open database: its threads and its public methods.

use std::ops::Deref;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use rstmdb_types::error::reason;
use rstmdb_types::operation::Handler;
use rstmdb_types::*;

use crate::checkpoint::policy::CheckpointPolicy;
use crate::condition::Condition;
use crate::error::io as io_error;
use crate::jobs;
use crate::log::queue::Queue;
use crate::manifest::{Manifest, hex};
use crate::open::open;
use crate::ops::{Edge, NewId};
use crate::options::{Background, FsyncPolicy, Location, Options};
use crate::pending::{Commit, Evaluated, Pending};
use crate::replication::install::install;
use crate::replication::syncs::serve;
use crate::replication::{Installed, LogFrame, Replication, Standing};
use crate::shared::{EngineSink, Shared};
use crate::watch::Subscription;

/// An open database. Shared by reference or [`Arc`]; closed when dropped.
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
    is_closed: Mutex<bool>,
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
        let name = location.name.clone();
        let opened = open(location, options).map_err(|error| match error.reason() {
            // Whoever reads what helps needs to know where.
            Some(reason::CORRUPT) if !error.context().contains_key("path") => {
                error.with("path", name)
            }
            _ => error,
        });
        let engine = Engine {
            shared: Arc::new(opened?),
            is_closed: Mutex::new(false),
            threads: Mutex::default(),
        };
        match engine.shared.options.background {
            _ if engine.shared.is_read_only => {}
            Background::Threads => {
                let mut threads = engine.threads.lock();
                jobs::start(&engine.shared, &mut threads)?;
                if engine.shared.node.is_some() {
                    let served = serve(&engine.shared, Shared::syncs, Shared::sync_frames);
                    threads.push(served.map_err(|error| io_error("starting a thread", error))?);
                }
            }
            Background::Inline => {
                if let Err(error) = engine.shared.snapshots.read(&*engine.shared.storage) {
                    tracing::warn!("snapshots of deleted instances stay for now: {error}");
                }
                engine.shared.tidy_snapshots_or_warn(&engine.shared.manifest.lock());
            }
        }
        Ok(engine)
    }

    /// SyncWaiters what is not synced, stops the threads and releases the directory.
    ///
    /// Requests that come later get an error of kind `Closed`. Closing twice is fine. Nothing is written
    /// when the files are not those any more that were opened: the error says so.
    pub fn close(&self) -> Result<()> {
        // Held to the end: who closes a second time waits for the first.
        let mut is_closed = self.is_closed.lock();
        if *is_closed {
            return Ok(());
        }
        // What others still decide about is theirs.
        if self.is_leading() {
            self.shared.follow("the database was closed", None);
        }
        self.shared.queue.close();
        self.shared.followers.wake_all();
        self.shared.growth.wake_all();
        let synced =
            self.shared.queue.with_sink(|sink| sink.writer.sync().map(|()| sink.writer.synced()));
        if let Some(node) = &self.shared.node {
            node.syncs.close();
        }
        for thread in self.threads.lock().drain(..) {
            // A thread that panicked has nothing left to do.
            let _ = thread.join();
        }
        let result = match synced {
            Ok(_) if self.shared.is_read_only => Ok(()),
            Ok(durable) => self.shared.check_directory().and_then(|()| self.record_end(durable)),
            Err(failure) => Err(failure.batch),
        };
        if result.is_ok() && !self.shared.is_read_only {
            self.shared.tidy_snapshots_or_warn(&self.shared.manifest.lock());
            self.shorten_the_next_opening();
        }
        // A compaction that began before has ended when its lock is free; none begins after.
        drop(self.shared.manifest.lock());
        self.shared.directory.release();
        *is_closed = true;
        result
    }

    fn is_leading(&self) -> bool {
        self.replication().standing() != Standing::Alone && self.shared.queue.check_stands().is_ok()
    }

    fn shorten_the_next_opening(&self) {
        let shared = &self.shared;
        if shared.node.is_some() {
            return;
        }
        let instances = || shared.state.instance_count();
        let is_due = shared.schedule.lock().is_due_at_close(shared.growth.reach(), instances);
        if is_due && !shared.storage.is_volatile() {
            let written = shared.checkpoint_at_close();
            written.unwrap_or_else(|error| tracing::warn!("no checkpoint at the end: {error}"));
        }
    }

    /// The next start will know how far the log must reach, and how far it is decided on.
    fn record_end(&self, durable: Offset) -> Result<()> {
        let Some(node) = &self.shared.node else { return self.record_durable(durable) };
        // Others may have cut off what is not committed before this node writes again.
        self.record_durable(durable.min(self.shared.queue.committed()))?;
        node.save_committed(self.shared.committed_index())
    }

    /// The next start will know how far the log must reach.
    fn record_durable(&self, durable: Offset) -> Result<()> {
        let mut manifest = self.shared.manifest.lock();
        if manifest.durable_offset >= durable {
            return Ok(());
        }
        let next = manifest.clone();
        match self.shared.replace_manifest(&mut manifest, next, durable) {
            // Everything is synced; the next start just has to find the end by itself.
            Err(error) if error.reason() == Some(reason::DISK_FULL) => {
                tracing::warn!("no room to say how far the log reaches, which is synced: {error}");
                Ok(())
            }
            replaced => replaced,
        }
    }

    /// The number of the node that a directory belongs to; none where it belongs to none.
    pub fn node_in(location: &Location) -> Result<Option<u16>> {
        let manifest = Manifest::read(&*location.storage)?;
        Ok(manifest.map(|manifest| manifest.node_id).filter(|node| *node > 0))
    }

    /// What a driver of replication does with it.
    pub fn replication(&self) -> Replication<'_> {
        Replication::new(&self.shared)
    }

    /// Lays a checkpoint that another node handed over into a directory that is closed, in place of what is there of
    /// the same database, and opens it. `read` gives the bytes of the checkpoint at a position, none at its end;
    /// `frames` are those behind it up to [`Installed::until`], in order. A crash leaves what was there before, or all
    /// of the new.
    pub fn install(
        location: Location,
        options: Options,
        at: &Installed,
        mut read: impl FnMut(&mut [u8], u64) -> Result<usize>,
        mut frames: impl Iterator<Item = Result<LogFrame>>,
    ) -> Result<Engine> {
        let node = options.node.clone().ok_or_else(|| {
            let what = "only a node gets a checkpoint from another; set the option node";
            Error::invalid(reason::INVALID_OPTION, what).with("option", "node")
        })?;
        install(&location, &node, at, &mut read, &mut frames)?;
        Engine::open(location, options)
    }

    /// How often the clock was found to be set, or far from the log's time.
    pub fn clock_steps(&self) -> u64 {
        self.shared.time.steps()
    }

    /// Why writes are refused now; none when they are accepted.
    pub fn refusal(&self) -> Option<Error> {
        self.shared.refusal()
    }

    /// The first damage that was found since it was opened, in what was read or in a checkpoint just written. State
    /// is in memory, so other requests go on.
    pub fn damage(&self) -> Option<Error> {
        self.shared.damage.get().cloned()
    }

    /// How it is, beyond what requests ask for.
    pub fn condition(&self) -> Condition {
        self.shared.condition()
    }

    /// Changes when checkpoints are written without being asked for.
    pub fn set_checkpoint_policy(&self, policy: CheckpointPolicy) {
        let before = std::mem::replace(&mut self.shared.schedule.lock().policy, policy);
        if policy != before {
            self.shared.growth.wake_all();
        }
    }

    /// What requests are held to.
    pub fn limits(&self) -> &Limits {
        &self.shared.options.limits
    }

    /// The id it was given when it was created, 32 hex digits.
    pub fn database_id(&self) -> String {
        hex(&self.shared.database)
    }

    /// Where the next change comes.
    pub fn position(&self) -> LogPosition {
        self.shared.position(self.shared.queue.committed() + 1)
    }

    /// Whether a write may have to wait for a sync.
    pub(crate) fn syncs(&self) -> bool {
        self.shared.options.fsync != FsyncPolicy::Never
    }

    pub(crate) fn queue(&self) -> &Queue<EngineSink> {
        &self.shared.queue
    }

    /// Makes a command of a request, with the time and what new ids are made of.
    pub fn command(&self, request: impl Into<Box<Request>>) -> Command {
        let request: Box<Request> = request.into();
        let new_id =
            if request.needs_id() { u128::from_le_bytes(self.shared.entropy.salt()) } else { 0 };
        Command::new(request, self.shared.now(), new_id)
    }

    /// Carries a request out. When too much waits to be written, a change first waits until that is on
    /// its way, which only threads may that serve nobody else: see [`Engine::begin`].
    pub fn call<R: OperationRequest>(&self, request: R) -> Pending<&Engine, R::Result> {
        self.wait_for_room(R::OPERATION);
        self.begin(request)
    }

    /// As [`Engine::call`], and waits for the result.
    pub fn run<R: OperationRequest>(&self, request: R) -> Result<R::Result> {
        self.wait_for_room(R::OPERATION);
        let name = |error: Error| Err(error.with_operation(R::OPERATION.wire_name()));
        // Results are large: this one is moved no more than it must be.
        let evaluated = self.evaluate(request);
        match (self.queue().wait(evaluated.ticket), &evaluated.result) {
            (Ok(()), Ok(_)) => evaluated.result,
            (Err(error), _) => name(error),
            (Ok(()), Err(error)) => name(error.clone()),
        }
    }

    /// Waits until an operation may begin.
    pub fn wait_for_room(&self, operation: Operation) {
        if operation.is_write() {
            self.shared.queue.wait_for_room();
        }
    }

    /// Whether an operation may begin: not every change while too much waits to be written.
    pub fn has_room(&self, operation: Operation) -> bool {
        !operation.is_write() || self.shared.queue.has_room()
    }

    /// Carries a request out without waiting for room; who does not wait asks
    /// [`Execute::poll_room`] before.
    pub fn begin<R: OperationRequest>(&self, request: R) -> Pending<&Engine, R::Result> {
        Pending::new(self, R::OPERATION, self.evaluate(request))
    }

    #[inline]
    fn evaluate<R: OperationRequest>(&self, request: R) -> Evaluated<R::Result> {
        let shared = &*self.shared;
        match self.check_access(R::OPERATION) {
            Ok(()) => {
                let evaluated = request.handle(Carry { shared, given: None });
                if R::OPERATION.is_about_node() { evaluated.of_this_node() } else { evaluated }
            }
            Err(error) => shared.ready(Err(error)),
        }
    }

    /// As [`Execute::submit`], for who prepares an answer: the outcome is shown where it is, since results are
    /// large. Nothing of it may be told before the commit came out well.
    pub fn submit_with<H: Deref<Target = Engine> + Unpin, T>(
        this: H,
        command: Command,
        prepare: impl FnOnce(Result<&Outcome>) -> T,
    ) -> (Commit<H>, T) {
        let operation = command.request.operation();
        let Evaluated { ticket, result } = this.carry_out(command);
        let prepared = match &result {
            Ok(outcome) => prepare(Ok(outcome)),
            Err(error) => prepare(Err(error.clone().with_operation(operation.wire_name()))),
        };
        (Commit::new(this, operation, ticket), prepared)
    }

    fn check_access(&self, operation: Operation) -> Result<()> {
        if operation.is_write() { self.shared.check_writable() } else { Ok(()) }
    }

    fn carry_out(&self, command: Command) -> Evaluated<Outcome> {
        if let Err(error) = self.check_access(command.request.operation()) {
            return self.shared.ready(Err(error));
        }
        let operation = command.request.operation();
        let Command { request, at_ms, new_id, plain_rules, may_be_behind, .. } = command;
        let edge = Edge { at_ms, new_id: NewId::Given(new_id), plain_rules };
        let evaluated = outcome(request, Carry { shared: &self.shared, given: Some(edge) });
        // The one place that says who may be told what is old: all else waits until it is certain that this node leads.
        let is_behind = may_be_behind && operation.access() == Access::Read;
        if is_behind || operation.is_about_node() { evaluated.of_this_node() } else { evaluated }
    }

    /// Follows the events of one instance.
    pub fn watch_instance(
        &self,
        request: WatchInstanceRequest,
    ) -> Result<(WatchInstanceResult, Subscription)> {
        self.watch(request)
    }

    /// Follows the events of all instances that pass the filters.
    pub fn watch_all(&self, request: WatchAllRequest) -> Result<(WatchAllResult, Subscription)> {
        self.watch(request)
    }

    fn watch<R: OperationRequest>(&self, request: R) -> Result<(R::Result, Subscription)> {
        let (outcome, subscription) = self.subscribe(self.command(request.into_request()))?;
        let result = R::take(outcome).ok_or_else(is_no_watch)?;
        Ok((result, subscription))
    }
}

impl Execute for Engine {
    type Pending<H: Deref<Target = Engine> + Unpin> = Pending<H, Outcome>;
    type Subscription = Subscription;

    fn submit<H: Deref<Target = Engine> + Unpin>(this: H, command: Command) -> Pending<H, Outcome> {
        let operation = command.request.operation();
        let evaluated = this.carry_out(command);
        Pending::new(this, operation, evaluated)
    }

    fn poll_room(&self, operation: Operation, context: &mut Context<'_>) -> Poll<()> {
        if operation.is_write() { self.shared.queue.poll_room(context) } else { Poll::Ready(()) }
    }

    fn subscribe(&self, command: Command) -> Result<(Outcome, Subscription)> {
        let Command { request, at_ms, new_id, plain_rules, .. } = command;
        let edge = &Edge { at_ms, new_id: NewId::Given(new_id), plain_rules };
        let operation = request.operation();
        let begun = match *request {
            Request::WatchInstance(request) => self
                .shared
                .watch_instance(request, edge)
                .map(|(result, events)| (Outcome::WatchInstance(result), events)),
            Request::WatchAll(request) => self
                .shared
                .watch_all(request, edge)
                .map(|(result, events)| (Outcome::WatchAll(result), events)),
            _ => Err(is_no_watch()),
        };
        begun.map_err(|error| error.with_operation(operation.wire_name()))
    }
}

/// Carries out what is asked for, with what came along.
#[derive(Clone, Copy)]
struct Carry<'a> {
    shared: &'a Shared,
    given: Option<Edge<'a>>,
}

impl<'a> Carry<'a> {
    /// Made where it is needed: most reads would ask for the time in vain.
    fn edge(&self) -> Edge<'a> {
        self.given.unwrap_or_else(|| Edge::of(self.shared))
    }
}

impl Handler for Carry<'_> {
    type Answer<T> = Evaluated<T>;

    fn put_machine(self, request: PutMachineRequest) -> Evaluated<PutMachineResult> {
        self.shared.put_machine(request, &self.edge())
    }

    fn get_machine(self, request: GetMachineRequest) -> Evaluated<GetMachineResult> {
        self.shared.get_machine(request)
    }

    fn list_machines(self, request: ListMachinesRequest) -> Evaluated<ListMachinesResult> {
        self.shared.list_machines(request)
    }

    fn create_instance(self, request: CreateInstanceRequest) -> Evaluated<CreateInstanceResult> {
        self.shared.create_instance(request, &self.edge())
    }

    fn get_instance(self, request: GetInstanceRequest) -> Evaluated<GetInstanceResult> {
        self.shared.get_instance(request)
    }

    fn list_instances(self, request: ListInstancesRequest) -> Evaluated<ListInstancesResult> {
        self.shared.list_instances(request)
    }

    fn count_instances(self, request: CountInstancesRequest) -> Evaluated<CountInstancesResult> {
        self.shared.count_instances(request)
    }

    fn delete_instance(self, request: DeleteInstanceRequest) -> Evaluated<DeleteInstanceResult> {
        self.shared.delete_instance(request, &self.edge())
    }

    fn apply_event(self, request: ApplyEventRequest) -> Evaluated<ApplyEventResult> {
        self.shared.apply_event(request, &self.edge())
    }

    fn permitted(self, request: PermittedRequest) -> Evaluated<PermittedResult> {
        self.shared.permitted(request, &self.edge())
    }

    fn batch(self, request: BatchRequest) -> Evaluated<BatchResult> {
        self.shared.batch(request, &self.edge())
    }

    fn history(self, request: HistoryRequest) -> Evaluated<HistoryResult> {
        self.shared.look(|| self.shared.history(request))
    }

    fn watch_instance(self, _: WatchInstanceRequest) -> Evaluated<WatchInstanceResult> {
        self.shared.ready(Err(is_a_watch()))
    }

    fn watch_all(self, _: WatchAllRequest) -> Evaluated<WatchAllResult> {
        self.shared.ready(Err(is_a_watch()))
    }

    fn wal_read(self, request: WalReadRequest) -> Evaluated<WalReadResult> {
        self.shared.look(|| self.shared.wal_read(request, &self.edge()))
    }

    fn wal_stats(self, request: WalStatsRequest) -> Evaluated<WalStatsResult> {
        self.shared.wal_stats(request)
    }

    fn compact(self, request: CompactRequest) -> Evaluated<CompactResult> {
        self.shared.ready(self.shared.compact(request, &self.edge()))
    }

    fn snapshot_instance(
        self,
        request: SnapshotInstanceRequest,
    ) -> Evaluated<SnapshotInstanceResult> {
        self.shared.ready(self.shared.snapshot_instance(request, &self.edge()))
    }

    fn list_snapshots(self, request: ListSnapshotsRequest) -> Evaluated<ListSnapshotsResult> {
        self.shared.ready(self.shared.list_snapshots(request))
    }

    fn drop_snapshot(self, request: DropSnapshotRequest) -> Evaluated<DropSnapshotResult> {
        self.shared.ready(self.shared.drop_snapshot(request))
    }

    fn backup(self, request: BackupRequest) -> Evaluated<BackupResult> {
        self.shared.ready(self.shared.backup(request, &self.edge()))
    }

    fn replica_promote(self, request: ReplicaPromoteRequest) -> Evaluated<ReplicaPromoteResult> {
        self.shared.ready(self.shared.promote(&request))
    }

    fn replica_follow(self, request: ReplicaFollowRequest) -> Evaluated<ReplicaFollowResult> {
        self.shared.ready(self.shared.follow_nobody(&request))
    }

    fn verify(self, request: VerifyRequest) -> Evaluated<VerifyResult> {
        self.shared.ready(self.shared.verify(request))
    }

    fn flush_all(self, request: FlushAllRequest) -> Evaluated<FlushAllResult> {
        self.shared.flush_all(request, &self.edge())
    }

    fn info(self, request: InfoRequest) -> Evaluated<InfoResult> {
        self.shared.info(request)
    }

    fn ping(self, request: PingRequest) -> Evaluated<PingResult> {
        self.shared.ping(request)
    }

    fn validate_machine(self, request: ValidateMachineRequest) -> Evaluated<ValidateMachineResult> {
        self.shared.validate_machine(request, &self.edge())
    }

    fn replication_status(
        self,
        request: ReplicationStatusRequest,
    ) -> Evaluated<ReplicationStatusResult> {
        self.shared.replication_status(request)
    }

    fn cluster_status(self, _: ClusterStatusRequest) -> Evaluated<ClusterStatusResult> {
        self.shared.ready(self.shared.cluster_of_one())
    }

    fn cluster_init(self, _: ClusterInitRequest) -> Evaluated<ClusterInitResult> {
        self.shared.ready(Err(self.shared.has_no_group()))
    }

    fn cluster_add(self, _: ClusterAddRequest) -> Evaluated<ClusterAddResult> {
        self.shared.ready(Err(self.shared.has_no_group()))
    }

    fn cluster_remove(self, _: ClusterRemoveRequest) -> Evaluated<ClusterRemoveResult> {
        self.shared.ready(Err(self.shared.has_no_group()))
    }

    fn cluster_promote(self, _: ClusterPromoteRequest) -> Evaluated<ClusterPromoteResult> {
        self.shared.ready(Err(self.shared.has_no_group()))
    }

    fn cluster_transfer(self, _: ClusterTransferRequest) -> Evaluated<ClusterTransferResult> {
        self.shared.ready(Err(self.shared.has_no_group()))
    }

    fn cluster_drain(self, _: ClusterDrainRequest) -> Evaluated<ClusterDrainResult> {
        self.shared.ready(Err(self.shared.has_no_group()))
    }

    fn cluster_verify(self, _: ClusterVerifyRequest) -> Evaluated<ClusterVerifyResult> {
        self.shared.ready(Err(self.shared.has_no_group()))
    }

    fn cluster_upgrade(self, _: ClusterUpgradeRequest) -> Evaluated<ClusterUpgradeResult> {
        self.shared.ready(Err(self.shared.has_no_group()))
    }
}

fn is_a_watch() -> Error {
    Error::invalid(reason::INVALID_REQUEST, "a watch is a stream of events; subscribe to it")
}

fn is_no_watch() -> Error {
    Error::invalid(reason::INVALID_REQUEST, "only watches can be subscribed to")
}

macro_rules! methods {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $method:ident $wire:literal,
       $access:ident $place:ident $batch:ident $key:ident,
       $request:ident => $result:ident, can_fail: $can_fail:literal;)*) => {
        /// The outcome of a request of any operation.
        #[expect(clippy::boxed_local, reason = "out of the box it is moved once, as what it is of")]
        fn outcome(request: Box<Request>, carry: Carry<'_>) -> Evaluated<Outcome> {
            match *request {
                $(Request::$name(request) => {
                    request.handle(carry).map(|result| Outcome::$name(result.into()))
                })*
            }
        }

        impl Engine {
            $(methods! { @ $place $(#[doc = $doc])+ $method $request $result })*
        }
    };
    // Their methods return the stream of events too: see above.
    (@ Stream $($rest:tt)*) => {};
    (@ $place:ident $(#[doc = $doc:literal])+ $method:ident $request:ident $result:ident) => {
        $(#[doc = $doc])+
        pub fn $method(&self, request: $request) -> Pending<&Engine, $result> {
            self.call(request)
        }
    };
}

rstmdb_types::for_each_operation!(methods);

impl Drop for Engine {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!("closing {}: {error}", self.shared.name);
        }
    }
}
