package rstmdb

// #include "rstmdb.h"
import "C"

import (
	"runtime/cgo"
	"unsafe"
)

// rstmdbGoDone brings the outcome of a request to the goroutine that waits for it. It runs on a
// thread of the library, which must not be held up: it copies, and the channel has room.
//
//export rstmdbGoDone
func rstmdbGoDone(handle C.uintptr_t, status C.int32_t, result C.rstmdb_buffer, failure *C.rstmdb_error) {
	var o outcome
	o.status = int32(status)
	if failure != nil {
		o.err = takeError(unsafe.Pointer(failure))
	}
	if result.data != nil {
		o.text = string(unsafe.Slice((*byte)(unsafe.Pointer(result.data)), int(result.len)))
	}
	C.rstmdb_buffer_free(result)
	cgo.Handle(handle).Value().(*mailbox).outcomes <- o
}

// rstmdbGoLog hands a line of the library's log on.
//
//export rstmdbGoLog
func rstmdbGoLog(level C.int32_t, target, message C.rstmdb_slice) {
	logLine(int32(level), text(target), text(message))
}

func text(slice C.rstmdb_slice) string {
	if slice.len == 0 {
		return ""
	}
	return string(unsafe.Slice((*byte)(unsafe.Pointer(slice.data)), int(slice.len)))
}
