// Package rstmdb is rstmdb, a state machine database: in this process or on a server, with the same
// code. Define machines, create instances of them, apply events, and watch what happens.
//
//	db, err := rstmdb.Open(ctx, "./data") // or "mem:", or "rstmdb://localhost:7401"
//
// # Contexts and payloads
//
// What goes in may be anything that encodes to JSON. What comes out is a map[string]any, in which
// integers are int64, or uint64 above its range, and other numbers are float64: all exact. Decode
// reads the exact text of one, such as result.RawCtx(), into a type of your own.
//
// # Waiting
//
// An operation that needs no waiting, as most in memory, is done in the call. Otherwise the goroutine
// is parked; it holds no thread of the system. A context that ends stops the waiting, and not a write
// that is on its way: with an IdempotencyKey such a write can be repeated and happens once.
//
// # Errors
//
// Every error of an operation is an *Error. Compare its kind with errors.Is and ErrNotFound,
// ErrConflict and so on; Code, Reason and Context say more.
//
// # Linking
//
// The package is cgo over the C library of rstmdb, linked as a static one; the README says how the
// linker finds it, and how to use the shared one.
package rstmdb

// #include "rstmdb.h"
import "C"

import "fmt"

// A library of another interface would read memory wrongly: better not to start.
func init() {
	if err := checkLibrary(); err != nil {
		panic(err)
	}
}

func checkLibrary() error {
	if found := uint32(C.rstmdb_abi_version()); found != C.RSTMDB_ABI_VERSION {
		return fmt.Errorf("rstmdb: the library has interface %d and this module needs %d; link the library of the module's version", found, uint32(C.RSTMDB_ABI_VERSION))
	}
	return nil
}
