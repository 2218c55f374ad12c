package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	rstmdb "github.com/rstmdb/rstmdb/bindings/go"
)

// required are the members that a typed request can't be without, by wire name of the operation.
var required = map[string][]string{}

func readSurface(path string) error {
	surface, err := readFile(path)
	if err != nil {
		return err
	}
	for _, row := range surface["operations"].([]any) {
		operation := row.(object)
		name := operation["wire_name"].(string)
		required[name] = nil
		for _, member := range operation["request"].([]any) {
			if member := member.(object); member["required"] == true {
				required[name] = append(required[name], member["name"].(string))
			}
		}
	}
	return nil
}

// request reads arguments into a typed request; what does not fit is the error that SPEC.md asks for.
func request[T any](op string, args any) (T, error) {
	var typed T
	err := requestInto(&typed, op, args)
	return typed, err
}

func requestInto(typed any, op string, args any) error {
	if problem := missing(op, args); problem != "" {
		return misfit(problem)
	}
	if err := json.Unmarshal([]byte(canonical(args)), typed); err != nil {
		return misfit(err.Error())
	}
	return nil
}

func missing(op string, args any) string {
	members, ok := args.(object)
	if !ok {
		return "the arguments are not an object"
	}
	for _, name := range required[op] {
		if value, present := members[name]; !present || value == nil && name != "definition" {
			return fmt.Sprintf("%s is missing", name)
		}
	}
	operations, _ := members["ops"].([]any)
	for _, operation := range operations {
		if envelope, ok := operation.(object); ok {
			name, _ := envelope["op"].(string)
			params, present := envelope["params"]
			if !present {
				params = object{}
			}
			if _, known := required[name]; known {
				if problem := missing(name, params); problem != "" {
					return problem
				}
			}
		}
	}
	return ""
}

func misfit(message string) error {
	return &rstmdb.Error{
		Code: rstmdb.CodeBadRequest, Kind: rstmdb.KindInvalid,
		Reason: rstmdb.ReasonInvalidRequest, Message: message,
	}
}

// call runs an operation through its method, with what its method takes.
func call(ctx context.Context, db *rstmdb.Database, op string, args any) (any, error) {
	if method, short := shortened[op]; short {
		return method(ctx, db, args)
	}
	method := reflect.ValueOf(db).MethodByName(goName(op))
	if !method.IsValid() {
		return nil, fmt.Errorf("the module has no method %s", goName(op))
	}
	given := []reflect.Value{reflect.ValueOf(ctx)}
	if method.Type().NumIn() > 1 {
		typed := reflect.New(method.Type().In(1))
		if err := requestInto(typed.Interface(), op, args); err != nil {
			return nil, err
		}
		given = append(given, typed.Elem())
	}
	results := method.Call(given)
	if err, failed := results[1].Interface().(error); failed {
		return nil, err
	}
	return valueOf(results[0].Interface())
}

// goName is the name of an operation's method.
func goName(op string) string {
	var name strings.Builder
	for _, word := range strings.Split(op, "_") {
		if word != "WAL" {
			word = word[:1] + strings.ToLower(word[1:])
		}
		name.WriteString(word)
	}
	return name.String()
}

