package rstmdb_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	rstmdb "github.com/rstmdb/rstmdb/bindings/go"
)

func TestTextThatIsNotUTF8IsRefused(t *testing.T) {
	db := opened(t, "mem:")
	ctx := t.Context()
	broken := "broken \xff"
	for name, call := range map[string]func() error{
		"id":      func() error { _, err := db.GetInstance(ctx, broken); return err },
		"payload": func() error { return applyTo(db, "loop-1", "E", map[string]any{"x": broken}) },
		"key":     func() error { return applyTo(db, "loop-1", "E", map[string]any{broken: 1}) },
		"raw": func() error {
			_, err := db.Call(ctx, rstmdb.OpGetInstance, []byte("{\"instance_id\":\"\xff\"}"))
			return err
		},
		"url": func() error { _, err := rstmdb.Open(ctx, "mem:\xff"); return err },
	} {
		if err := call(); !errors.Is(err, rstmdb.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// NUL is a letter as any other.
	if err := applyTo(db, "loop-1", "E", map[string]any{"x\x00": "\x00"}); err != nil {
		t.Error(err)
	}
	if instance, err := db.GetInstance(ctx, "loop-1"); err != nil || instance.Ctx["x\x00"] != "\x00" {
		t.Errorf("%+v, %v", instance, err)
	}
	if _, err := db.GetInstance(ctx, "loop-1\x00"); !rstmdb.IsInstanceNotFound(err) {
		t.Errorf("%v", err)
	}
}

func applyTo(db *rstmdb.Database, id, event string, payload any) error {
	_, err := db.ApplyEvent(background(), rstmdb.ApplyEventRequest{InstanceID: id, Event: event, Payload: payload})
	return err
}

func TestValuesThatAreNoJSONAreRefused(t *testing.T) {
	db := opened(t, "mem:")
	itself := map[string]any{}
	itself["itself"] = itself
	type knot struct{ Next *knot }
	tied := &knot{}
	tied.Next = tied
	for name, payload := range map[string]any{
		"function": func() {}, "channel": make(chan int), "NaN": math.NaN(), "infinity": map[string]any{"x": math.Inf(1)},
		"cycle": itself, "struct cycle": tied, "raw": json.RawMessage(`1}, "event": {`), "number": json.Number("0x1"),
		"map": map[any]any{1: 2},
	} {
		if err := applyTo(db, "loop-1", "E", payload); !errors.Is(err, rstmdb.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := applyTo(db, "loop-1", "E", nil); err != nil {
		t.Error(err)
	}
}

func TestHugeAndDeepValuesAreRefusedAndLargeOnesKept(t *testing.T) {
	db := opened(t, "mem:")
	var deep any
	for range 500 {
		deep = []any{deep}
	}
	for name, payload := range map[string]any{"huge": strings.Repeat("x", 5<<20), "deep": deep} {
		err := applyTo(db, "loop-1", "E", payload)
		if !errors.Is(err, rstmdb.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	large := strings.Repeat("é", 1<<20)
	if err := applyTo(db, "loop-1", "E", map[string]any{"large": large}); err != nil {
		t.Fatal(err)
	}
	if instance, err := db.GetInstance(t.Context(), "loop-1"); err != nil || instance.Ctx["large"] != large {
		t.Errorf("%v", err)
	}
}

func TestAClosedDatabaseSaysSo(t *testing.T) {
	for _, url := range []string{"mem:", t.TempDir()} {
		db := opened(t, url)
		for range 2 {
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		}
		ctx := t.Context()
		for name, call := range map[string]func() error{
			"ping":  func() error { return db.Ping(ctx) },
			"apply": func() error { return applyTo(db, "loop-1", "E", nil) },
			"watch": func() error { _, err := db.WatchAll(ctx); return err },
			"clock": func() error { return db.AdvanceClock(1) },
			"call":  func() error { _, err := db.Call(ctx, rstmdb.OpPing, nil); return err },
		} {
			if err := call(); !errors.Is(err, rstmdb.ErrClosed) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestClosingSettlesRequestsInFlight(t *testing.T) {
	db := opened(t, t.TempDir())
	var started, all sync.WaitGroup
	var done, refused atomic.Int64
	for range 64 {
		started.Add(1)
		all.Add(1)
		go func() {
			defer all.Done()
			for first := true; ; first = false {
				err := applyTo(db, "loop-1", "E", nil)
				if first {
					started.Done()
				}
				if errors.Is(err, rstmdb.ErrClosed) {
					refused.Add(1)
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				done.Add(1)
			}
		}()
	}
	started.Wait()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	within(t, "a request", all.Wait)
	if refused.Load() != 64 || done.Load() == 0 {
		t.Errorf("%d done, %d refused", done.Load(), refused.Load())
	}
}

func TestAConsumerThatPanicsHurtsNobodyElse(t *testing.T) {
	db := opened(t, "mem:")
	sub, err := db.WatchAll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	apply(t, db, "loop-1", "E", 0)
	apply(t, db, "loop-1", "E", 1)
	func() {
		defer func() {
			if recover() != "enough" {
				t.Error("the panic did not come through")
			}
		}()
		for range sub.All() {
			panic("enough")
		}
	}()
	if event := <-sub.Events; event.Payload["n"] != int64(1) {
		t.Errorf("%+v", event)
	}
	if err := sub.Close(); err != nil {
		t.Error(err)
	}
}

func TestAFaultInTheCoreIsAnError(t *testing.T) {
	db := open(t, "echo:")
	ctx := t.Context()
	for _, request := range []string{`{"$panic": 1}`, `{"payload": {"$panic": 1}, "$wait": 1}`} {
		_, err := db.Call(ctx, rstmdb.OpApplyEvent, []byte(request))
		if !errors.Is(err, rstmdb.ErrInternal) {
			t.Errorf("%v", err)
		}
	}
	for _, request := range []string{`{"a": "b"}`, `{"a": "b", "$wait": 1}`} {
		answer, err := db.Call(ctx, rstmdb.OpApplyEvent, []byte(request))
		if err != nil || string(answer) != request {
			t.Errorf("%s, %v", answer, err)
		}
	}
	sub, err := db.WatchAll(ctx)
	if err == nil {
		defer sub.Close()
		for offset := uint64(1); offset < 1000; offset++ {
			if event := <-sub.Events; event.WALOffset != offset {
				t.Fatalf("%+v", event)
			}
		}
	} else {
		t.Error(err)
	}
}

func TestAMistypedMemberIsRefusedByName(t *testing.T) {
	db := open(t, "mem:")
	for request, like := range map[string]string{
		`{"instance_id": "a", "event": "E", "payloads": {}}`:       "payload",
		`{"instance_id": "a", "event": "E", "idempotancy_key": 1}`: "idempotency_key",
	} {
		_, err := db.Call(t.Context(), rstmdb.OpApplyEvent, []byte(request))
		if !errors.Is(err, rstmdb.ErrInvalid) || !strings.Contains(err.Error(), like) {
			t.Errorf("%s: %v", request, err)
		}
	}
}

func TestUnknownOperationsAreRefused(t *testing.T) {
	db := open(t, "mem:")
	for _, op := range []rstmdb.Operation{0, -1, 1000, rstmdb.OpWatchAll} {
		if _, err := db.Call(t.Context(), op, []byte("{}")); !errors.Is(err, rstmdb.ErrInvalid) {
			t.Errorf("%v: %v", op, err)
		}
	}
}

func TestOpeningAndClosingDoesNotGrow(t *testing.T) {
	count := 10_000
	if testing.Short() {
		count = 500
	}
	cycle := func(n int) {
		for range n {
			db, err := rstmdb.Open(background(), "mem:")
			if err != nil {
				t.Fatal(err)
			}
			if err := db.Ping(background()); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		}
		runtime.GC()
	}
	cycle(count / 10)
	before, files := resident(t), openFiles(t)
	cycle(count)
	if after := resident(t); after > before+64<<20 {
		t.Errorf("from %d to %d MiB", before>>20, after>>20)
	}
	if now := openFiles(t); now > files+8 {
		t.Errorf("from %d to %d open files", files, now)
	}
}

func TestAForgottenDatabaseIsClosed(t *testing.T) {
	path := t.TempDir()
	func() {
		if _, err := rstmdb.Open(background(), path); err != nil {
			t.Fatal(err)
		}
	}()
	within(t, "the database", func() {
		for {
			runtime.GC()
			db, err := rstmdb.Open(background(), path)
			if err == nil {
				_ = db.Close()
				return
			}
			if !errors.Is(err, rstmdb.ErrUnavailable) {
				t.Errorf("%v", err)
				return
			}
		}
	})
}

func TestAWatchKeepsItsDatabaseOpen(t *testing.T) {
	path := t.TempDir()
	prepared := opened(t, path)
	if err := prepared.Close(); err != nil {
		t.Fatal(err)
	}
	watched := func() *rstmdb.Subscription {
		db, err := rstmdb.Open(background(), path)
		if err != nil {
			t.Fatal(err)
		}
		sub, err := db.WatchAll(background(), rstmdb.WatchFromOffset(1), rstmdb.WatchLifecycle())
		if err != nil {
			t.Fatal(err)
		}
		return sub
	}
	sub := watched()
	for range 5 {
		runtime.GC()
		if _, err := rstmdb.Open(background(), path); !errors.Is(err, rstmdb.ErrUnavailable) {
			t.Fatalf("the database was closed under its watch: %v", err)
		}
	}
	if event := <-sub.Events; event.Kind != rstmdb.EventCreated {
		t.Errorf("%+v", event)
	}
	if err := sub.Close(); err != nil {
		t.Fatal(err)
	}
	within(t, "the database", func() {
		for {
			runtime.GC()
			db, err := rstmdb.Open(background(), path)
			if err == nil {
				_ = db.Close()
				return
			}
		}
	})
}

func TestWaitingHoldsNoThread(t *testing.T) {
	url := server(t)
	db := open(t, url)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var all sync.WaitGroup
	before := threads(t)
	for range 1000 {
		sub, err := db.WatchAll(ctx)
		if err != nil {
			t.Fatal(err)
		}
		all.Add(1)
		go func() {
			defer all.Done()
			for range sub.Events {
			}
		}()
	}
	if now := threads(t); now > before+20 {
		t.Errorf("a thousand waiting goroutines made %d threads of %d", now, before)
	}
	cancel()
	within(t, "the watches", all.Wait)
}

func TestAWriteThatIsGivenUpMayStillHappen(t *testing.T) {
	db := opened(t, t.TempDir())
	given := 0
	for i := range 200 {
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		key := fmt.Sprintf("k-%d", i)
		request := rstmdb.ApplyEventRequest{InstanceID: "loop-1", Event: "E", IdempotencyKey: key}
		_, err := db.ApplyEvent(ctx, request)
		if err != nil {
			given++
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("%v", err)
			}
		}
		// Whatever became of it, with its key it happens once.
		if _, err := db.ApplyEvent(t.Context(), request); err != nil {
			t.Fatal(err)
		}
		cancel()
	}
	history, err := db.History(t.Context(), "loop-1", rstmdb.WithLimit(1000))
	if err != nil || len(history.Events) != 201 {
		t.Errorf("%d events, %d given up, %v", len(history.Events), given, err)
	}
}

// A program may end in the middle of everything: no crash, and what is on the disk is whole.
func TestAProgramEndsWithOpenWatchesAndRequests(t *testing.T) {
	if path := os.Getenv("RSTMDB_TEST_ENDS"); path != "" {
		endAbruptly(t, path)
	}
	path := filepath.Join(t.TempDir(), "data")
	command := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
	command.Env = append(os.Environ(), "RSTMDB_TEST_ENDS="+path)
	output, err := command.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Fatalf("%v: %s", err, output)
	}
	db := open(t, path)
	if _, err := db.GetInstance(t.Context(), "loop-1"); err != nil {
		t.Error(err)
	}
}

func endAbruptly(t *testing.T, path string) {
	db := opened(t, path)
	sub, err := db.WatchAll(background())
	if err != nil {
		t.Fatal(err)
	}
	for range 64 {
		go func() {
			for applyTo(db, "loop-1", "E", nil) == nil {
			}
		}()
	}
	for range 10 {
		<-sub.Events
	}
	os.Exit(7)
}

func TestManyGoroutinesShareADatabase(t *testing.T) {
	for _, url := range []string{"mem:", t.TempDir()} {
		db := opened(t, url)
		var all sync.WaitGroup
		for g := range 50 {
			all.Add(1)
			go func() {
				defer all.Done()
				id := fmt.Sprintf("i-%d", g)
				create := rstmdb.CreateInstanceRequest{InstanceID: id, Machine: "loop", Version: 1}
				if _, err := db.CreateInstance(background(), create); err != nil {
					t.Error(err)
				}
				for n := range 20 {
					result, err := db.ApplyEvent(background(), rstmdb.ApplyEventRequest{InstanceID: id, Event: "E", Payload: map[string]any{"n": n}})
					if err != nil || result.Ctx["n"] != int64(n) {
						t.Errorf("%+v, %v", result, err)
					}
				}
			}()
		}
		all.Wait()
	}
}

func TestTheLogGoesToALogger(t *testing.T) {
	var lines lines
	loud := slog.New(slog.NewJSONHandler(&lines, &slog.HandlerOptions{Level: slog.LevelInfo}))
	if err := rstmdb.SetLogger(loud); err != nil {
		t.Fatal(err)
	}
	defer rstmdb.SetLogger(nil)
	open(t, t.TempDir())
	if text := lines.all(); !strings.Contains(text, `"level":"INFO"`) || !strings.Contains(text, `"target":"rstmdb`) {
		t.Errorf("nothing about the opening: %s", text)
	}
	quiet := slog.New(slog.NewJSONHandler(&lines, &slog.HandlerOptions{Level: slog.LevelError}))
	for _, logger := range []*slog.Logger{quiet, nil} {
		if err := rstmdb.SetLogger(logger); err != nil {
			t.Fatal(err)
		}
		before := lines.all()
		open(t, t.TempDir())
		if after := lines.all(); after != before {
			t.Errorf("what nobody wants came: %s", after[len(before):])
		}
	}
}

// A handler that panics must not end the program.
func TestALoggerThatPanicsIsSurvived(t *testing.T) {
	if err := rstmdb.SetLogger(slog.New(panicking{})); err != nil {
		t.Fatal(err)
	}
	defer rstmdb.SetLogger(nil)
	db := open(t, t.TempDir())
	if err := db.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

type panicking struct{ slog.Handler }

func (panicking) Enabled(context.Context, slog.Level) bool { return true }

func (panicking) Handle(context.Context, slog.Record) error { panic("the handler panics") }

type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *lines) all() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func threads(t *testing.T) int { return entries(t, "/proc/self/task") }

func openFiles(t *testing.T) int { return entries(t, "/proc/self/fd") }

// entries counts what Linux says of this process; elsewhere there is nothing to count.
func entries(t *testing.T, folder string) int {
	if runtime.GOOS != "linux" {
		return 0
	}
	found, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	return len(found)
}

func resident(t *testing.T) uint64 {
	if runtime.GOOS != "linux" {
		return 0
	}
	text, err := os.ReadFile(filepath.Join("/proc", "self", "statm"))
	if err != nil {
		t.Fatal(err)
	}
	var size, pages uint64
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * uint64(os.Getpagesize())
}
