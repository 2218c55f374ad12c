//! The table of operations. Everything that lists operations follows it.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::command::{Outcome, Request};
use crate::ops::*;

/// Calls a macro with the table of operations, one row each:
///
/// ```text
/// /// documentation
/// Variant = number, method "WIRE_NAME", Read|Write|Local Memory|Files|Stream batch|alone keyed|plain,
///     Request => Result, can_fail: bool;
/// ```
///
/// See [`Access`](crate::operation::Access) for the first word after the name. `Memory` operations answer
/// at once or when the log says so; `Files` operations read or write files or take all locks, and so
/// must not run on the thread of an executor; `Stream` operations begin a watch. Those of a `batch` may be its elements; `keyed` ones take an idempotency key.
#[macro_export]
macro_rules! for_each_operation {
    ($make:ident) => {
        $crate::for_each_operation!($make,);
    };
    ($make:ident, $($before:tt)*) => {
        $make! { $($before)*
            /// Stores a machine definition under a name and version.
            PutMachine = 1, put_machine "PUT_MACHINE", Write Memory alone plain,
                PutMachineRequest => PutMachineResult, can_fail: true;
            /// Returns a machine definition.
            GetMachine = 2, get_machine "GET_MACHINE", Read Memory alone plain,
                GetMachineRequest => GetMachineResult, can_fail: true;
            /// Lists machines and their versions.
            ListMachines = 3, list_machines "LIST_MACHINES", Read Memory alone plain,
                ListMachinesRequest => ListMachinesResult, can_fail: false;
            /// Creates an instance of a machine.
            CreateInstance = 4, create_instance "CREATE_INSTANCE", Write Memory batch keyed,
                CreateInstanceRequest => CreateInstanceResult, can_fail: true;
            /// Returns the state and context of an instance.
            GetInstance = 5, get_instance "GET_INSTANCE", Read Memory batch plain,
                GetInstanceRequest => GetInstanceResult, can_fail: true;
            /// Lists instances by id, a page at a time.
            ListInstances = 6, list_instances "LIST_INSTANCES", Read Memory alone plain,
                ListInstancesRequest => ListInstancesResult, can_fail: true;
            /// Counts instances by machine, version and state.
            CountInstances = 7, count_instances "COUNT_INSTANCES", Read Memory alone plain,
                CountInstancesRequest => CountInstancesResult, can_fail: false;
            /// Deletes an instance; its id may be used again.
            DeleteInstance = 8, delete_instance "DELETE_INSTANCE", Write Memory batch keyed,
                DeleteInstanceRequest => DeleteInstanceResult, can_fail: true;
            /// Applies an event to an instance.
            ApplyEvent = 9, apply_event "APPLY_EVENT", Write Memory batch keyed,
                ApplyEventRequest => ApplyEventResult, can_fail: true;
            /// Says which events an instance would accept now.
            Permitted = 10, permitted "PERMITTED", Read Memory alone plain,
                PermittedRequest => PermittedResult, can_fail: true;
            /// Runs several operations, all or nothing or each on its own.
            Batch = 11, batch "BATCH", Write Memory alone keyed,
                BatchRequest => BatchResult, can_fail: true;
            /// Returns the events of one instance.
            History = 12, history "HISTORY", Read Files alone plain,
                HistoryRequest => HistoryResult, can_fail: true;
            /// Follows the events of one instance.
            WatchInstance = 13, watch_instance "WATCH_INSTANCE", Read Stream alone plain,
                WatchInstanceRequest => WatchInstanceResult, can_fail: true;
            /// Follows the events of all instances, filtered.
            WatchAll = 14, watch_all "WATCH_ALL", Read Stream alone plain,
                WatchAllRequest => WatchAllResult, can_fail: true;
            /// Returns the log's entries in order.
            WalRead = 15, wal_read "WAL_READ", Read Files alone plain,
                WalReadRequest => WalReadResult, can_fail: true;
            /// Returns figures of the log.
            WalStats = 16, wal_stats "WAL_STATS", Read Memory alone plain,
                WalStatsRequest => WalStatsResult, can_fail: false;
            /// Writes a checkpoint and deletes log segments that are no longer needed.
            Compact = 17, compact "COMPACT", Write Files alone plain,
                CompactRequest => CompactResult, can_fail: false;
            /// Writes a snapshot of one instance.
            SnapshotInstance = 18, snapshot_instance "SNAPSHOT_INSTANCE", Local Files alone plain,
                SnapshotInstanceRequest => SnapshotInstanceResult, can_fail: true;
            /// Removes all machines and instances.
            FlushAll = 19, flush_all "FLUSH_ALL", Write Files alone plain,
                FlushAllRequest => FlushAllResult, can_fail: true;
            /// Returns name, version, features and limits.
            Info = 20, info "INFO", Read Memory alone plain,
                InfoRequest => InfoResult, can_fail: false;
            /// Answers when the database is alive.
            Ping = 21, ping "PING", Read Memory alone plain,
                PingRequest => PingResult, can_fail: false;
            /// Checks a machine definition without storing it.
            ValidateMachine = 22, validate_machine "VALIDATE_MACHINE", Read Memory alone plain,
                ValidateMachineRequest => ValidateMachineResult, can_fail: true;
            /// Tells the part of the database in replication.
            ReplicationStatus = 23, replication_status "REPLICATION_STATUS", Read Memory alone plain,
                ReplicationStatusRequest => ReplicationStatusResult, can_fail: false;
            /// Lists the snapshots of one instance.
            ListSnapshots = 24, list_snapshots "LIST_SNAPSHOTS", Local Files alone plain,
                ListSnapshotsRequest => ListSnapshotsResult, can_fail: true;
            /// Removes a snapshot.
            DropSnapshot = 25, drop_snapshot "DROP_SNAPSHOT", Local Files alone plain,
                DropSnapshotRequest => DropSnapshotResult, can_fail: true;
            /// Returns a piece of a backup; begins one when none is named.
            Backup = 26, backup "BACKUP", Local Files alone plain,
                BackupRequest => BackupResult, can_fail: true;
            /// Reads the database's files, some at a time, and says what is wrong with them.
            Verify = 27, verify "VERIFY", Local Files alone plain,
                VerifyRequest => VerifyResult, can_fail: true;
            /// Has a replica take the writes.
            ReplicaPromote = 28, replica_promote "REPLICA_PROMOTE", Local Files alone plain,
                ReplicaPromoteRequest => ReplicaPromoteResult, can_fail: true;
            /// Has a server follow another one, or nobody.
            ReplicaFollow = 29, replica_follow "REPLICA_FOLLOW", Local Files alone plain,
                ReplicaFollowRequest => ReplicaFollowResult, can_fail: true;
            /// Tells what the group of a server is, and how each of its members does.
            ClusterStatus = 30, cluster_status "CLUSTER_STATUS", Read Files alone plain,
                ClusterStatusRequest => ClusterStatusResult, can_fail: false;
            /// Has a server that waits for its group begin one.
            ClusterInit = 31, cluster_init "CLUSTER_INIT", Local Files alone plain,
                ClusterInitRequest => ClusterInitResult, can_fail: true;
            /// Invites a server into the group.
            ClusterAdd = 32, cluster_add "CLUSTER_ADD", Local Files alone plain,
                ClusterAddRequest => ClusterAddResult, can_fail: true;
            /// Removes a member from the group.
            ClusterRemove = 33, cluster_remove "CLUSTER_REMOVE", Local Files alone plain,
                ClusterRemoveRequest => ClusterRemoveResult, can_fail: true;
            /// Gives a learner a vote.
            ClusterPromote = 34, cluster_promote "CLUSTER_PROMOTE", Local Files alone plain,
                ClusterPromoteRequest => ClusterPromoteResult, can_fail: true;
            /// Has another member lead.
            ClusterTransfer = 35, cluster_transfer "CLUSTER_TRANSFER", Local Files alone plain,
                ClusterTransferRequest => ClusterTransferResult, can_fail: true;
            /// Keeps a member from leading, or lets it lead again.
            ClusterDrain = 36, cluster_drain "CLUSTER_DRAIN", Local Files alone plain,
                ClusterDrainRequest => ClusterDrainResult, can_fail: true;
            /// Has all members compare what they hold.
            ClusterVerify = 37, cluster_verify "CLUSTER_VERIFY", Local Files alone plain,
                ClusterVerifyRequest => ClusterVerifyResult, can_fail: true;
            /// Has the group work at the newest level that all members know.
            ClusterUpgrade = 38, cluster_upgrade "CLUSTER_UPGRADE", Local Files alone plain,
                ClusterUpgradeRequest => ClusterUpgradeResult, can_fail: true;
        }
    };
}

