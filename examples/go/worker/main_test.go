package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	rstmdb "github.com/rstmdb/rstmdb/bindings/go"
)

func TestItGoesOnWhereItStopped(t *testing.T) {
	db, err := rstmdb.Open(t.Context(), "mem:")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_, err = db.PutMachine(t.Context(), rstmdb.PutMachineRequest{Machine: "order", Version: 1, Definition: rstmdb.MachineDefinition{
		States: []string{"created", "paid", "shipped"}, Initial: "created",
		Transitions: []rstmdb.Transition{
			{From: rstmdb.From("created"), Event: "PAY", To: "paid"},
			{From: rstmdb.From("paid"), Event: "SHIP", To: "shipped"},
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "offset")
	var all []string
	for start := range 3 {
		// Paid while nobody works.
		for i := range 2 {
			pay(t, db, fmt.Sprintf("o-%d-%d", start, i))
		}
		ctx, cancel := context.WithCancel(t.Context())
		count := 0
		err := work(ctx, db, file, func(id string) {
			all = append(all, id)
			if count++; count == 2 {
				cancel()
			}
		})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	if !slices.Equal(all, []string{"o-0-0", "o-0-1", "o-1-0", "o-1-1", "o-2-0", "o-2-1"}) {
		t.Errorf("shipped %v", all)
	}
	counts, err := db.CountInstances(t.Context(), rstmdb.WithState("shipped"))
	if err != nil || len(counts) != 1 || counts[0].Count != 6 {
		t.Errorf("%+v, %v", counts, err)
	}
}

func pay(t *testing.T, db *rstmdb.Database, id string) {
	t.Helper()
	if _, err := db.CreateInstance(t.Context(), rstmdb.CreateInstanceRequest{InstanceID: id, Machine: "order", Version: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := db.ApplyEvent(t.Context(), rstmdb.ApplyEventRequest{InstanceID: id, Event: "PAY"}); err != nil {
		t.Fatal(err)
	}
}
