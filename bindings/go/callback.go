package rstmdb

// #include "glue.h"
import "C"

import (
	"runtime"
	"runtime/cgo"
	"unsafe"
)

// From so many outcomes on, a larger sync is worth that the callbacks of all databases wait until this
// thread has its turn among the goroutines again, which is long where many of them compute.
const yieldFrom = 32

// rstmdbGoDone brings outcomes that came together to the goroutines that wait for them. It runs on a
// thread of the library, which must not be held up: it copies, and the channels have room.
//
//export rstmdbGoDone
func rstmdbGoDone(first *C.rgo_outcome, count C.size_t) {
	for _, came := range unsafe.Slice(first, int(count)) {
		o := outcome{status: int32(came.status)}
		if came.error != nil {
			o.err = readError(unsafe.Pointer(came.error))
		}
		if came.result.data != nil {
			o.text = string(unsafe.Slice((*byte)(unsafe.Pointer(came.result.data)), int(came.result.len)))
		}
		cgo.Handle(came.handle).Value().(*mailbox).outcomes <- o
	}
	if count >= yieldFrom {
		// What the goroutines begin in their turn is written together when this returns.
		runtime.Gosched()
	}
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