// shortened are the methods that take or give something shorter than request and result.
var shortened = map[string]func(context.Context, *rstmdb.Database, any) (any, error){
	"GET_MACHINE": direct("GET_MACHINE", func(db *rstmdb.Database, ctx context.Context, r rstmdb.GetMachineRequest) (*rstmdb.GetMachineResult, error) {
		return db.GetMachine(ctx, r.Machine, r.Version)
	}),
	"LIST_MACHINES": direct("LIST_MACHINES", func(db *rstmdb.Database, ctx context.Context, _ rstmdb.ListMachinesRequest) (*rstmdb.ListMachinesResult, error) {
		items, err := db.ListMachines(ctx)
		return &rstmdb.ListMachinesResult{Items: items}, err
	}),
	"GET_INSTANCE": direct("GET_INSTANCE", func(db *rstmdb.Database, ctx context.Context, r rstmdb.GetInstanceRequest) (*rstmdb.GetInstanceResult, error) {
		return db.GetInstance(ctx, r.InstanceID)
	}),
	"LIST_INSTANCES": direct("LIST_INSTANCES", func(db *rstmdb.Database, ctx context.Context, r rstmdb.ListInstancesRequest) (*rstmdb.ListInstancesResult, error) {
		return db.ListInstances(ctx, r)
	}),
	"COUNT_INSTANCES": direct("COUNT_INSTANCES", func(db *rstmdb.Database, ctx context.Context, r rstmdb.CountInstancesRequest) (*rstmdb.CountInstancesResult, error) {
		counts, err := db.CountInstances(ctx, r)
		return &rstmdb.CountInstancesResult{Counts: counts}, err
	}),
	"DELETE_INSTANCE": direct("DELETE_INSTANCE", func(db *rstmdb.Database, ctx context.Context, r rstmdb.DeleteInstanceRequest) (*rstmdb.DeleteInstanceResult, error) {
		return db.DeleteInstance(ctx, r.InstanceID, r)
	}),
	"BATCH": direct("BATCH", func(db *rstmdb.Database, ctx context.Context, r rstmdb.BatchRequest) (*rstmdb.BatchResult, error) {
		results, err := db.Batch(ctx, r.Mode, r.Ops, r)
		return &rstmdb.BatchResult{Results: results}, err
	}),
	"HISTORY": direct("HISTORY", func(db *rstmdb.Database, ctx context.Context, r rstmdb.HistoryRequest) (*rstmdb.HistoryResult, error) {
		return db.History(ctx, r.InstanceID, r)
	}),
	"WAL_READ": direct("WAL_READ", func(db *rstmdb.Database, ctx context.Context, r rstmdb.WALReadRequest) (*rstmdb.WALReadResult, error) {
		return db.WALRead(ctx, r.FromOffset, r)
	}),
	"COMPACT": direct("COMPACT", func(db *rstmdb.Database, ctx context.Context, r rstmdb.CompactRequest) (*rstmdb.CompactResult, error) {
		return db.Compact(ctx, r.ForceSnapshot)
	}),
	"SNAPSHOT_INSTANCE": direct("SNAPSHOT_INSTANCE", func(db *rstmdb.Database, ctx context.Context, r rstmdb.SnapshotInstanceRequest) (*rstmdb.SnapshotInstanceResult, error) {
		return db.SnapshotInstance(ctx, r.InstanceID)
	}),
	"LIST_SNAPSHOTS": direct("LIST_SNAPSHOTS", func(db *rstmdb.Database, ctx context.Context, r rstmdb.ListSnapshotsRequest) (*rstmdb.ListSnapshotsResult, error) {
		snapshots, err := db.ListSnapshots(ctx, r.InstanceID)
		return &rstmdb.ListSnapshotsResult{Snapshots: snapshots}, err
	}),
	"DROP_SNAPSHOT": direct("DROP_SNAPSHOT", func(db *rstmdb.Database, ctx context.Context, r rstmdb.DropSnapshotRequest) (*rstmdb.DropSnapshotResult, error) {
		return &rstmdb.DropSnapshotResult{SnapshotID: r.SnapshotID, Dropped: true}, db.DropSnapshot(ctx, r.SnapshotID)
	}),
	"PING": direct("PING", func(db *rstmdb.Database, ctx context.Context, _ rstmdb.PingRequest) (*rstmdb.PingResult, error) {
		return &rstmdb.PingResult{Pong: true}, db.Ping(ctx)
	}),
}

// direct is a method of the module between JSON values.
func direct[Q, R any](op string, method func(*rstmdb.Database, context.Context, Q) (*R, error)) func(context.Context, *rstmdb.Database, any) (any, error) {
	return func(ctx context.Context, db *rstmdb.Database, args any) (any, error) {
		typed, err := request[Q](op, args)
		if err != nil {
			return nil, err
		}
		result, err := method(db, ctx, typed)
		if err != nil {
			return nil, err
		}
		return valueOf(result)
	}
}

// watch begins a watch and gives it with what it says first.
func watch(ctx context.Context, db *rstmdb.Database, op string, args any) (*rstmdb.Subscription, any, error) {
	if op == "WATCH_ALL" {
		typed, err := request[rstmdb.WatchAllRequest](op, withContexts(args))
		if err != nil {
			return nil, nil, err
		}
		sub, err := db.WatchAll(ctx, typed)
		if err != nil {
			return nil, nil, err
		}
		value, err := valueOf(sub.AllStart)
		return sub, value, err
	}
	typed, err := request[rstmdb.WatchInstanceRequest](op, withContexts(args))
	if err != nil {
		return nil, nil, err
	}
	sub, err := db.WatchInstance(ctx, typed)
	if err != nil {
		return nil, nil, err
	}
	value, err := valueOf(sub.InstanceStart)
	return sub, value, err
}

// withContexts spells out that contexts come when nothing is said: a bool of Go has no third value.
func withContexts(args any) any {
	members, ok := args.(object)
	if !ok {
		return args
	}
	all := object{"include_ctx": true}
	for name, value := range members {
		all[name] = value
	}
	return all
}

func valueOf(result any) (any, error) {
	text, err := json.Marshal(result)
	if err != nil {
		return nil, err
	}
	return parse(text)
}

// errorOf is an error of the database as a JSON value.
func errorOf(err error) (object, bool) {
	var found *rstmdb.Error
	if !errors.As(err, &found) {
		return nil, false
	}
	value, _ := valueOf(found)
	members, ok := value.(object)
	return members, ok
}
