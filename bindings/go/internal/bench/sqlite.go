//go:build sqlite

package main

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	_ "github.com/mattn/go-sqlite3"
)

const schema = `CREATE TABLE instances (id TEXT PRIMARY KEY, state TEXT NOT NULL, ctx TEXT NOT NULL,
    updated_at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE history (number INTEGER PRIMARY KEY, id TEXT NOT NULL, event TEXT NOT NULL,
    from_state TEXT NOT NULL, to_state TEXT NOT NULL, payload TEXT NOT NULL, at INTEGER NOT NULL)`

// applySQLite gives the transitions a second in SQLite: the same guarded ones, each in a transaction, in
// WAL mode, on one connection with statements that are prepared once.
func applySQLite(name, path, synchronous string, limit time.Duration) {
	db, err := sql.Open("sqlite3", fmt.Sprintf(
		"file:%s?_journal_mode=WAL&_synchronous=%s&_cache_size=-1000000&_txlock=immediate", path, synchronous))
	must(err)
	defer func() { must(db.Close()) }()
	db.SetMaxOpenConns(1)
	_, err = db.Exec(schema)
	must(err)
	transaction, err := db.Begin()
	must(err)
	for i := range instances {
		_, err = transaction.Exec("INSERT INTO instances VALUES (?, 'A', ?, 0)", id(i), contextText)
		must(err)
	}
	must(transaction.Commit())
	update, err := db.Prepare(`UPDATE instances SET state = ?, ctx = json_patch(ctx, ?), updated_at = ?
    WHERE id = ? AND state = ? AND json_extract(ctx, '$.total') >= 0`)
	must(err)
	insert, err := db.Prepare(`INSERT INTO history (id, event, from_state, to_state, payload, at)
    VALUES (?, ?, ?, ?, ?, ?)`)
	must(err)

	apply := func(number int) {
		event, from, to := "FLIP", "A", "B"
		if number/instances%2 == 1 {
			event, from, to = "FLOP", "B", "A"
		}
		payload, err := json.Marshal(map[string]any{"n": number})
		must(err)
		name, now := id(number%instances), time.Now().UnixMilli()
		transaction, err := db.Begin()
		must(err)
		changed, err := transaction.Stmt(update).Exec(to, payload, now, name, from)
		must(err)
		if rows, err := changed.RowsAffected(); err != nil || rows != 1 {
			panic("the transition was not applied")
		}
		_, err = transaction.Stmt(insert).Exec(name, event, from, to, payload, now)
		must(err)
		must(transaction.Commit())
	}
	number := 0
	var rate float64
	for _, limit := range []time.Duration{limit / 4, limit} {
		start, before := time.Now(), number
		for time.Since(start) < limit {
			for range 8 {
				apply(number)
				number++
			}
		}
		rate = float64(number-before) / time.Since(start).Seconds()
	}
	print(name, rate, "ops/s")
}
