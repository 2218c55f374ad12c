package rstmdb_test

import (
	"encoding/json"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	rstmdb "github.com/rstmdb/rstmdb/bindings/go"
)

const benchContext = `{"customer":"c-0000001","n":0,"note":"------------------------------------------------","total":100}`

// pingPong is a database of instances that go to and fro, and the next event for each.
func pingPong(b *testing.B, url string, instances int) (*rstmdb.Database, func(i int) rstmdb.ApplyEventRequest) {
	db := open(b, url)
	definition := rstmdb.MachineDefinition{
		States: []string{"A", "B"}, Initial: "A",
		Transitions: []rstmdb.Transition{
			{From: rstmdb.From("A"), Event: "FLIP", To: "B"},
			{From: rstmdb.From("B"), Event: "FLOP", To: "A"},
		},
	}
	if _, err := db.PutMachine(b.Context(), rstmdb.PutMachineRequest{Machine: "pingpong", Version: 1, Definition: definition}); err != nil {
		b.Fatal(err)
	}
	ids := make([]string, instances)
	operations := make([]rstmdb.BatchOperation, instances)
	for i := range ids {
		ids[i] = fmt.Sprintf("instance-%d", i)
		operations[i] = rstmdb.BatchCreateInstance(rstmdb.CreateInstanceRequest{
			InstanceID: ids[i], Machine: "pingpong", Version: 1, InitialCtx: json.RawMessage(benchContext),
		})
	}
	if _, err := db.Batch(b.Context(), rstmdb.BatchAtomic, operations); err != nil {
		b.Fatal(err)
	}
	sent := make([]int, instances)
	return db, func(i int) rstmdb.ApplyEventRequest {
		event := "FLIP"
		if sent[i]%2 == 1 {
			event = "FLOP"
		}
		sent[i]++
		return rstmdb.ApplyEventRequest{InstanceID: ids[i], Event: event, Payload: map[string]any{"n": sent[i]}}
	}
}

func BenchmarkApplyEventInMemory(b *testing.B) {
	db, next := pingPong(b, "mem:", 1000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i = (i + 1) % 1000 {
		if _, err := db.ApplyEvent(background(), next(i)); err != nil {
			b.Fatal(err)
		}
	}
}

// One operation is one event; 64 goroutines share each sync.
func BenchmarkApplyEventOnDisk(b *testing.B) {
	const goroutines = 64
	db, next := pingPong(b, b.TempDir(), goroutines*100)
	b.SetParallelism((goroutines + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
	var goroutine atomic.Int64
	b.RunParallel(func(p *testing.PB) {
		first := int(goroutine.Add(1)-1) % goroutines * 100
		for i := 0; p.Next(); i = (i + 1) % 100 {
			if _, err := db.ApplyEvent(background(), next(first+i)); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// One operation is one event of a batch of a thousand.
func BenchmarkBatchInMemory(b *testing.B) {
	db, next := pingPong(b, "mem:", 1000)
	operations := make([]rstmdb.BatchOperation, 1000)
	b.ReportAllocs()
	for b.Loop() {
		for i := range operations {
			operations[i] = rstmdb.BatchApplyEvent(next(i))
		}
		if _, err := db.Batch(background(), rstmdb.BatchAtomic, operations); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkGetInstanceInMemory(b *testing.B) {
	db, _ := pingPong(b, "mem:", 1000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := db.GetInstance(background(), "instance-7"); err != nil {
			b.Fatal(err)
		}
	}
}

// Events of the echo come as fast as they are taken: what a watch costs in this module.
func BenchmarkWatch(b *testing.B) {
	db := open(b, "echo:")
	sub, err := db.WatchAll(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer sub.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, more := <-sub.Events; !more {
			b.Fatal(sub.Err())
		}
	}
}

// The crossing alone: JSON that is not read, to the echo and back.
func BenchmarkCall(b *testing.B) {
	db := open(b, "echo:")
	request := []byte(`{"instance_id":"instance-7"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := db.Call(background(), rstmdb.OpApplyEvent, request); err != nil {
			b.Fatal(err)
		}
	}
}