macro_rules! operations {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $method:ident $wire:literal,
       $access:ident $place:ident $batch:ident $key:ident,
       $request:ident => $result:ident, can_fail: $can_fail:literal;)*) => {
        /// One operation of a database. The numbers are pinned for the C interface.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i32)]
        pub enum Operation {
            $($(#[doc = $doc])+ $name = $number,)*
        }

        impl Operation {
            /// Every operation, in numeric order.
            pub const ALL: &'static [Operation] = &[$(Operation::$name,)*];

            /// The name on the wire, such as `APPLY_EVENT`.
            pub const fn wire_name(self) -> &'static str {
                match self { $(Operation::$name => $wire,)* }
            }

            /// The name in snake case, such as `apply_event`.
            pub const fn name(self) -> &'static str {
                match self { $(Operation::$name => stringify!($method),)* }
            }

            /// What it reads or changes.
            pub const fn access(self) -> Access {
                match self { $(Operation::$name => Access::$access,)* }
            }

            /// Where its work is done.
            pub const fn place(self) -> Place {
                match self { $(Operation::$name => Place::$place,)* }
            }

            /// Whether it is about the one who answers, and not about what is stored.
            pub const fn is_about_node(self) -> bool {
                matches!(
                    self,
                    Operation::Ping
                        | Operation::Info
                        | Operation::ReplicationStatus
                        | Operation::WalStats
                        | Operation::ClusterStatus
                )
            }

            /// Whether it is for whoever runs a server's part among others: an order, or a question about all of them.
            pub const fn is_order(self) -> bool {
                matches!(
                    self,
                    Operation::ReplicaPromote
                        | Operation::ReplicaFollow
                        | Operation::ClusterStatus
                        | Operation::ClusterInit
                        | Operation::ClusterAdd
                        | Operation::ClusterRemove
                        | Operation::ClusterPromote
                        | Operation::ClusterTransfer
                        | Operation::ClusterDrain
                        | Operation::ClusterVerify
                        | Operation::ClusterUpgrade
                )
            }

            /// Whether it may be an element of a batch.
            pub const fn is_batchable(self) -> bool {
                match self { $(Operation::$name => operations!(@batch $batch),)* }
            }

            /// Whether its request may carry an idempotency key.
            pub const fn takes_key(self) -> bool {
                match self { $(Operation::$name => operations!(@key $key),)* }
            }

            /// Whether a well-formed request can be refused.
            pub const fn can_fail(self) -> bool {
                match self { $(Operation::$name => $can_fail,)* }
            }

            /// What it does, in a sentence: the documentation of the variant.
            pub const fn doc(self) -> &'static str {
                match self { $(Operation::$name => concat!($($doc),+).trim_ascii(),)* }
            }

            /// The names of its request and result types, such as
            /// `("PingRequest", "PingResult")`.
            pub const fn type_names(self) -> (&'static str, &'static str) {
                match self {
                    $(Operation::$name => (stringify!($request), stringify!($result)),)*
                }
            }

            /// Calls the visitor with the type of the operation's request.
            pub fn visit<V: Visitor>(self, visitor: V) -> V::Output {
                match self { $(Operation::$name => visitor.visit::<$request>(),)* }
            }

            /// Finds an operation by its wire name or its snake case name.
            pub fn from_name(name: &str) -> Option<Operation> {
                match name {
                    $($wire => Some(Operation::$name),)*
                    _ => Operation::ALL.iter().find(|operation| operation.name() == name).copied(),
                }
            }
        }

        /// Who knows what to do for each operation, a method each: requests call the one that is theirs.
        pub trait Handler: Sized {
            /// What a method gives for an operation whose result is `T`.
            type Answer<T>;

            $(#[doc = concat!("Carries `", stringify!($method), "` out.")]
            fn $method(self, request: $request) -> Self::Answer<$result>;)*
        }

        $(impl OperationRequest for $request {
            const OPERATION: Operation = Operation::$name;
            type Result = $result;

            fn handle<H: Handler>(self, handler: H) -> H::Answer<$result> {
                handler.$method(self)
            }

            fn into_request(self) -> Request {
                Request::$name(self)
            }

            fn take(outcome: Outcome) -> Option<$result> {
                match outcome {
                    Outcome::$name(result) => Some(operations!(@taken $name result)),
                    _ => None,
                }
            }
        })*
    };
    (@taken Info $result:ident) => { *$result };
    (@taken Backup $result:ident) => { *$result };
    (@taken ReplicationStatus $result:ident) => { *$result };
    (@taken ClusterStatus $result:ident) => { *$result };
    (@taken $name:ident $result:ident) => { $result };
    (@batch batch) => { true };
    (@batch alone) => { false };
    (@key keyed) => { true };
    (@key plain) => { false };
}

