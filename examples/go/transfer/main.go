// Command transfer shows an atomic batch: both instances move, or neither does.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"

	rstmdb "github.com/rstmdb/rstmdb/bindings/go"
)

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	db, err := rstmdb.Open(ctx, "mem:")
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
	for _, id := range []string{"12A", "12B"} {
		request := rstmdb.CreateInstanceRequest{InstanceID: id, Machine: "seat", Version: 1}
		if _, err := db.CreateInstance(ctx, request); err != nil {
			return err
		}
	}

	event := func(id, event string) rstmdb.BatchOperation {
		return rstmdb.BatchApplyEvent(rstmdb.ApplyEventRequest{InstanceID: id, Event: event})
	}
	both := []rstmdb.BatchOperation{event("12A", "TAKE"), event("12B", "TAKE")}
	if _, err := db.Batch(ctx, rstmdb.BatchAtomic, both); err != nil {
		return err
	}

	// 12B is taken: the batch fails as a whole and 12A stays as it was.
	_, err = db.Batch(ctx, rstmdb.BatchAtomic, []rstmdb.BatchOperation{event("12A", "LEAVE"), event("12B", "TAKE")})
	if err == nil {
		return errors.New("a taken seat was taken again")
	}
	fmt.Println("refused:", err)
	seat, err := db.GetInstance(ctx, "12A")
	if err != nil {
		return err
	}
	if seat.State != "taken" {
		return errors.New("half of a batch happened")
	}
	fmt.Println("12A is", seat.State)
	return nil
}
