// Command watch follows events, stops, and resumes where it stopped.
package main

import (
	"context"
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
		Machine: "lamp", Version: 1,
		Definition: rstmdb.MachineDefinition{
			States: []string{"off", "on"}, Initial: "off",
			Transitions: []rstmdb.Transition{
				{From: rstmdb.From("off"), Event: "PRESS", To: "on"},
				{From: rstmdb.From("on"), Event: "PRESS", To: "off"},
			},
		},
	})
	if err != nil {
		return err
	}
	lamp, err := db.CreateInstance(ctx, rstmdb.CreateInstanceRequest{Machine: "lamp", Version: 1})
	if err != nil {
		return err
	}

	sub, err := db.WatchInstance(ctx, rstmdb.WatchInstanceRequest{InstanceID: lamp.InstanceID})
	if err != nil {
		return err
	}
	for range 3 {
		if _, err := db.ApplyEvent(ctx, rstmdb.ApplyEventRequest{InstanceID: lamp.InstanceID, Event: "PRESS"}); err != nil {
			return err
		}
	}
	for event, err := range sub.All() {
		if err != nil {
			return err
		}
		fmt.Println(event.InstanceID, "is", event.ToState)
		break
	}

	// A worker that remembers this place misses nothing, whatever happens in between. With the offset alone it
	// would not notice that a copy of the data was put back, where offsets mean other changes.
	resume, history := sub.ResumeOffset(), sub.HistoryID()
	if err := sub.Close(); err != nil {
		return err
	}
	sub, err = db.WatchInstance(ctx, rstmdb.WatchInstanceRequest{
		InstanceID: lamp.InstanceID, FromOffset: resume, HistoryID: history,
	})
	if err != nil {
		return err
	}
	defer sub.Close()
	for _, expected := range []string{"off", "on"} {
		event, more := <-sub.Events
		if !more {
			return fmt.Errorf("the watch has ended: %w", sub.Err())
		}
		fmt.Println(event.InstanceID, "is", event.ToState)
		if event.ToState != expected {
			return fmt.Errorf("the lamp is %s, expected %s", event.ToState, expected)
		}
	}
	return nil
}
