module github.com/rstmdb/rstmdb/bindings/go

go 1.24
