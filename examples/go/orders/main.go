// Command orders is an HTTP service of orders with a live feed.
//
//	go run ./orders ./data
//	curl -d '{"total": 40}' localhost:8080/orders
//	curl -d '{"method": "card"}' localhost:8080/orders/ID/PAY
//	curl localhost:8080/orders/ID
//	curl -N localhost:8080/feed
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"time"

	rstmdb "github.com/rstmdb/rstmdb/bindings/go"
)

var order = rstmdb.MachineDefinition{
	States:  []string{"created", "paid", "shipped", "delivered", "cancelled"},
	Initial: "created",
	Transitions: []rstmdb.Transition{
		{From: rstmdb.From("created"), Event: "PAY", To: "paid", Guard: "ctx.total > 0"},
		{From: rstmdb.From("paid"), Event: "SHIP", To: "shipped"},
		{From: rstmdb.From("shipped"), Event: "DELIVER", To: "delivered"},
		{From: rstmdb.From("created"), Event: "CANCEL", To: "cancelled"},
	},
}

func main() {
	url := "mem:"
	if len(os.Args) > 1 {
		url = os.Args[1]
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	db, err := rstmdb.Open(ctx, url)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	handler, err := service(ctx, db)
	if err != nil {
		log.Print(err)
		return
	}
	server := &http.Server{Addr: "localhost:8080", Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	log.Println("listening on", server.Addr)
	log.Print(server.ListenAndServe())
}

// service is the handler of all requests; feeds end with the context.
func service(ctx context.Context, db *rstmdb.Database) (http.Handler, error) {
	_, err := db.PutMachine(ctx, rstmdb.PutMachineRequest{Machine: "order", Version: 1, Definition: order})
	if err != nil {
		return nil, err
	}
	routes := http.NewServeMux()
	routes.HandleFunc("POST /orders", func(w http.ResponseWriter, r *http.Request) {
		// A client that repeats a request sends its key again, and gets the first answer.
		created, err := db.CreateInstance(r.Context(), rstmdb.CreateInstanceRequest{
			Machine: "order", Version: 1, InitialCtx: body(r), IdempotencyKey: r.Header.Get("Idempotency-Key"),
		})
		answer(w, http.StatusCreated, created, err)
	})
	routes.HandleFunc("POST /orders/{id}/{event}", func(w http.ResponseWriter, r *http.Request) {
		applied, err := db.ApplyEvent(r.Context(), rstmdb.ApplyEventRequest{
			InstanceID: r.PathValue("id"), Event: r.PathValue("event"), Payload: body(r),
			IdempotencyKey: r.Header.Get("Idempotency-Key"),
		})
		answer(w, http.StatusOK, applied, err)
	})
	routes.HandleFunc("GET /orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		found, err := db.GetInstance(r.Context(), r.PathValue("id"))
		answer(w, http.StatusOK, found, err)
	})
	routes.HandleFunc("GET /feed", func(w http.ResponseWriter, r *http.Request) { feed(ctx, db, w, r) })
	return routes, nil
}

// body is the JSON of a request as it is, nil for none; the database says when it is no good.
func body(r *http.Request) any {
	text, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, 1<<20))
	if err != nil || len(text) == 0 {
		return nil
	}
	return json.RawMessage(text)
}

// feed sends every change of an order as a server-sent event. A reader that comes back says what it
// had last.
func feed(ctx context.Context, db *rstmdb.Database, w http.ResponseWriter, r *http.Request) {
	watching, stop := context.WithCancel(r.Context())
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	options := []rstmdb.WatchOption{rstmdb.WatchMachines("order"), rstmdb.WatchLifecycle()}
	var last uint64
	var history string
	// With the history beside the offset, data that was put back from a copy is an error and not a gap.
	if found, _ := fmt.Sscan(r.Header.Get("Last-Event-ID"), &last, &history); found > 0 {
		options = append(options, rstmdb.WatchFromOffset(last+1), rstmdb.WatchHistoryID(history))
	}
	sub, err := db.WatchAll(watching, options...)
	if err != nil {
		answer(w, 0, nil, err)
		return
	}
	defer sub.Close()
	w.Header().Set("Content-Type", "text/event-stream")
	flush := http.NewResponseController(w).Flush
	_ = flush()
	for event, err := range sub.All() {
		if err != nil {
			return
		}
		text, err := json.Marshal(event)
		if err != nil {
			return
		}
		if _, err := fmt.Fprintf(w, "id: %d %s\ndata: %s\n\n", event.WALOffset, event.HistoryID, text); err != nil || flush() != nil {
			return
		}
	}
}

func answer(w http.ResponseWriter, status int, result any, err error) {
	if err != nil {
		status, result = statusOf(err), map[string]string{"error": err.Error()}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(result)
}

func statusOf(err error) int {
	switch {
	case errors.Is(err, rstmdb.ErrInvalid):
		return http.StatusBadRequest
	case errors.Is(err, rstmdb.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, rstmdb.ErrConflict), errors.Is(err, rstmdb.ErrAlreadyExists):
		return http.StatusConflict
	case errors.Is(err, rstmdb.ErrRejected):
		return http.StatusUnprocessableEntity
	}
	return http.StatusServiceUnavailable
}
