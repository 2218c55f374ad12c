// Command worker ships every order that is paid. It remembers how far it came in a file: stopped and
// started again, it misses nothing and ships nothing twice.
//
//	go run ./worker rstmdb://localhost:7401 ./worker.place
package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"os/signal"
	"strconv"
	"strings"

	rstmdb "github.com/rstmdb/rstmdb/bindings/go"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: worker URL PLACE-FILE")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	db, err := rstmdb.Open(ctx, os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	err = work(ctx, db, os.Args[2], func(id string) { log.Println("shipped", id) })
	if err != nil && !errors.Is(err, context.Canceled) {
		log.Print(err)
	}
}

// work ships paid orders until the context ends or the database is closed.
func work(ctx context.Context, db *rstmdb.Database, file string, shipped func(id string)) error {
	from, history, err := readPlace(file)
	if err != nil {
		return err
	}
	sub, err := db.WatchAll(ctx, rstmdb.WatchMachines("order"), rstmdb.WatchToStates("paid"),
		rstmdb.WatchFromOffset(from), rstmdb.WatchHistoryID(history))
	if err != nil {
		return err
	}
	defer sub.Close()
	for event, err := range sub.All() {
		if err != nil {
			return err
		}
		// The place is written after the work: whoever stops in between does it again, and the key
		// makes that harmless.
		_, err = db.ApplyEvent(ctx, rstmdb.ApplyEventRequest{
			InstanceID: event.InstanceID, Event: "SHIP",
			IdempotencyKey: "ship-" + strconv.FormatUint(event.WALOffset, 10),
		})
		if err != nil && !errors.Is(err, rstmdb.ErrRejected) && !errors.Is(err, rstmdb.ErrNotFound) {
			return err
		}
		place := fmt.Sprintln(event.WALOffset+1, event.HistoryID)
		if err := os.WriteFile(file, []byte(place), 0o644); err != nil {
			return err
		}
		shipped(event.InstanceID)
	}
	return nil
}

// readPlace is where to go on: an offset, and the history that it was told in, so that data that was put back
// from a copy is an error and not a gap. At the first start it is the beginning of the log.
func readPlace(file string) (from uint64, history string, err error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return 1, "", nil
	}
	if err != nil {
		return 0, "", err
	}
	offset, history, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	from, err = strconv.ParseUint(offset, 10, 64)
	return from, history, err
}
