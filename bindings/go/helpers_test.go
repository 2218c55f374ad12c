package rstmdb_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	rstmdb "github.com/rstmdb/rstmdb/bindings/go"
)

// What must come comes; a test that hangs ends after this.
const patience = 20 * time.Second

func order() rstmdb.MachineDefinition {
	return rstmdb.MachineDefinition{
		States:  []string{"created", "paid", "shipped", "cancelled"},
		Initial: "created",
		Transitions: []rstmdb.Transition{
			{From: rstmdb.From("created"), Event: "PAY", To: "paid", Guard: "payload.amount > 0"},
			{From: rstmdb.From("paid"), Event: "SHIP", To: "shipped"},
			{From: rstmdb.From("created", "paid"), Event: "CANCEL", To: "cancelled"},
		},
		Final: []string{"shipped", "cancelled"},
	}
}

func loop() rstmdb.MachineDefinition {
	return rstmdb.MachineDefinition{
		States: []string{"a"}, Initial: "a",
		Transitions: []rstmdb.Transition{{From: rstmdb.From("a"), Event: "E", To: "a"}},
	}
}

func open(t testing.TB, url string, options ...rstmdb.Option) *rstmdb.Database {
	t.Helper()
	db, err := rstmdb.Open(t.Context(), url, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// opened is a database with the machines order and loop, and an instance of each.
func opened(t testing.TB, url string, options ...rstmdb.Option) *rstmdb.Database {
	t.Helper()
	db := open(t, url, options...)
	ctx := t.Context()
	for name, definition := range map[string]rstmdb.MachineDefinition{"order": order(), "loop": loop()} {
		if _, err := db.PutMachine(ctx, rstmdb.PutMachineRequest{Machine: name, Version: 1, Definition: definition}); err != nil {
			t.Fatal(err)
		}
		if _, err := db.CreateInstance(ctx, rstmdb.CreateInstanceRequest{InstanceID: name + "-1", Machine: name, Version: 1}); err != nil {
			t.Fatal(err)
		}
	}
	return db
}

// listening starts a program that serves until its input ends, and gives its address.
func listening(t testing.TB, variable, name string, arguments ...string) string {
	t.Helper()
	program := os.Getenv(variable)
	if program == "" {
		program = filepath.Join("..", "..", "target", "debug", name)
	}
	if _, err := os.Stat(program); err != nil {
		message := "no server to try: run make -C bindings/go test, or cargo build -p rstmdb-tests --bin " + name
		if os.Getenv("CI") == "true" {
			t.Fatal(message)
		}
		t.Skip(message)
	}
	command := exec.Command(program, arguments...)
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = command.Wait()
	})
	var first struct{ Listening string }
	if err := json.NewDecoder(out).Decode(&first); err != nil {
		t.Fatal(err)
	}
	return first.Listening
}

// newerServer starts a server of the future and gives its URL.
func newerServer(t testing.TB) string {
	t.Helper()
	return "rstmdb://" + listening(t, "RSTMDB_NEWER_SERVER", "newer_server")
}

// olderServer starts a server that tells no more than 0.3.0 did and gives its URL.
func olderServer(t testing.TB) string {
	t.Helper()
	return "rstmdb://" + listening(t, "RSTMDB_NEWER_SERVER", "newer_server", "older")
}

// server starts a server with an empty database and gives its URL.
func server(t testing.TB) string {
	t.Helper()
	conn, err := net.Dial("tcp", listening(t, "RSTMDB_HOST_PROGRAM", "conformance_host"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	fmt.Fprintln(conn, `{"start": {}}`)
	var answer struct{ URL, Error string }
	if err := json.NewDecoder(bufio.NewReader(conn)).Decode(&answer); err != nil || answer.Error != "" {
		t.Fatalf("%+v, %v", answer, err)
	}
	return answer.URL
}

// within runs what must end soon.
func within(t testing.TB, what string, body func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		body()
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("%s did not end", what)
	}
}

func background() context.Context { return context.Background() }
