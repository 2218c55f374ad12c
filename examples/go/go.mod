module github.com/rstmdb/rstmdb/examples/go

go 1.24

require github.com/rstmdb/rstmdb/bindings/go v0.0.0

replace github.com/rstmdb/rstmdb/bindings/go => ../../bindings/go
