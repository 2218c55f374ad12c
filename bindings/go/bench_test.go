package rstmdb_test

import (
	"context"
	"fmt"
	"testing"

	rstmdb "github.com/rstmdb/rstmdb/bindings/go"
)

func TestSmoke(t *testing.T) {
	ctx := context.Background()
	for _, url := range []string{"mem:", t.TempDir()} {
		db, err := rstmdb.Open(ctx, url)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.PutMachine(ctx, rstmdb.PutMachineRequest{Machine: "m", Version: 1, Definition: rstmdb.MachineDefinition{
			States: []string{"a", "b"}, Initial: "a",
			Transitions: []rstmdb.Transition{{From: rstmdb.StringOrSlice{"a"}, Event: "E", To: "b"}, {From: rstmdb.From("b"), Event: "E", To: "a"}},
		}}); err != nil {
			t.Fatal(err)
		}
		if _, err := db.CreateInstance(ctx, rstmdb.CreateInstanceRequest{Machine: "m", Version: 1, InstanceID: "i", InitialCtx: map[string]any{"n": 1, "f": 2.0}}); err != nil {
			t.Fatal(err)
		}
		sub, err := db.WatchAll(ctx)
		if err != nil {
			t.Fatal(err)
		}
		r, err := db.ApplyEvent(ctx, rstmdb.ApplyEventRequest{InstanceID: "i", Event: "E", Payload: map[string]any{"u": uint64(1<<64 - 1)}})
		fmt.Printf("%+v %v\n", r, err)
		e := <-sub.Events
		fmt.Printf("%+v\n", e)
		_, err = db.GetInstance(ctx, "nope")
		fmt.Printf("%v %v\n", err, rstmdb.IsInstanceNotFound(err))
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		_, more := <-sub.Events
		fmt.Println(more, sub.Err())
		_, err = db.GetInstance(ctx, "nope")
		fmt.Println(err)
	}
}

func BenchmarkMemApply(b *testing.B) {
	ctx := context.Background()
	db, _ := rstmdb.Open(ctx, "mem:")
	defer db.Close()
	db.PutMachine(ctx, rstmdb.PutMachineRequest{Machine: "m", Version: 1, Definition: rstmdb.MachineDefinition{
		States: []string{"A", "B"}, Initial: "A",
		Transitions: []rstmdb.Transition{{From: rstmdb.StringOrSlice{"A"}, Event: "FLIP", To: "B"}, {From: rstmdb.From("B"), Event: "FLOP", To: "A"}},
	}})
	ids := make([]string, 1000)
	for i := range ids {
		ids[i] = fmt.Sprintf("i-%d", i)
		if _, err := db.CreateInstance(ctx, rstmdb.CreateInstanceRequest{Machine: "m", Version: 1, InstanceID: ids[i], InitialCtx: map[string]any{"pad": "0123456789012345678901234567890123456789012345678901234567890123456789", "n": 0}}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		event := "FLIP"
		if i/1000%2 == 1 {
			event = "FLOP"
		}
		if _, err := db.ApplyEvent(ctx, rstmdb.ApplyEventRequest{InstanceID: ids[i%1000], Event: event, Payload: map[string]any{"n": i}}); err != nil {
			b.Fatal(err)
		}
	}
}
