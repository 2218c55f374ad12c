// Command retry shows idempotency keys: a request that is repeated after a lost answer happens once.
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
		Machine: "counter", Version: 1,
		Definition: rstmdb.MachineDefinition{
			States: []string{"counting"}, Initial: "counting",
			Transitions: []rstmdb.Transition{{From: rstmdb.From("counting"), Event: "COUNT", To: "counting"}},
		},
	})
	if err != nil {
		return err
	}
	visits, err := db.CreateInstance(ctx, rstmdb.CreateInstanceRequest{Machine: "counter", Version: 1})
	if err != nil {
		return err
	}

	count := rstmdb.ApplyEventRequest{
		InstanceID: visits.InstanceID, Event: "COUNT", Payload: map[string]any{"visitors": 1}, IdempotencyKey: "visit-2026-11-23",
	}
	first, err := db.ApplyEvent(ctx, count)
	if err != nil {
		return err
	}
	again, err := db.ApplyEvent(ctx, count)
	if err != nil {
		return err
	}
	fmt.Printf("first at offset %d, again: applied = %t\n", first.WALOffset, again.Applied)
	if again.Applied || again.WALOffset != first.WALOffset {
		return errors.New("the repetition happened")
	}

	// The key stands for that request, not for any other.
	count.Payload = map[string]any{"visitors": 2}
	_, err = db.ApplyEvent(ctx, count)
	var refused *rstmdb.Error
	if !errors.As(err, &refused) || refused.Reason != rstmdb.ReasonIdempotencyKeyReused {
		return fmt.Errorf("the key was taken for another request: %w", err)
	}
	fmt.Println("refused:", refused.Message)
	return nil
}
