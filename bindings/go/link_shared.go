//go:build rstmdb_shared && !rstmdb_pkgconfig

package rstmdb

// The shared library, which must also be found when the program runs.

// #cgo LDFLAGS: -L${SRCDIR}/../../target/release -L${SRCDIR}/../../target/debug -lrstmdb
import "C"