/// What is done with a request whose type an operation tells: for callers that have text and would
/// not move values as large as the largest request and result about.
pub trait Visitor: Sized {
    /// What comes of it.
    type Output;

    /// Does it.
    fn visit<R: OperationRequest>(self) -> Self::Output;
}

/// What an operation reads or changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It changes nothing.
    Read,
    /// It changes the database.
    Write,
    /// It is about files of this node beside the log. The database does not change, so it may be asked for
    /// where the database takes no writes; and nothing of it is in the log, so no other node knows.
    Local,
}

impl Access {
    /// The name in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Access::Read => "read",
            Access::Write => "write",
            Access::Local => "local",
        }
    }
}

/// Where the work of an operation is done, and so which thread may do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In memory: at once, or when the log says so.
    Memory,
    /// On files, or under all locks: beside the threads that serve others.
    Files,
    /// It begins a watch.
    Stream,
}

impl Operation {
    /// Whether the operation changes the database.
    pub const fn is_write(self) -> bool {
        matches!(self.access(), Access::Write)
    }
}

/// A typed request that belongs to one operation.
pub trait OperationRequest: Serialize + DeserializeOwned + Send + Unpin + 'static {
    /// The operation it asks for.
    const OPERATION: Operation;
    /// What a success returns.
    type Result: Serialize + DeserializeOwned + Send + Unpin + 'static;

    /// The request as a value of any operation.
    fn into_request(self) -> Request;

    /// Calls the handler's method for its operation.
    fn handle<H: Handler>(self, handler: H) -> H::Answer<Self::Result>;

    /// The result in an outcome; `None` when it is another operation's.
    fn take(outcome: Outcome) -> Option<Self::Result>;
}

for_each_operation!(operations);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense_and_names_agree() {
        for (index, operation) in Operation::ALL.iter().enumerate() {
            assert_eq!(*operation as usize, index + 1);
            assert_eq!(operation.name().to_uppercase(), operation.wire_name());
            assert_eq!(Operation::from_name(operation.name()), Some(*operation));
            assert_eq!(Operation::from_name(operation.wire_name()), Some(*operation));
            assert!(operation.doc().ends_with('.'));
        }
    }
}
