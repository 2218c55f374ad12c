package rstmdb_test

import (
	"context"
	"errors"
	"testing"

	rstmdb "github.com/rstmdb/rstmdb/bindings/go"
)

func apply(t testing.TB, db *rstmdb.Database, id, event string, n int) uint64 {
	t.Helper()
	request := rstmdb.ApplyEventRequest{InstanceID: id, Event: event, Payload: map[string]any{"n": n, "amount": 1}}
	result, err := db.ApplyEvent(background(), request)
	if err != nil {
		t.Fatal(err)
	}
	return result.WALOffset
}

func TestAWatchGivesEventsInOrder(t *testing.T) {
	for _, url := range []string{"mem:", t.TempDir()} {
		db := opened(t, url)
		sub, err := db.WatchAll(t.Context(), rstmdb.WatchMachines("loop"), rstmdb.WatchEvents("E"))
		if err != nil {
			t.Fatal(err)
		}
		if sub.AllStart.WALOffset != 5 || sub.AllStart.SubscriptionID == "" {
			t.Errorf("%+v", sub.AllStart)
		}
		const count = 1000
		go func() {
			apply(t, db, "order-1", "PAY", 0)
			for n := range count {
				apply(t, db, "loop-1", "E", n)
			}
		}()
		n := 0
		for event, err := range sub.All() {
			if err != nil || event.InstanceID != "loop-1" || event.EventName != "E" || event.Ctx["n"] != int64(n) {
				t.Fatalf("%d: %+v, %v", n, event, err)
			}
			if next := sub.ResumeOffset(); next != event.WALOffset+1 {
				t.Fatalf("after %d resume at %d", event.WALOffset, next)
			}
			if n++; n == count {
				break
			}
		}
		if err := sub.Close(); err != nil {
			t.Error(err)
		}
		if _, more := <-sub.Events; more || sub.Err() != nil {
			t.Errorf("an event after the end, or %v", sub.Err())
		}
		if err, more := <-sub.Errors; more {
			t.Errorf("%v", err)
		}
	}
}

func TestAWatchResumesWhereItWas(t *testing.T) {
	db := opened(t, "mem:")
	first := apply(t, db, "loop-1", "E", 0)
	apply(t, db, "loop-1", "E", 1)
	sub, err := db.WatchInstance(t.Context(), rstmdb.WatchInstanceRequest{InstanceID: "loop-1", FromOffset: first, IncludeCtx: true})
	if err != nil {
		t.Fatal(err)
	}
	if sub.InstanceStart.CurrentState != "a" || sub.InstanceStart.InstanceID != "loop-1" {
		t.Errorf("%+v", sub.InstanceStart)
	}
	for event := range sub.All() {
		if event.WALOffset != first {
			t.Errorf("%+v", event)
		}
		break
	}
	resume := sub.ResumeOffset()
	_ = sub.Close()
	again, err := db.WatchAll(t.Context(), rstmdb.WatchFromOffset(resume), rstmdb.WatchIncludeCtx(false))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	event := <-again.Events
	if event.WALOffset != first+1 || event.Ctx != nil || event.Payload["n"] != int64(1) {
		t.Errorf("%+v", event)
	}
}

func TestAWatchEndsWithItsContext(t *testing.T) {
	db := opened(t, "mem:")
	ctx, cancel := context.WithCancel(t.Context())
	waiting, err := db.WatchAll(ctx)
	if err != nil {
		t.Fatal(err)
	}
	// This one has an event that nobody takes.
	full, err := db.WatchAll(ctx)
	if err != nil {
		t.Fatal(err)
	}
	apply(t, db, "order-1", "PAY", 0)
	<-waiting.Events
	cancel()
	for _, sub := range []*rstmdb.Subscription{waiting, full} {
		within(t, "the watch", func() {
			if err := <-sub.Errors; !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
			for range sub.Events {
			}
			if !errors.Is(sub.Err(), context.Canceled) {
				t.Errorf("%v", sub.Err())
			}
		})
	}
}

func TestAWatchEndsWithItsDatabase(t *testing.T) {
	db := opened(t, "mem:")
	sub, err := db.WatchAll(background())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() {
		for _, err := range sub.All() {
			ended <- err
		}
		close(ended)
	}()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	within(t, "the watch", func() {
		for err := range ended {
			t.Errorf("%v", err)
		}
	})
	_ = sub.Close()
}

func TestAWatchOfNobodyIsRefused(t *testing.T) {
	db := opened(t, "mem:")
	_, err := db.WatchInstance(t.Context(), rstmdb.WatchInstanceRequest{InstanceID: "nobody"})
	if !rstmdb.IsInstanceNotFound(err) {
		t.Errorf("%v", err)
	}
}

func TestASlowReaderLosesNothing(t *testing.T) {
	db := opened(t, t.TempDir(), rstmdb.WithFsync(rstmdb.FsyncNever))
	sub, err := db.WatchAll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	const count = 5000
	for n := range count {
		apply(t, db, "loop-1", "E", n)
	}
	for n := range count {
		if event := <-sub.Events; event.Payload["n"] != int64(n) {
			t.Fatalf("%d: %+v", n, event)
		}
	}
}
