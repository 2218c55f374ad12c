//! The table of operations. Everything that lists operations follows it.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ops::*;

macro_rules! operations {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $wire:literal, $snake:literal, $access:ident,
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
                match self { $(Operation::$name => $snake,)* }
            }

            /// Whether the operation changes the database.
            pub const fn is_write(self) -> bool {
                match self { $(Operation::$name => matches!(Access::$access, Access::Write),)* }
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

            /// Finds an operation by its wire name or its snake case name.
            pub fn from_name(name: &str) -> Option<Operation> {
                match name {
                    $($wire | $snake => Some(Operation::$name),)*
                    _ => None,
                }
            }
        }

        $(impl OperationRequest for $request {
            const OPERATION: Operation = Operation::$name;
            type Result = $result;
        })*
    };
}

enum Access {
    Read,
    Write,
}

/// A typed request that belongs to one operation.
pub trait OperationRequest: Serialize + DeserializeOwned {
    /// The operation it asks for.
    const OPERATION: Operation;
    /// What a success returns.
    type Result: Serialize + DeserializeOwned;
}

operations! {
    /// Stores a machine definition under a name and version.
    PutMachine = 1, "PUT_MACHINE", "put_machine", Write,
        PutMachineRequest => PutMachineResult, can_fail: true;
    /// Returns a machine definition.
    GetMachine = 2, "GET_MACHINE", "get_machine", Read,
        GetMachineRequest => GetMachineResult, can_fail: true;
    /// Lists machines and their versions.
    ListMachines = 3, "LIST_MACHINES", "list_machines", Read,
        ListMachinesRequest => ListMachinesResult, can_fail: false;
    /// Creates an instance of a machine.
    CreateInstance = 4, "CREATE_INSTANCE", "create_instance", Write,
        CreateInstanceRequest => CreateInstanceResult, can_fail: true;
    /// Returns the state and context of an instance.
    GetInstance = 5, "GET_INSTANCE", "get_instance", Read,
        GetInstanceRequest => GetInstanceResult, can_fail: true;
    /// Lists instances by id, a page at a time.
    ListInstances = 6, "LIST_INSTANCES", "list_instances", Read,
        ListInstancesRequest => ListInstancesResult, can_fail: true;
    /// Counts instances by machine, version and state.
    CountInstances = 7, "COUNT_INSTANCES", "count_instances", Read,
        CountInstancesRequest => CountInstancesResult, can_fail: false;
    /// Deletes an instance; its id may be used again.
    DeleteInstance = 8, "DELETE_INSTANCE", "delete_instance", Write,
        DeleteInstanceRequest => DeleteInstanceResult, can_fail: true;
    /// Applies an event to an instance.
    ApplyEvent = 9, "APPLY_EVENT", "apply_event", Write,
        ApplyEventRequest => ApplyEventResult, can_fail: true;
    /// Says which events an instance would accept now.
    Permitted = 10, "PERMITTED", "permitted", Read,
        PermittedRequest => PermittedResult, can_fail: true;
    /// Runs several operations, all or nothing or each on its own.
    Batch = 11, "BATCH", "batch", Write,
        BatchRequest => BatchResult, can_fail: true;
    /// Returns the events of one instance.
    History = 12, "HISTORY", "history", Read,
        HistoryRequest => HistoryResult, can_fail: true;
    /// Follows the events of one instance.
    WatchInstance = 13, "WATCH_INSTANCE", "watch_instance", Read,
        WatchInstanceRequest => WatchInstanceResult, can_fail: true;
    /// Follows the events of all instances, filtered.
    WatchAll = 14, "WATCH_ALL", "watch_all", Read,
        WatchAllRequest => WatchAllResult, can_fail: true;
    /// Returns the log's entries in order.
    WalRead = 15, "WAL_READ", "wal_read", Read,
        WalReadRequest => WalReadResult, can_fail: true;
    /// Returns figures of the log.
    WalStats = 16, "WAL_STATS", "wal_stats", Read,
        WalStatsRequest => WalStatsResult, can_fail: false;
    /// Writes a checkpoint and deletes log segments that are no longer needed.
    Compact = 17, "COMPACT", "compact", Write,
        CompactRequest => CompactResult, can_fail: false;
    /// Writes a snapshot of one instance.
    SnapshotInstance = 18, "SNAPSHOT_INSTANCE", "snapshot_instance", Read,
        SnapshotInstanceRequest => SnapshotInstanceResult, can_fail: true;
    /// Removes all machines and instances.
    FlushAll = 19, "FLUSH_ALL", "flush_all", Write,
        FlushAllRequest => FlushAllResult, can_fail: true;
    /// Returns name, version, features and limits.
    Info = 20, "INFO", "info", Read,
        InfoRequest => InfoResult, can_fail: false;
    /// Answers when the database is alive.
    Ping = 21, "PING", "ping", Read,
        PingRequest => PingResult, can_fail: false;
    /// Checks a machine definition without storing it.
    ValidateMachine = 22, "VALIDATE_MACHINE", "validate_machine", Read,
        ValidateMachineRequest => ValidateMachineResult, can_fail: true;
}

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
