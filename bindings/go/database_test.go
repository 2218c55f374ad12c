package rstmdb_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	rstmdb "github.com/rstmdb/rstmdb/bindings/go"
)

func TestNumbersComeBackExactly(t *testing.T) {
	db := opened(t, "mem:")
	given := map[string]any{
		"int": int64(-9007199254740993), "uint": uint64(math.MaxUint64), "float": 2.0, "small": 1e-7,
		"text": "é\x00\"\\\n😀", "list": []any{int64(1), nil, true}, "map": map[string]any{"": "empty"},
		"number": json.Number("18446744073709551615"),
	}
	result, err := db.ApplyEvent(t.Context(), rstmdb.ApplyEventRequest{InstanceID: "loop-1", Event: "E", Payload: given})
	if err != nil {
		t.Fatal(err)
	}
	given["number"] = uint64(math.MaxUint64)
	if !reflect.DeepEqual(result.Ctx, given) {
		t.Errorf("came back as %#v", result.Ctx)
	}
	if !strings.Contains(string(result.RawCtx()), `"float":2.0`) {
		t.Errorf("a float became an integer: %s", result.RawCtx())
	}
}

func TestContextsAreReadIntoStructs(t *testing.T) {
	type item struct {
		SKU   string `json:"sku"`
		Count uint64 `json:"count"`
	}
	type ctx struct {
		Total int64  `json:"total"`
		Items []item `json:"items"`
	}
	db := opened(t, "mem:")
	given := ctx{Total: 40, Items: []item{{"x", math.MaxUint64}}}
	request := rstmdb.CreateInstanceRequest{InstanceID: "o", Machine: "order", Version: 1, InitialCtx: given}
	if _, err := db.CreateInstance(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	instance, err := db.GetInstance(t.Context(), "o")
	if err != nil {
		t.Fatal(err)
	}
	back, err := rstmdb.Decode[ctx](instance.RawCtx())
	if err != nil || !reflect.DeepEqual(back, given) {
		t.Errorf("%+v, %v", back, err)
	}
}

func TestAContextThatIsNoObjectHasItsText(t *testing.T) {
	db := opened(t, "mem:")
	request := rstmdb.CreateInstanceRequest{InstanceID: "list", Machine: "loop", Version: 1, InitialCtx: []int{1, 2}}
	if _, err := db.CreateInstance(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	instance, err := db.GetInstance(t.Context(), "list")
	if err != nil {
		t.Fatal(err)
	}
	if instance.Ctx != nil || string(instance.RawCtx()) != "[1,2]" {
		t.Errorf("%v, %s", instance.Ctx, instance.RawCtx())
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	db := opened(t, "mem:")
	ctx := t.Context()
	_, err := db.ApplyEvent(ctx, rstmdb.ApplyEventRequest{InstanceID: "order-1", Event: "PAY", Payload: map[string]any{"amount": 0}})
	if !errors.Is(err, rstmdb.ErrRejected) || errors.Is(err, rstmdb.ErrNotFound) || !rstmdb.IsGuardFailed(err) {
		t.Errorf("%#v", err)
	}
	var found *rstmdb.Error
	if !errors.As(err, &found) {
		t.Fatalf("%T", err)
	}
	if found.Code != rstmdb.CodeGuardFailed || found.Kind != rstmdb.KindRejected || found.Retryable ||
		found.Operation != "APPLY_EVENT" || found.Context["guard"] != "payload.amount > 0" {
		t.Errorf("%+v", found)
	}
	_, err = db.GetInstance(ctx, "nobody")
	if !rstmdb.IsInstanceNotFound(err) || !errors.Is(err, rstmdb.ErrNotFound) || rstmdb.IsRetryable(err) {
		t.Errorf("%#v", err)
	}
	_, err = db.ApplyEvent(ctx, rstmdb.ApplyEventRequest{InstanceID: "order-1", Event: "SHIP"})
	if !rstmdb.IsInvalidTransition(err) {
		t.Errorf("%#v", err)
	}
	_, err = db.ApplyEvent(ctx, rstmdb.ApplyEventRequest{InstanceID: "order-1", Event: "CANCEL", ExpectedState: "paid"})
	if !rstmdb.IsConflict(err) || !errors.As(err, &found) || found.Reason != rstmdb.ReasonExpectedState {
		t.Errorf("%#v", err)
	}
	_, err = db.GetMachine(ctx, "order", 9)
	if !rstmdb.IsMachineNotFound(err) {
		t.Errorf("%#v", err)
	}
}

func TestZeroValuesAreSentWhenForced(t *testing.T) {
	db := opened(t, "mem:")
	ctx := t.Context()
	request := rstmdb.CreateInstanceRequest{Machine: "loop", Version: 1, ForceSendFields: []string{"InstanceID"}}
	created, err := db.CreateInstance(ctx, request)
	if err != nil || created.InstanceID != "" {
		t.Fatalf("%+v, %v", created, err)
	}
	if _, err := db.GetInstance(ctx, ""); err != nil {
		t.Error(err)
	}
	made, err := db.CreateInstance(ctx, rstmdb.CreateInstanceRequest{Machine: "loop", Version: 1})
	if err != nil || len(made.InstanceID) != 36 {
		t.Errorf("%+v, %v", made, err)
	}
	event, err := db.ApplyEvent(ctx, rstmdb.ApplyEventRequest{InstanceID: "loop-1", Event: "E", ForceSendFields: []string{"EventID"}})
	if err != nil || event.EventID != "" || !event.Has("EventID") {
		t.Errorf("%+v, %v", event, err)
	}
	event, err = db.ApplyEvent(ctx, rstmdb.ApplyEventRequest{InstanceID: "loop-1", Event: "E"})
	if err != nil || event.Has("EventID") {
		t.Errorf("%+v, %v", event, err)
	}
}

func TestListsAreReadPageByPage(t *testing.T) {
	db := opened(t, "mem:")
	ctx := t.Context()
	for i := range 25 {
		request := rstmdb.CreateInstanceRequest{InstanceID: string(rune('a' + i)), Machine: "loop", Version: 1}
		if _, err := db.CreateInstance(ctx, request); err != nil {
			t.Fatal(err)
		}
	}
	page, err := db.ListInstances(ctx, rstmdb.WithMachine("loop"), rstmdb.WithLimit(10), rstmdb.WithOffset(20))
	if err != nil || len(page.Instances) != 6 || page.Total != 26 || page.HasMore {
		t.Errorf("%+v, %v", page, err)
	}
	seen := 0
	for instance, err := range db.AllInstances(ctx, rstmdb.WithMachine("loop"), rstmdb.WithLimit(4)) {
		if err != nil || instance.Machine != "loop" || time.Since(instance.CreatedAt) > time.Hour {
			t.Fatalf("%+v, %v", instance, err)
		}
		seen++
	}
	if seen != 26 {
		t.Errorf("saw %d", seen)
	}
	// What the first page skips, the others don't; a loop that starts again starts at the beginning.
	skipping := db.AllInstances(ctx, rstmdb.ListInstancesRequest{Machine: "loop", Limit: 4, Offset: 6})
	for range 2 {
		seen = 0
		for range skipping {
			seen++
		}
		if seen != 20 {
			t.Errorf("saw %d", seen)
		}
	}
	counts, err := db.CountInstances(ctx, rstmdb.WithState("a"))
	if err != nil || len(counts) != 1 || counts[0].Count != 26 {
		t.Errorf("%+v, %v", counts, err)
	}
	machines, err := db.ListMachines(ctx)
	if err != nil || len(machines) != 2 || machines[1].Machine != "order" || machines[1].Versions[0] != 1 {
		t.Errorf("%+v, %v", machines, err)
	}
	for _, err := range db.AllInstances(ctx, rstmdb.WithCursor("none of ours")) {
		if !errors.Is(err, rstmdb.ErrInvalid) {
			t.Errorf("%v", err)
		}
	}
}

func TestBatchesGiveOneOutcomeEach(t *testing.T) {
	db := opened(t, "mem:")
	ctx := t.Context()
	operations := []rstmdb.BatchOperation{
		rstmdb.BatchCreateInstance(rstmdb.CreateInstanceRequest{InstanceID: "x", Machine: "loop", Version: 1}),
		rstmdb.BatchApplyEvent(rstmdb.ApplyEventRequest{InstanceID: "x", Event: "E", Payload: map[string]any{"n": 1}}),
		rstmdb.BatchGetInstance(rstmdb.GetInstanceRequest{InstanceID: "x"}),
		rstmdb.BatchDeleteInstance(rstmdb.DeleteInstanceRequest{InstanceID: "nobody"}),
	}
	outcomes, err := db.Batch(ctx, rstmdb.BatchBestEffort, operations)
	if err != nil || len(outcomes) != 4 {
		t.Fatalf("%+v, %v", outcomes, err)
	}
	if outcomes[0].Result.CreateInstance.State != "a" || outcomes[1].Result.ApplyEvent.Ctx["n"] != int64(1) ||
		outcomes[2].Result.GetInstance.Ctx["n"] != int64(1) {
		t.Errorf("%+v", outcomes)
	}
	if outcomes[3].Status != rstmdb.StatusError || !rstmdb.IsInstanceNotFound(outcomes[3].Error) {
		t.Errorf("%+v", outcomes[3])
	}
	_, err = db.Batch(ctx, rstmdb.BatchAtomic, operations, rstmdb.WithIdempotencyKey("k"))
	var found *rstmdb.Error
	if !errors.As(err, &found) || found.Context["index"] != int64(0) {
		t.Errorf("%+v", err)
	}
	if _, err := db.Batch(ctx, rstmdb.BatchAtomic, []rstmdb.BatchOperation{{}}); !errors.Is(err, rstmdb.ErrInvalid) {
		t.Errorf("%+v", err)
	}
}

func TestDefinitionsComeBackAsStructs(t *testing.T) {
	db := open(t, "mem:")
	ctx := t.Context()
	definition := order()
	definition.Meta = map[string]any{"owner": "shop", "id": int64(9007199254740993)}
	put, err := db.PutMachine(ctx, rstmdb.PutMachineRequest{Machine: "order", Version: 1, Definition: &definition})
	if err != nil || !put.Created || len(put.Warnings) != 0 {
		t.Fatalf("%+v, %v", put, err)
	}
	machine, err := db.GetMachine(ctx, "order", 1)
	if err != nil || !reflect.DeepEqual(machine.Definition, definition) {
		t.Errorf("%+v, %v", machine, err)
	}
	text := json.RawMessage(`{"states": ["a"], "initial": "a", "transitions": [], "finl": []}`)
	put, err = db.PutMachine(ctx, rstmdb.PutMachineRequest{Machine: "typo", Version: 1, Definition: text})
	if err != nil || len(put.Warnings) == 0 || put.Warnings[0].Suggestion != "final" {
		t.Errorf("%+v, %v", put, err)
	}
}

func TestADirectoryKeepsItsData(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	ctx := t.Context()
	if _, err := rstmdb.Open(ctx, path, rstmdb.WithCreate(false)); err == nil {
		t.Fatal("opened what is not there")
	}
	db := opened(t, path)
	if _, err := rstmdb.Open(ctx, path); !errors.Is(err, rstmdb.ErrUnavailable) || !rstmdb.IsRetryable(err) {
		t.Errorf("opened twice: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = open(t, path)
	events, err := db.History(ctx, "order-1", rstmdb.OldestFirst(), rstmdb.WithLimit(1))
	if err != nil || events.Events[0].Kind != rstmdb.EventCreated || events.Events[0].Has("FromState") {
		t.Errorf("%+v, %v", events, err)
	}
	records, err := db.WALRead(ctx, 1, rstmdb.WALLimit(1))
	if err != nil || records.Records[0].Entry.Type != rstmdb.EntryPutMachine || records.NextOffset != 2 {
		t.Errorf("%+v, %v", records, err)
	}
	snapshot, err := db.SnapshotInstance(ctx, "order-1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(path, "snapshots", snapshot.SnapshotID+".json")); err != nil {
		t.Error(err)
	}
	if compacted, err := db.Compact(ctx, true); err != nil || compacted.TotalSnapshots != 2 {
		t.Errorf("%+v, %v", compacted, err)
	}
	stats, err := db.WALStats(ctx)
	// Four changes and the offset that the compaction took.
	if err != nil || stats.EntryCount != 5 || stats.TotalSize == 0 {
		t.Errorf("%+v, %v", stats, err)
	}
}

func TestOptionsHaveAnEffect(t *testing.T) {
	ctx := t.Context()
	db := opened(t, "mem:", rstmdb.WithLimits(rstmdb.Limits{NameBytesMax: 20}), rstmdb.WithFlushAll(true),
		rstmdb.WithInstanceRecreate(false), rstmdb.WithManualClock(time.UnixMilli(1000)), rstmdb.WithIdempotencyWindow(time.Minute),
		rstmdb.WithRetention(rstmdb.RetainAge(time.Hour)), rstmdb.WithFsync(rstmdb.FsyncEvery(time.Second)))
	long := rstmdb.CreateInstanceRequest{InstanceID: strings.Repeat("x", 21), Machine: "loop", Version: 1}
	if _, err := db.CreateInstance(ctx, long); !errors.Is(err, rstmdb.ErrInvalid) {
		t.Errorf("%v", err)
	}
	if err := db.AdvanceClock(time.Second); err != nil {
		t.Fatal(err)
	}
	create := rstmdb.CreateInstanceRequest{InstanceID: "x", Machine: "loop", Version: 1, IdempotencyKey: "k"}
	for range 2 {
		if _, err := db.CreateInstance(ctx, create); err != nil {
			t.Fatal(err)
		}
	}
	instance, err := db.GetInstance(ctx, "x")
	if err != nil || !instance.CreatedAt.Equal(time.UnixMilli(2000)) {
		t.Errorf("%+v, %v", instance, err)
	}
	if _, err := db.DeleteInstance(ctx, "x", rstmdb.WithIdempotencyKey("d")); err != nil {
		t.Fatal(err)
	}
	create.IdempotencyKey = ""
	if _, err := db.CreateInstance(ctx, create); !errors.Is(err, rstmdb.ErrAlreadyExists) {
		t.Errorf("%v", err)
	}
	flushed, err := db.FlushAll(ctx)
	if err != nil || flushed.MachinesRemoved != 2 {
		t.Errorf("%+v, %v", flushed, err)
	}
	for _, option := range []rstmdb.Option{
		rstmdb.WithToken("t"), rstmdb.WithSetting("fsink", "never"), rstmdb.WithFsync("sometimes"),
		rstmdb.WithPoolSize(3), &rstmdb.Options{WireMode: "morse"}, rstmdb.WithTLS(rstmdb.InsecureTLS()),
	} {
		_, err := rstmdb.Open(ctx, "mem:", option)
		var found *rstmdb.Error
		if !errors.As(err, &found) || found.Reason != rstmdb.ReasonInvalidOption {
			t.Errorf("%v", err)
		}
	}
}

func TestAContextThatIsOverStopsTheWaiting(t *testing.T) {
	db := opened(t, "mem:")
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the user left")
	cancel(why)
	for name, call := range map[string]func() error{
		"ping":  func() error { return db.Ping(ctx) },
		"call":  func() error { _, err := db.Call(ctx, rstmdb.OpPing, nil); return err },
		"watch": func() error { _, err := db.WatchAll(ctx); return err },
		"open":  func() error { _, err := rstmdb.Open(ctx, "mem:"); return err },
	} {
		if err := call(); !errors.Is(err, context.Canceled) || !errors.Is(err, why) || !errors.Is(err, rstmdb.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	late, stop := context.WithTimeout(t.Context(), -time.Second)
	defer stop()
	if err := db.Ping(late); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestJSONGoesInAndOut(t *testing.T) {
	var request rstmdb.ApplyEventRequest
	text := `{"instance_id":"i","event":"E","payload":{"n":9007199254740993},"event_id":"","unknown":[{}]}`
	if err := json.Unmarshal([]byte(text), &request); err != nil {
		t.Fatal(err)
	}
	if request.Payload.(map[string]any)["n"] != int64(9007199254740993) || request.ForceSendFields[0] != "EventID" {
		t.Errorf("%+v", request)
	}
	back, err := json.Marshal(request)
	if err != nil || string(back) != `{"instance_id":"i","event":"E","payload":{"n":9007199254740993},"event_id":""}` {
		t.Errorf("%s, %v", back, err)
	}
	for _, wrong := range []string{`{"instance_id":1}`, `{"expected_wal_offset":-1}`, `{"expected_wal_offset":1.5}`, `[]`, `{"event":{}}`} {
		if err := json.Unmarshal([]byte(wrong), &request); err == nil {
			t.Errorf("%s was taken", wrong)
		}
	}
	made, err := json.Marshal(rstmdb.GetInstanceResult{InstanceID: "i", Ctx: map[string]any{"a": 1}, CreatedAt: time.UnixMilli(5)})
	if err != nil || !strings.Contains(string(made), `"ctx":{"a":1},`) || !strings.Contains(string(made), `"created_at":5`) {
		t.Errorf("%s, %v", made, err)
	}
}

func TestAMachineThatDoesSomethingComesBackAsItWasPut(t *testing.T) {
	db := open(t, "mem:")
	ctx := t.Context()
	definition := rstmdb.MachineDefinition{
		States:  []string{"open", "busy"},
		Initial: "open",
		Bodies: map[string]rstmdb.StateBody{"busy": {
			Entry: []any{map[string]any{"emit": "begun"}},
			Exit:  []any{map[string]any{"unset": []any{"n"}}},
		}},
		Transitions: []rstmdb.Transition{
			{
				From: rstmdb.From("open"), Event: "GO", To: "busy", Merge: false,
				Actions: []any{map[string]any{"assign": map[string]any{"n": map[string]any{"$": "coalesce(ctx.n, 0) + 1"}}}},
			},
			{From: rstmdb.From("open"), Event: "NOTE", Actions: []any{map[string]any{"emit": "noted"}}},
			{From: rstmdb.From("busy"), Always: true, To: "open", Guard: "ctx.n > 1"},
		},
	}
	if _, err := db.PutMachine(ctx, rstmdb.PutMachineRequest{Machine: "m", Version: 1, Definition: definition}); err != nil {
		t.Fatal(err)
	}
	stored, err := db.GetMachine(ctx, "m", 1)
	if err != nil {
		t.Fatal(err)
	}
	again, err := db.PutMachine(ctx, rstmdb.PutMachineRequest{Machine: "m", Version: 1, Definition: stored.Definition})
	if err != nil || again.Created {
		t.Errorf("%+v, %v", again, err)
	}
	if len(stored.Definition.Bodies["busy"].Entry) != 1 || !stored.Definition.Transitions[2].Always || stored.Definition.Transitions[1].To != "" {
		t.Errorf("%+v", stored.Definition)
	}
	wrong := definition
	wrong.Bodies = map[string]rstmdb.StateBody{"bussy": {Entry: []any{map[string]any{"emit": "begun"}}}}
	_, err = db.PutMachine(ctx, rstmdb.PutMachineRequest{Machine: "m", Version: 2, Definition: wrong})
	if err == nil || !strings.Contains(err.Error(), `Bodies has the state "bussy", which is not in States`) {
		t.Errorf("%v", err)
	}
	if _, err := db.CreateInstance(ctx, rstmdb.CreateInstanceRequest{Machine: "m", Version: 1, InstanceID: "i"}); err != nil {
		t.Fatal(err)
	}
	applied, err := db.ApplyEvent(ctx, rstmdb.ApplyEventRequest{InstanceID: "i", Event: "GO", Payload: map[string]any{"x": 1}})
	if err != nil || applied.ToState != "busy" || string(applied.RawCtx()) != `{"n":1}` {
		t.Errorf("%+v, %v", applied, err)
	}
}
