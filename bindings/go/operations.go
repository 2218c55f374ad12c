//go:build cgo

package rstmdb

import (
	"context"
	"iter"
	"slices"
)

// GetMachine returns a machine definition.
func (db *Database) GetMachine(ctx context.Context, name string, version uint32) (*GetMachineResult, error) {
	return invoke[GetMachineResult](ctx, db, OpGetMachine, &GetMachineRequest{Machine: name, Version: version})
}

// ListMachines lists machines and their versions.
func (db *Database) ListMachines(ctx context.Context) ([]MachineVersions, error) {
	result, err := invoke[ListMachinesResult](ctx, db, OpListMachines, &ListMachinesRequest{})
	if err != nil {
		return nil, err
	}
	return result.Items, nil
}

// GetInstance returns the state and context of an instance.
func (db *Database) GetInstance(ctx context.Context, id string) (*GetInstanceResult, error) {
	return invoke[GetInstanceResult](ctx, db, OpGetInstance, &GetInstanceRequest{InstanceID: id})
}

// DeleteInstance deletes an instance; its id may be used again.
func (db *Database) DeleteInstance(ctx context.Context, id string, options ...DeleteOption) (*DeleteInstanceResult, error) {
	request := DeleteInstanceRequest{InstanceID: id}
	for _, option := range options {
		option.setDelete(&request)
	}
	return invoke[DeleteInstanceResult](ctx, db, OpDeleteInstance, &request)
}

// ListInstances lists instances by id, a page at a time. See AllInstances for all pages.
func (db *Database) ListInstances(ctx context.Context, options ...ListOption) (*ListInstancesResult, error) {
	request := ListInstancesRequest{}
	for _, option := range options {
		option.setList(&request)
	}
	return invoke[ListInstancesResult](ctx, db, OpListInstances, &request)
}

// AllInstances iterates over instances by id, page after page, and stays exact while others write.
func (db *Database) AllInstances(ctx context.Context, options ...ListOption) iter.Seq2[InstanceSummary, error] {
	given := len(options)
	return func(yield func(InstanceSummary, error) bool) {
		options := options[:given:given]
		for {
			page, err := db.ListInstances(ctx, options...)
			if err != nil {
				yield(InstanceSummary{}, err)
				return
			}
			for _, instance := range page.Instances {
				if !yield(instance, nil) {
					return
				}
			}
			if page.NextCursor == "" {
				return
			}
			next := listOption(func(r *ListInstancesRequest) {
				// What the first page skipped is skipped.
				r.Cursor, r.Offset = page.NextCursor, 0
				r.ForceSendFields = slices.DeleteFunc(slices.Clone(r.ForceSendFields), func(name string) bool { return name == "Offset" })
			})
			options = append(options[:given:given], next)
		}
	}
}

// CountInstances counts instances by machine, version and state.
func (db *Database) CountInstances(ctx context.Context, options ...CountOption) ([]InstanceCount, error) {
	request := CountInstancesRequest{}
	for _, option := range options {
		option.setCount(&request)
	}
	result, err := invoke[CountInstancesResult](ctx, db, OpCountInstances, &request)
	if err != nil {
		return nil, err
	}
	return result.Counts, nil
}

// Batch runs several operations: with BatchAtomic all or nothing, with BatchBestEffort each on its
// own. The outcomes come in the order of the operations.
func (db *Database) Batch(ctx context.Context, mode BatchMode, operations []BatchOperation, options ...BatchOption) ([]BatchOutcome, error) {
	request := BatchRequest{Mode: mode, Ops: operations}
	for _, option := range options {
		option.setBatch(&request)
	}
	result, err := invoke[BatchResult](ctx, db, OpBatch, &request)
	if err != nil {
		return nil, err
	}
	return result.Results, nil
}

// History returns the events of one instance, the newest 100 without options.
func (db *Database) History(ctx context.Context, id string, options ...HistoryOption) (*HistoryResult, error) {
	request := HistoryRequest{InstanceID: id}
	for _, option := range options {
		option.setHistory(&request)
	}
	return invoke[HistoryResult](ctx, db, OpHistory, &request)
}

// WALRead returns the log's entries in order, from an offset on.
func (db *Database) WALRead(ctx context.Context, fromOffset uint64, options ...WALOption) (*WALReadResult, error) {
	request := WALReadRequest{FromOffset: fromOffset}
	for _, option := range options {
		option.setWAL(&request)
	}
	return invoke[WALReadResult](ctx, db, OpWALRead, &request)
}

// Compact writes a checkpoint, with force even if nothing changed since the last one, and deletes
// log segments that are no longer needed.
func (db *Database) Compact(ctx context.Context, force bool) (*CompactResult, error) {
	return invoke[CompactResult](ctx, db, OpCompact, &CompactRequest{ForceSnapshot: force})
}

// SnapshotInstance writes a snapshot of one instance.
func (db *Database) SnapshotInstance(ctx context.Context, id string) (*SnapshotInstanceResult, error) {
	return invoke[SnapshotInstanceResult](ctx, db, OpSnapshotInstance, &SnapshotInstanceRequest{InstanceID: id})
}

// ListSnapshots lists the snapshots of one instance.
func (db *Database) ListSnapshots(ctx context.Context, id string) ([]SnapshotSummary, error) {
	result, err := invoke[ListSnapshotsResult](ctx, db, OpListSnapshots, &ListSnapshotsRequest{InstanceID: id})
	if err != nil {
		return nil, err
	}
	return result.Snapshots, nil
}

// DropSnapshot removes a snapshot.
func (db *Database) DropSnapshot(ctx context.Context, snapshotID string) error {
	_, err := invoke[DropSnapshotResult](ctx, db, OpDropSnapshot, &DropSnapshotRequest{SnapshotID: snapshotID})
	return err
}

// Ping answers when the database is alive.
func (db *Database) Ping(ctx context.Context) error {
	_, err := invoke[PingResult](ctx, db, OpPing, &PingRequest{})
	return err
}
