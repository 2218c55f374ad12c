// Command transfer shows an atomic batch: both instances move, or neither does.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	rstmdb "github.com/rstmdb/rstmdb/bindings/go"
)

func main() {
	url := "mem:"
	if len(os.Args) > 1 {
		url = os.Args[1]
	}
	if err := run(context.Background(), url); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, url string) error {
	db, err := rstmdb.Open(ctx, url)
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.PutMachine(ctx, rstmdb.PutMachineRequest{
		Machine: "seat", Version: 1,
		Definition: rstmdb.MachineDefinition{
			States: []string{"free", "taken"}, Initial: "free",
			Transitions: []rstmdb.Transition{
				{From: rstmdb.From("free"), Event: "TAKE", To: "taken"},
				{From: rstmdb.From("taken"), Event: "LEAVE", To: "free"},
			},
		},
	})
	if err != nil {
		return err
	}
	// Without an InstanceID they get random ones.
	seat := rstmdb.CreateInstanceRequest{Machine: "seat", Version: 1}
	window, err := db.CreateInstance(ctx, seat)
	if err != nil {
		return err
	}
	aisle, err := db.CreateInstance(ctx, seat)
	if err != nil {
		return err
	}

	event := func(of *rstmdb.CreateInstanceResult, event string) rstmdb.BatchOperation {
		return rstmdb.BatchApplyEvent(rstmdb.ApplyEventRequest{InstanceID: of.InstanceID, Event: event})
	}
	both := []rstmdb.BatchOperation{event(window, "TAKE"), event(aisle, "TAKE")}
	if _, err := db.Batch(ctx, rstmdb.BatchAtomic, both); err != nil {
		return err
	}

	// The aisle is taken: the batch fails as a whole and the window stays as it was.
	_, err = db.Batch(ctx, rstmdb.BatchAtomic, []rstmdb.BatchOperation{event(window, "LEAVE"), event(aisle, "TAKE")})
	if err == nil {
		return errors.New("a taken seat was taken again")
	}
	fmt.Println("refused:", err)
	after, err := db.GetInstance(ctx, window.InstanceID)
	if err != nil {
		return err
	}
	if after.State != "taken" {
		return errors.New("half of a batch happened")
	}
	fmt.Println("the window is", after.State)
	return nil
}
