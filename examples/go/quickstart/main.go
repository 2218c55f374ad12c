// Command quickstart defines a machine, creates an instance, applies events, and is refused.
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
	ctx := context.Background()
	url := "mem:" // or a directory, "./data", or a server, "rstmdb://localhost:7401"
	if len(os.Args) > 1 {
		url = os.Args[1]
	}
	db, err := rstmdb.Open(ctx, url)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	_, err = db.PutMachine(ctx, rstmdb.PutMachineRequest{
		Machine: "order", Version: 1,
		Definition: rstmdb.MachineDefinition{
			States:  []string{"created", "paid", "shipped", "delivered", "cancelled"},
			Initial: "created",
			Transitions: []rstmdb.Transition{
				{From: rstmdb.From("created"), Event: "PAY", To: "paid", Guard: "ctx.total > 0"},
				{From: rstmdb.From("paid"), Event: "SHIP", To: "shipped"},
				{From: rstmdb.From("shipped"), Event: "DELIVER", To: "delivered"},
				{From: rstmdb.From("created"), Event: "CANCEL", To: "cancelled"},
			},
		},
	})
	if err != nil {
		log.Fatal(err)
	}

	// Without an InstanceID the instance gets a random one.
	created, err := db.CreateInstance(ctx, rstmdb.CreateInstanceRequest{
		Machine: "order", Version: 1, InitialCtx: map[string]any{"total": 40},
	})
	if err != nil {
		log.Fatal(err)
	}

	paid, err := db.ApplyEvent(ctx, rstmdb.ApplyEventRequest{
		InstanceID: created.InstanceID, Event: "PAY", Payload: map[string]any{"method": "card"},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(paid.FromState, "->", paid.ToState, paid.Ctx)

	// The machine says no, and the error says what to do about it.
	_, err = db.ApplyEvent(ctx, rstmdb.ApplyEventRequest{InstanceID: created.InstanceID, Event: "PAY"})
	if !errors.Is(err, rstmdb.ErrRejected) {
		log.Fatal("an order was paid twice")
	}
	fmt.Println("refused:", err)
}
