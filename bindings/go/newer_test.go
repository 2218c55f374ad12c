package rstmdb_test

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"testing"

	rstmdb "github.com/rstmdb/rstmdb/bindings/go"
)

// A server of the future: what is not known here is passed on or skipped, what it lacks is named.
// tests/newer/answers.json is what it says.

func refused(t *testing.T, err error) *rstmdb.Error {
	t.Helper()
	var failure *rstmdb.Error
	if !errors.As(err, &failure) {
		t.Fatalf("expected an error of rstmdb, got %v", err)
	}
	return failure
}

func TestMembersAndFeaturesThatAreNotKnownAreSkippedOrPassedOn(t *testing.T) {
	db, ctx := open(t, newerServer(t)), t.Context()
	info, err := db.Info(ctx)
	if err != nil || !slices.Contains(info.Features, "moonbeams") || info.Health != "splendid" {
		t.Errorf("%+v, %v", info, err)
	}
	instance, err := db.GetInstance(ctx, "a")
	if err != nil || instance.State != "s" || instance.LastWALOffset != 5 {
		t.Errorf("%+v, %v", instance, err)
	}
	applied, err := db.ApplyEvent(ctx, rstmdb.ApplyEventRequest{InstanceID: "a", Event: "GO"})
	if err != nil || applied.ToState != "t" || applied.WALOffset != 6 {
		t.Errorf("%+v, %v", applied, err)
	}
	permitted, err := db.Permitted(ctx, rstmdb.PermittedRequest{InstanceID: "a"})
	if err != nil || len(permitted.Events) != 2 || permitted.Events[1].Code != rstmdb.CodeInternalError {
		t.Errorf("%+v, %v", permitted, err)
	}
}

func TestErrorsThatAreNotKnownSayWhatTheyCan(t *testing.T) {
	db, ctx := open(t, newerServer(t)), t.Context()
	_, err := db.ApplyEvent(ctx, rstmdb.ApplyEventRequest{InstanceID: "a", Event: "SOON"})
	soon := refused(t, err)
	if !errors.Is(err, rstmdb.ErrConflict) || soon.Code != rstmdb.CodeConflict || soon.Reason != "too_soon" ||
		!soon.Retryable || soon.Context["due"].(map[string]any)["at"] != int64(7) {
		t.Errorf("%+v", soon)
	}
	_, err = db.ApplyEvent(ctx, rstmdb.ApplyEventRequest{InstanceID: "a", Event: "BREW"})
	brew := refused(t, err)
	if !errors.Is(err, rstmdb.ErrInternal) || brew.Code != rstmdb.CodeInternalError || !brew.Retryable ||
		brew.Reason != "constructor" || brew.Context["code"] != "TEAPOT" ||
		brew.Message != "TEAPOT: it is short and stout" {
		t.Errorf("%+v", brew)
	}
}

func TestEventsOfKindsThatAreNotKnownArePassedOn(t *testing.T) {
	db, ctx := open(t, newerServer(t)), t.Context()
	history, err := db.History(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	if event := history.Events[0]; event.Kind != "rescheduled" || event.Payload["n"] != uint64(math.MaxUint64) {
		t.Errorf("%+v", event)
	}
	watch, err := db.WatchAll(ctx, rstmdb.WatchLifecycle())
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []rstmdb.InstanceEventKind{rstmdb.EventApplied, "rescheduled", rstmdb.EventDeleted} {
		if event := <-watch.Events; event.Kind != kind {
			t.Errorf("expected %s, got %+v", kind, event)
		}
	}
	if err := watch.Close(); err != nil {
		t.Error(err)
	}
}

func TestEntriesOfTypesThatAreNotKnownArePassedOn(t *testing.T) {
	db, ctx := open(t, newerServer(t)), t.Context()
	page, err := db.WALRead(ctx, 5)
	if err != nil || len(page.Records) != 2 || page.NextOffset != 7 {
		t.Fatalf("%+v, %v", page, err)
	}
	if entry := page.Records[0].Entry; entry.Type != rstmdb.EntryApplyEvent || entry.Event != "GO" || entry.Raw() != nil {
		t.Errorf("%+v", entry)
	}
	// Its version is no number, as that of an entry of today would be.
	entry := page.Records[1].Entry
	var raw struct {
		Version string
		Timer   struct{ Due uint64 }
	}
	if err := json.Unmarshal(entry.Raw(), &raw); err != nil || entry.Type != "set_timer" || entry.Version != 0 ||
		raw.Version != "two" || raw.Timer.Due != math.MaxUint64 {
		t.Errorf("%+v, %s, %v", entry, entry.Raw(), err)
	}
	text, err := entry.MarshalJSON()
	if err != nil || string(text) != string(entry.Raw()) {
		t.Errorf("%s, %v", text, err)
	}
}

func TestWhatTheServerLacksIsUnsupported(t *testing.T) {
	db, ctx := open(t, newerServer(t)), t.Context()
	// Nothing is sent, or it would succeed.
	_, err := db.Batch(ctx, rstmdb.BatchAtomic, []rstmdb.BatchOperation{})
	batch := refused(t, err)
	if batch.Code != rstmdb.CodeBadRequest || batch.Reason != rstmdb.ReasonUnsupported || batch.Retryable ||
		batch.Operation != "BATCH" || batch.Context["feature"] != "batch" {
		t.Errorf("%+v", batch)
	}
	_, err = db.ValidateMachine(ctx, rstmdb.ValidateMachineRequest{Definition: loop()})
	validate := refused(t, err)
	if validate.Reason != rstmdb.ReasonUnsupported || validate.Operation != "VALIDATE_MACHINE" ||
		validate.Retryable || validate.Context["feature"] != "VALIDATE_MACHINE" {
		t.Errorf("%+v", validate)
	}
	if err := db.Ping(ctx); err != nil {
		t.Error(err)
	}
}
