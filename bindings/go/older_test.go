package rstmdb_test

import (
	"encoding/json"
	"strings"
	"testing"

	rstmdb "github.com/rstmdb/rstmdb/bindings/go"
)

// A server of 0.3.0: what it tells is there, and nothing is made up for what it does not.
// tests/older/answers.json is what it says.

func TestWhatAnOlderServerTellsIsThereAndTheRestIsAbsent(t *testing.T) {
	db, ctx := open(t, olderServer(t)), t.Context()
	info, err := db.Info(ctx)
	if err != nil || info.ServerVersion != "0.3.0" || info.Limits.BatchOperationsMax != 100 {
		t.Fatalf("%+v, %v", info, err)
	}
	for _, field := range []string{"DatabaseID", "Writable", "Health", "Instances", "Machines", "LatestOffset"} {
		if info.Has(field) {
			t.Errorf("%s was made up: %+v", field, info)
		}
	}
	text, err := json.Marshal(info)
	if err != nil || !strings.Contains(string(text), `"limits":{"batch_operations_max":100}`) ||
		strings.Contains(string(text), "writable") || info.Limits.Has("StatesMax") {
		t.Errorf("%s, %v", text, err)
	}
	instance, err := db.GetInstance(ctx, "a")
	if err != nil || instance.State != "s" || !instance.CreatedAt.IsZero() || instance.Has("UpdatedAt") {
		t.Errorf("%+v, %v", instance, err)
	}
	stats, err := db.WALStats(ctx)
	if err != nil || stats.LatestOffset != 1<<40+100 || stats.Has("FirstOffset") {
		t.Errorf("%+v, %v", stats, err)
	}
}

func TestZerosThatAreToldAreThere(t *testing.T) {
	var info rstmdb.InfoResult
	told := `{"instances":0,"writable":false,"latest_offset":0,"limits":{"machine_versions_max":0}}`
	if err := json.Unmarshal([]byte(told), &info); err != nil {
		t.Fatal(err)
	}
	if !info.Has("Instances") || !info.Has("Writable") || info.Has("Machines") || !info.Limits.Has("MachineVersionsMax") {
		t.Errorf("%+v", info)
	}
	text, err := json.Marshal(info)
	for _, member := range []string{`"instances":0`, `"writable":false`, `"machine_versions_max":0`} {
		if err != nil || !strings.Contains(string(text), member) {
			t.Errorf("no %s in %s, %v", member, text, err)
		}
	}
}
