package rstmdb_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	rstmdb "github.com/rstmdb/rstmdb/bindings/go"
)

// A program written for the Go client that exists, with the names its documentation has.
func TestProgramsForTheDocumentedClientRun(t *testing.T) {
	addr := strings.TrimPrefix(server(t), "rstmdb://")
	ctx := t.Context()
	var client *rstmdb.Client
	client, err := rstmdb.Connect(ctx, addr, &rstmdb.Options{
		Auth: "", TLS: nil, Timeout: 10 * time.Second, RequestTimeout: 30 * time.Second, ClientName: "documented", Features: nil,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(client.Ping(ctx))
	info, err := client.Info(ctx)
	check(err)
	if info.ServerName != "rstmdb" || len(info.Features) == 0 {
		t.Errorf("%+v", info)
	}
	_, err = client.PutMachine(ctx, rstmdb.PutMachineRequest{Machine: "order", Version: 1, Definition: rstmdb.MachineDefinition{
		States: []string{"created", "paid"}, Initial: "created",
		Transitions: []rstmdb.Transition{{From: rstmdb.StringOrSlice{"created"}, Event: "PAY", To: "paid", Guard: "ctx.total > 0"}},
	}})
	check(err)
	machine, err := client.GetMachine(ctx, "order", 1)
	check(err)
	machines, err := client.ListMachines(ctx)
	check(err)
	if machine.Definition.Initial != "created" || machines[0].Machine != "order" || machines[0].Versions[0] != 1 {
		t.Errorf("%+v, %+v", machine, machines)
	}
	created, err := client.CreateInstance(ctx, rstmdb.CreateInstanceRequest{
		Machine: "order", Version: 1, InstanceID: "order-1", InitialCtx: map[string]any{"total": 10},
	})
	check(err)
	all, err := client.WatchAll(ctx, rstmdb.WatchMachines("order"), rstmdb.WatchToStates("paid"))
	check(err)
	defer all.Close()
	one, err := client.WatchInstance(ctx, rstmdb.WatchInstanceRequest{InstanceID: "order-1", IncludeCtx: true})
	check(err)
	defer one.Close()
	applied, err := client.ApplyEvent(ctx, rstmdb.ApplyEventRequest{
		InstanceID: created.InstanceID, Event: "PAY", Payload: map[string]any{"by": "card"}, ExpectedState: created.State,
	})
	check(err)
	if applied.FromState != "created" || applied.ToState != "paid" {
		t.Errorf("%+v", applied)
	}
	for _, sub := range []*rstmdb.Subscription{all, one} {
		select {
		case event := <-sub.Events:
			if event.InstanceID != "order-1" || event.EventName != "PAY" || event.ToState != "paid" {
				t.Errorf("%+v", event)
			}
		case err := <-sub.Errors:
			t.Fatal(err)
		}
	}
	instance, err := client.GetInstance(ctx, "order-1")
	check(err)
	if instance.State != "paid" || instance.Ctx["by"] != "card" {
		t.Errorf("%+v", instance)
	}
	list, err := client.ListInstances(ctx, rstmdb.WithMachine("order"), rstmdb.WithState("paid"), rstmdb.WithLimit(10))
	check(err)
	if list.Instances[0].ID != "order-1" || list.Instances[0].State != "paid" {
		t.Errorf("%+v", list)
	}
	results, err := client.Batch(ctx, rstmdb.BatchAtomic, []rstmdb.BatchOperation{
		rstmdb.BatchCreateInstance(rstmdb.CreateInstanceRequest{Machine: "order", Version: 1, InstanceID: "order-2", InitialCtx: map[string]any{"total": 1}}),
		rstmdb.BatchApplyEvent(rstmdb.ApplyEventRequest{InstanceID: "order-2", Event: "PAY"}),
	})
	check(err)
	for _, result := range results {
		if result.Status != "ok" {
			t.Errorf("%+v", result)
		}
	}
	records, err := client.WALRead(ctx, 1, rstmdb.WALLimit(10))
	check(err)
	stats, err := client.WALStats(ctx)
	check(err)
	if records.Records[0].Offset != 1 || records.Records[0].Entry.Machine != "order" || stats.EntryCount == 0 || stats.TotalSize == 0 {
		t.Errorf("%+v, %+v", records, stats)
	}
	snapshot, err := client.SnapshotInstance(ctx, "order-1")
	check(err)
	compacted, err := client.Compact(ctx, true)
	check(err)
	if snapshot.SnapshotID == "" || snapshot.WALOffset != applied.WALOffset || compacted.SnapshotsCreated == 0 {
		t.Errorf("%+v, %+v", snapshot, compacted)
	}
	_, err = client.DeleteInstance(ctx, "order-2")
	check(err)
	_, err = client.ApplyEvent(ctx, rstmdb.ApplyEventRequest{InstanceID: "order-1", Event: "PAY"})
	var failure *rstmdb.Error
	if !errors.As(err, &failure) || failure.Code != "INVALID_TRANSITION" || failure.Message == "" ||
		!rstmdb.IsInvalidTransition(err) || rstmdb.IsConflict(err) || rstmdb.IsRetryable(err) {
		t.Errorf("%v", err)
	}
	if _, err := client.GetInstance(ctx, "nobody"); !rstmdb.IsInstanceNotFound(err) {
		t.Errorf("%v", err)
	}
}
