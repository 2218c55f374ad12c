package rstmdb_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"

	rstmdb "github.com/rstmdb/rstmdb/bindings/go"
)

// doors is a database with a machine of doors and the door "front".
func doors(ctx context.Context) *rstmdb.Database {
	db, err := rstmdb.Open(ctx, "mem:")
	if err != nil {
		log.Fatal(err)
	}
	_, err = db.PutMachine(ctx, rstmdb.PutMachineRequest{
		Machine: "door", Version: 1,
		Definition: rstmdb.MachineDefinition{
			States: []string{"open", "shut", "locked"}, Initial: "open",
			Transitions: []rstmdb.Transition{
				{From: rstmdb.From("open"), Event: "SHUT", To: "shut"},
				{From: rstmdb.From("shut"), Event: "OPEN", To: "open"},
				{From: rstmdb.From("shut"), Event: "LOCK", To: "locked", Guard: "ctx.has_key"},
			},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	_, err = db.CreateInstance(ctx, rstmdb.CreateInstanceRequest{InstanceID: "front", Machine: "door", Version: 1})
	if err != nil {
		log.Fatal(err)
	}
	return db
}

func ExampleOpen() {
	ctx := context.Background()
	db, err := rstmdb.Open(ctx, "mem:") // or "./data", or "rstmdb://localhost:7401"
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	info, err := db.Info(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(info.ServerName, info.Backend)
	// Output: rstmdb memory
}

func ExampleDatabase_PutMachine() {
	ctx := context.Background()
	db := doors(ctx)
	defer db.Close()
	// A definition may also be JSON from anywhere.
	definition := json.RawMessage(`{"states": ["off", "on"], "initial": "off", "transitions": [
		{"from": "off", "event": "PRESS", "to": "on"}, {"from": "on", "event": "PRESS", "to": "off"}]}`)
	put, err := db.PutMachine(ctx, rstmdb.PutMachineRequest{Machine: "lamp", Version: 1, Definition: definition})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(put.Created, len(put.Warnings))
	// Output: true 0
}

func ExampleDatabase_ApplyEvent() {
	ctx := context.Background()
	db := doors(ctx)
	defer db.Close()
	result, err := db.ApplyEvent(ctx, rstmdb.ApplyEventRequest{
		InstanceID: "front", Event: "SHUT", Payload: map[string]any{"by": "wind"}, IdempotencyKey: "shut-17",
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.FromState, "->", result.ToState, result.Ctx["by"])

	_, err = db.ApplyEvent(ctx, rstmdb.ApplyEventRequest{InstanceID: "front", Event: "LOCK"})
	fmt.Println(rstmdb.IsGuardFailed(err), errors.Is(err, rstmdb.ErrRejected), rstmdb.IsRetryable(err))
	// Output:
	// open -> shut wind
	// true true false
}

func ExampleError() {
	ctx := context.Background()
	db := doors(ctx)
	defer db.Close()
	_, err := db.ApplyEvent(ctx, rstmdb.ApplyEventRequest{InstanceID: "front", Event: "SHUT", ExpectedState: "locked"})
	var failure *rstmdb.Error
	if errors.As(err, &failure) {
		fmt.Println(failure.Code, failure.Kind, failure.Reason, failure.Context["state"])
	}
	if errors.Is(err, rstmdb.ErrConflict) {
		fmt.Println("read again, decide again, retry")
	}
	// Output:
	// CONFLICT conflict expected_state open
	// read again, decide again, retry
}

func ExampleDatabase_WatchAll() {
	ctx := context.Background()
	db := doors(ctx)
	defer db.Close()
	sub, err := db.WatchAll(ctx, rstmdb.WatchMachines("door"), rstmdb.WatchFromOffset(1))
	if err != nil {
		log.Fatal(err)
	}
	defer sub.Close()
	for _, event := range []string{"SHUT", "OPEN"} {
		if _, err := db.ApplyEvent(ctx, rstmdb.ApplyEventRequest{InstanceID: "front", Event: event}); err != nil {
			log.Fatal(err)
		}
	}
	for event, err := range sub.All() {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(event.InstanceID, event.EventName, event.ToState)
		if event.ToState == "open" {
			break
		}
	}
	// Output:
	// front SHUT shut
	// front OPEN open
}

func ExampleDatabase_WatchInstance() {
	ctx := context.Background()
	db := doors(ctx)
	defer db.Close()
	sub, err := db.WatchInstance(ctx, rstmdb.WatchInstanceRequest{InstanceID: "front", IncludeCtx: true})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := db.ApplyEvent(ctx, rstmdb.ApplyEventRequest{InstanceID: "front", Event: "SHUT"}); err != nil {
		log.Fatal(err)
	}
	select {
	case event := <-sub.Events:
		fmt.Println(event.FromState, "->", event.ToState)
	case err := <-sub.Errors:
		log.Fatal(err)
	}
	if err := sub.Close(); err != nil {
		log.Fatal(err)
	}
	// Output: open -> shut
}

func ExampleDatabase_Batch() {
	ctx := context.Background()
	db := doors(ctx)
	defer db.Close()
	outcomes, err := db.Batch(ctx, rstmdb.BatchBestEffort, []rstmdb.BatchOperation{
		rstmdb.BatchCreateInstance(rstmdb.CreateInstanceRequest{InstanceID: "back", Machine: "door", Version: 1}),
		rstmdb.BatchApplyEvent(rstmdb.ApplyEventRequest{InstanceID: "back", Event: "SHUT"}),
		rstmdb.BatchApplyEvent(rstmdb.ApplyEventRequest{InstanceID: "cellar", Event: "SHUT"}),
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, outcome := range outcomes {
		if outcome.Status == rstmdb.StatusOK {
			fmt.Println("done")
		} else {
			fmt.Println(outcome.Error.Code)
		}
	}
	// Output:
	// done
	// done
	// INSTANCE_NOT_FOUND
}

func ExampleDatabase_AllInstances() {
	ctx := context.Background()
	db := doors(ctx)
	defer db.Close()
	for instance, err := range db.AllInstances(ctx, rstmdb.WithMachine("door"), rstmdb.WithState("open")) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(instance.ID, instance.State)
	}
	// Output: front open
}

func ExampleDecode() {
	type Visit struct {
		Guest string `json:"guest"`
		Coins uint64 `json:"coins"`
	}
	ctx := context.Background()
	db := doors(ctx)
	defer db.Close()
	_, err := db.CreateInstance(ctx, rstmdb.CreateInstanceRequest{
		InstanceID: "gate", Machine: "door", Version: 1, InitialCtx: Visit{"Ada", 18446744073709551615},
	})
	if err != nil {
		log.Fatal(err)
	}
	gate, err := db.GetInstance(ctx, "gate")
	if err != nil {
		log.Fatal(err)
	}
	visit, err := rstmdb.Decode[Visit](gate.RawCtx())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(visit.Guest, visit.Coins, gate.Ctx["guest"])
	// Output: Ada 18446744073709551615 Ada
}

func ExampleDatabase_History() {
	ctx := context.Background()
	db := doors(ctx)
	defer db.Close()
	if _, err := db.ApplyEvent(ctx, rstmdb.ApplyEventRequest{InstanceID: "front", Event: "SHUT"}); err != nil {
		log.Fatal(err)
	}
	history, err := db.History(ctx, "front", rstmdb.OldestFirst(), rstmdb.WithLimit(10))
	if err != nil {
		log.Fatal(err)
	}
	for _, event := range history.Events {
		fmt.Println(event.Kind, event.EventName, event.ToState)
	}
	// Output:
	// created  open
	// applied SHUT shut
}
