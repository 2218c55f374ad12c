//go:build !sqlite

package main

import (
	"log"
	"time"
)

// applySQLite says that SQLite was not built in: the tag sqlite does that.
func applySQLite(name, _, _ string, _ time.Duration) {
	log.Printf("missing: go-sqlite3 was not built in, so there is no %s", name)
}
