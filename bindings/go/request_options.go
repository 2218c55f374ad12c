//go:build cgo

package rstmdb

import "slices"

// A request struct given as an option sets everything at once, and options after it change it:
//
//	db.ListInstances(ctx, rstmdb.WithMachine("order"), rstmdb.WithLimit(20))
//	db.ListInstances(ctx, rstmdb.ListInstancesRequest{Machine: "order", Limit: 20})

// ListOption narrows a list of instances. A ListInstancesRequest is one too.
type ListOption interface{ setList(*ListInstancesRequest) }

// CountOption narrows a count of instances. A CountInstancesRequest is one too.
type CountOption interface{ setCount(*CountInstancesRequest) }

// FilterOption narrows both.
type FilterOption interface {
	ListOption
	CountOption
}

// PageOption chooses a page of a list, or of a history.
type PageOption interface {
	ListOption
	HistoryOption
}

// DeleteOption is an option of DeleteInstance. A DeleteInstanceRequest is one too.
type DeleteOption interface{ setDelete(*DeleteInstanceRequest) }

// BatchOption is an option of Batch. A BatchRequest is one too.
type BatchOption interface{ setBatch(*BatchRequest) }

// KeyOption is an idempotency key, of a delete or a batch.
type KeyOption interface {
	DeleteOption
	BatchOption
}

// HistoryOption chooses a part of a history. A HistoryRequest is one too.
type HistoryOption interface{ setHistory(*HistoryRequest) }

// WALOption chooses a part of the log. A WALReadRequest is one too.
type WALOption interface{ setWAL(*WALReadRequest) }

// Options append to ForceSendFields, and must not write into the caller's: hence slices.Clip.

func (r ListInstancesRequest) setList(to *ListInstancesRequest) {
	*to = r
	to.ForceSendFields = slices.Clip(r.ForceSendFields)
}

func (r CountInstancesRequest) setCount(to *CountInstancesRequest) {
	*to = r
	to.ForceSendFields = slices.Clip(r.ForceSendFields)
}

func (r DeleteInstanceRequest) setDelete(to *DeleteInstanceRequest) {
	*to = r
	to.ForceSendFields = slices.Clip(r.ForceSendFields)
}

func (r BatchRequest) setBatch(to *BatchRequest) {
	*to = r
	to.ForceSendFields = slices.Clip(r.ForceSendFields)
}

func (r HistoryRequest) setHistory(to *HistoryRequest) {
	*to = r
	to.ForceSendFields = slices.Clip(r.ForceSendFields)
}

func (r WALReadRequest) setWAL(to *WALReadRequest) {
	*to = r
	to.ForceSendFields = slices.Clip(r.ForceSendFields)
}

type machineFilter string

func (m machineFilter) setList(r *ListInstancesRequest) {
	r.Machine, r.ForceSendFields = string(m), append(r.ForceSendFields, "Machine")
}
func (m machineFilter) setCount(r *CountInstancesRequest) {
	r.Machine, r.ForceSendFields = string(m), append(r.ForceSendFields, "Machine")
}

// WithMachine: only instances of this machine.
func WithMachine(name string) FilterOption { return machineFilter(name) }

type versionFilter uint32

func (v versionFilter) setList(r *ListInstancesRequest) {
	r.Version, r.ForceSendFields = uint32(v), append(r.ForceSendFields, "Version")
}
func (v versionFilter) setCount(r *CountInstancesRequest) {
	r.Version, r.ForceSendFields = uint32(v), append(r.ForceSendFields, "Version")
}

// WithVersion: only instances of this version.
func WithVersion(version uint32) FilterOption { return versionFilter(version) }

type stateFilter string

func (s stateFilter) setList(r *ListInstancesRequest) {
	r.State, r.ForceSendFields = string(s), append(r.ForceSendFields, "State")
}
func (s stateFilter) setCount(r *CountInstancesRequest) {
	r.State, r.ForceSendFields = string(s), append(r.ForceSendFields, "State")
}

// WithState: only instances in this state.
func WithState(state string) FilterOption { return stateFilter(state) }

type limit uint32

func (n limit) setList(r *ListInstancesRequest) {
	r.Limit, r.ForceSendFields = uint32(n), append(r.ForceSendFields, "Limit")
}
func (n limit) setHistory(r *HistoryRequest) {
	r.Limit, r.ForceSendFields = uint32(n), append(r.ForceSendFields, "Limit")
}

// WithLimit: the most instances or events of a page; 100 without it.
func WithLimit(count uint32) PageOption { return limit(count) }

type listOption func(*ListInstancesRequest)

func (set listOption) setList(r *ListInstancesRequest) { set(r) }

// WithOffset: how many matching instances to skip.
func WithOffset(count uint32) ListOption {
	return listOption(func(r *ListInstancesRequest) { r.Offset = count })
}

// WithCursor: continue after a page; its NextCursor.
func WithCursor(cursor string) ListOption {
	return listOption(func(r *ListInstancesRequest) { r.Cursor = cursor })
}

type historyOption func(*HistoryRequest)

func (set historyOption) setHistory(r *HistoryRequest) { set(r) }

// OldestFirst begins a history with the creation.
func OldestFirst() HistoryOption {
	return historyOption(func(r *HistoryRequest) { r.Order = HistoryOldest })
}

// HistoryAfter: continue after a page of a history; its NextCursor.
func HistoryAfter(cursor uint64) HistoryOption {
	return historyOption(func(r *HistoryRequest) { r.Cursor = cursor })
}

type walLimit uint64

func (n walLimit) setWAL(r *WALReadRequest) {
	r.Limit, r.ForceSendFields = uint64(n), append(r.ForceSendFields, "Limit")
}

// WALLimit: the most entries to return; 100 without it.
func WALLimit(count uint64) WALOption { return walLimit(count) }

type key string

func (k key) setDelete(r *DeleteInstanceRequest) {
	r.IdempotencyKey, r.ForceSendFields = string(k), append(r.ForceSendFields, "IdempotencyKey")
}
func (k key) setBatch(r *BatchRequest) {
	r.IdempotencyKey, r.ForceSendFields = string(k), append(r.ForceSendFields, "IdempotencyKey")
}

// WithIdempotencyKey: a retry with the same key gets the first result.
func WithIdempotencyKey(value string) KeyOption { return key(value) }
