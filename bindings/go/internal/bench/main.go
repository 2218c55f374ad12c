// Command bench measures what every language measures and prints a JSON object a line; the driver is
// in benches/src/languages.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	rstmdb "github.com/rstmdb/rstmdb/bindings/go"
)

const (
	instances = 1000
	inFlight  = 64
	batchSize = 1000
	// 100 bytes, with the n that events replace.
	contextText = `{"customer":"c-0000001","n":0,"note":"------------------------------------------------","total":100}`
)

func main() {
	log.SetFlags(0)
	seconds, err := strconv.ParseFloat(os.Getenv("RSTMDB_BENCH_SECONDS"), 64)
	if err != nil {
		seconds = 1
	}
	limit := time.Duration(seconds * float64(time.Second))
	folder := os.Getenv("RSTMDB_BENCH_DIR")
	if folder == "" {
		if folder, err = os.MkdirTemp("", "rstmdb-bench-"); err != nil {
			log.Fatal(err)
		}
		defer func() { _ = os.RemoveAll(folder) }()
	}

	memory := openPingPong("mem:")
	memory.apply(limit/4, 1)
	print("mem_apply", memory.apply(limit, 1), "ops/s")
	print("mem_apply_64", memory.apply(limit, inFlight), "ops/s")
	must(memory.db.Close())
	batches := openPingPong("mem:")
	print("batch_1000", batches.batches(limit), "ops/s")
	must(batches.db.Close())
	durable := openPingPong(filepath.Join(folder, "durable-go"))
	durable.apply(limit/4, inFlight)
	print("durable_apply_64", durable.apply(limit, inFlight), "ops/s")
	must(durable.db.Close())
	never := openGuarded(filepath.Join(folder, "never-go"), rstmdb.WithFsync(rstmdb.FsyncNever))
	never.apply(limit/4, 1)
	print("guarded_never", never.apply(limit, 1), "ops/s")
	must(never.db.Close())
	applySQLite("sqlite_normal", filepath.Join(folder, "normal.sqlite"), "NORMAL", limit)
	synced := openGuarded(filepath.Join(folder, "guarded-go"))
	synced.apply(limit/4, 1)
	print("guarded_durable", synced.apply(limit, 1), "ops/s")
	print("guarded_durable_64", synced.apply(limit, inFlight), "ops/s")
	must(synced.db.Close())
	applySQLite("sqlite_full", filepath.Join(folder, "full.sqlite"), "FULL", limit)
	print("open_ms", openMillis(filepath.Join(folder, "empty-go")), "ms")
}

func print(name string, value float64, unit string) {
	_ = json.NewEncoder(os.Stdout).Encode(map[string]any{"name": name, "value": value, "unit": unit})
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// A pingPong is a database of instances that go to and fro. Each is used by one goroutine at a time.
type pingPong struct {
	db *rstmdb.Database
	// How many events each instance got.
	sent [instances]int
}

func openPingPong(url string) *pingPong { return openWith(url, "") }

// openGuarded opens what SQLite is compared with.
func openGuarded(url string, options ...rstmdb.Option) *pingPong {
	return openWith(url, "ctx.total >= 0", options...)
}

func openWith(url, guard string, options ...rstmdb.Option) *pingPong {
	ctx := context.Background()
	db, err := rstmdb.Open(ctx, url, options...)
	must(err)
	_, err = db.PutMachine(ctx, rstmdb.PutMachineRequest{
		Machine: "pingpong", Version: 1,
		Definition: rstmdb.MachineDefinition{
			States: []string{"A", "B"}, Initial: "A",
			Transitions: []rstmdb.Transition{
				{From: rstmdb.From("A"), Event: "FLIP", To: "B", Guard: guard},
				{From: rstmdb.From("B"), Event: "FLOP", To: "A", Guard: guard},
			},
		},
	})
	must(err)
	operations := make([]rstmdb.BatchOperation, instances)
	for i := range operations {
		operations[i] = rstmdb.BatchCreateInstance(rstmdb.CreateInstanceRequest{
			InstanceID: id(i), Machine: "pingpong", Version: 1, InitialCtx: json.RawMessage(contextText),
		})
	}
	_, err = db.Batch(ctx, rstmdb.BatchAtomic, operations)
	must(err)
	return &pingPong{db: db}
}

func id(i int) string { return fmt.Sprintf("instance-%d", i) }

func (p *pingPong) next(i int) rstmdb.ApplyEventRequest {
	event := "FLIP"
	if p.sent[i]%2 == 1 {
		event = "FLOP"
	}
	p.sent[i]++
	return rstmdb.ApplyEventRequest{
		InstanceID: id(i), Event: event, Payload: map[string]any{"n": p.sent[i]},
	}
}

// apply gives the events a second of so many goroutines, each with instances of its own.
func (p *pingPong) apply(limit time.Duration, goroutines int) float64 {
	ctx := context.Background()
	var done atomic.Int64
	var all sync.WaitGroup
	start := time.Now()
	for first := range goroutines {
		all.Add(1)
		go func() {
			defer all.Done()
			for i := first; time.Since(start) < limit; {
				for range 8 {
					_, err := p.db.ApplyEvent(ctx, p.next(i))
					must(err)
					if i += goroutines; i >= instances {
						i = first
					}
				}
				done.Add(8)
			}
		}()
	}
	all.Wait()
	return float64(done.Load()) / time.Since(start).Seconds()
}

// batches gives the events a second in batches.
func (p *pingPong) batches(limit time.Duration) float64 {
	ctx := context.Background()
	start, done := time.Now(), 0
	for time.Since(start) < limit {
		operations := make([]rstmdb.BatchOperation, batchSize)
		for i := range operations {
			operations[i] = rstmdb.BatchApplyEvent(p.next(i % instances))
		}
		_, err := p.db.Batch(ctx, rstmdb.BatchAtomic, operations)
		must(err)
		done += batchSize
	}
	return float64(done) / time.Since(start).Seconds()
}

func openMillis(path string) float64 {
	ctx := context.Background()
	start := time.Now()
	db, err := rstmdb.Open(ctx, path)
	must(err)
	must(db.Ping(ctx))
	took := time.Since(start)
	must(db.Close())
	return took.Seconds() * 1000
}
