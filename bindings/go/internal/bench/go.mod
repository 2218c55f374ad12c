module github.com/rstmdb/rstmdb/bindings/go/internal/bench

go 1.24

require (
	github.com/mattn/go-sqlite3 v1.14.53
	github.com/rstmdb/rstmdb/bindings/go v0.0.0
)

replace github.com/rstmdb/rstmdb/bindings/go => ../..
