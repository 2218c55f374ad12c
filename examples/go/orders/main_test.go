package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	rstmdb "github.com/rstmdb/rstmdb/bindings/go"
)

func TestOrdersAndTheirFeed(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	db, err := rstmdb.Open(ctx, "mem:")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	handler, err := service(ctx, db)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()

	feed, err := http.Get(server.URL + "/feed")
	if err != nil {
		t.Fatal(err)
	}
	defer feed.Body.Close()
	id := post(t, server.URL+"/orders", `{"total": 9007199254740993}`, http.StatusCreated)["instance_id"].(string)
	post(t, server.URL+"/orders/"+id+"/PAY", `{"method": "card"}`, http.StatusOK)
	post(t, server.URL+"/orders/"+id+"/PAY", ``, http.StatusUnprocessableEntity)
	post(t, server.URL+"/orders/"+id+"/SHIP", `{`, http.StatusBadRequest)
	post(t, server.URL+"/orders/nobody/PAY", ``, http.StatusNotFound)

	lines := bufio.NewScanner(feed.Body)
	for _, expected := range []string{`"kind":"created"`, `"event":"PAY"`} {
		for !strings.HasPrefix(lines.Text(), "data:") || !strings.Contains(lines.Text(), expected) {
			if !lines.Scan() {
				t.Fatalf("the feed ended before %s", expected)
			}
		}
	}
	response, err := http.Get(server.URL + "/orders/" + id)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || !strings.Contains(string(text), `"ctx":{"method":"card","total":9007199254740993}`) {
		t.Errorf("%s, %v", text, err)
	}
	cancel()
	if _, err := io.Copy(io.Discard, feed.Body); err != nil {
		t.Error(err)
	}
}

func post(t *testing.T, url, body string, status int) map[string]any {
	t.Helper()
	response, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer map[string]any
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || response.StatusCode != status {
		t.Fatalf("%s: %s %v, %v", url, response.Status, answer, err)
	}
	return answer
}
