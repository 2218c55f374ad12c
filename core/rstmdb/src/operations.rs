//! The table of the facade's operations: each row is a method of both databases.
//!
//! `memory` operations answer at once or when the log says so; `files` operations read or write
//! files and so must not run on the thread of an executor.

/// Calls `$make` with the table.
macro_rules! for_each_operation {
    ($make:ident) => {
        $make! {
            /// Stores a machine definition under a name and version.
            memory PutMachine put_machine(PutMachineRequest) -> PutMachineResult;
            /// Returns a machine definition.
            memory GetMachine get_machine(GetMachineRequest) -> GetMachineResult;
            /// Lists machines and their versions.
            memory ListMachines list_machines(ListMachinesRequest) -> ListMachinesResult;
            /// Creates an instance of a machine.
            memory CreateInstance create_instance(CreateInstanceRequest) -> CreateInstanceResult;
            /// Returns the state and context of an instance.
            memory GetInstance get_instance(GetInstanceRequest) -> GetInstanceResult;
            /// Lists instances by id, a page at a time.
            memory ListInstances list_instances(ListInstancesRequest) -> ListInstancesResult;
            /// Counts instances by machine, version and state.
            memory CountInstances count_instances(CountInstancesRequest) -> CountInstancesResult;
            /// Deletes an instance; its id may be used again.
            memory DeleteInstance delete_instance(DeleteInstanceRequest) -> DeleteInstanceResult;
            /// Applies an event to an instance.
            memory ApplyEvent apply_event(ApplyEventRequest) -> ApplyEventResult;
            /// Says which events an instance would accept now.
            memory Permitted permitted(PermittedRequest) -> PermittedResult;
            /// Runs several operations, all or nothing or each on its own.
            memory Batch batch(BatchRequest) -> BatchResult;
            /// Returns the events of one instance.
            files History history(HistoryRequest) -> HistoryResult;
            /// Returns the log's entries in order.
            files WalRead wal_read(WalReadRequest) -> WalReadResult;
            /// Returns figures of the log.
            memory WalStats wal_stats(WalStatsRequest) -> WalStatsResult;
            /// Writes a checkpoint and deletes log segments that are no longer needed.
            files Compact compact(CompactRequest) -> CompactResult;
            /// Writes a snapshot of one instance.
            files SnapshotInstance snapshot_instance(SnapshotInstanceRequest) -> SnapshotInstanceResult;
            /// Removes all machines and instances.
            memory FlushAll flush_all(FlushAllRequest) -> FlushAllResult;
            /// Returns name, version, features and limits.
            memory Info info(InfoRequest) -> InfoResult;
            /// Answers when the database is alive.
            memory Ping ping(PingRequest) -> PingResult;
            /// Checks a machine definition without storing it.
            memory ValidateMachine validate_machine(ValidateMachineRequest) -> ValidateMachineResult;
        }
    };
}

pub(crate) use for_each_operation;
