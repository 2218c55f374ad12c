package rstmdb

// #include "glue.h"
import "C"

import (
	"runtime/cgo"
	"sync/atomic"
	"time"
	"unsafe"
)

// From so many outcomes on, a larger sync may be worth that the callbacks of all databases wait for what the goroutines
// begin in their turn: where that takes less than a write. Else two writes, one of them beside it, are done sooner.
const waitFrom = 32

// A turn has this long where goroutines compute.
const turnMax = 2 * time.Millisecond

// One of so many groups waits where that does not pay off, to see whether it still does not.
const tryOneOf = 64

var (
	loaded = time.Now()
	// How long a turn takes on average, and when the last group was over, since then.
	turnTakes, groupOver atomic.Int64
	// How many groups did not wait.
	alone atomic.Int32
)

func sinceLoaded() int64 { return int64(time.Since(loaded)) }

func paysOff(write int64) bool {
	return turnTakes.Load() < write || alone.Add(1)%tryOneOf == 0
}

// rstmdbGoDone brings outcomes that came together to the goroutines that wait for them. It runs on a
// thread of the library, which must not be held up: it copies, and the channels have room.
//
//export rstmdbGoDone
func rstmdbGoDone(first *C.rgo_outcome, count C.size_t) {
	outcomes := unsafe.Slice(first, int(count))
	begun := sinceLoaded()
	defer func() { groupOver.Store(sinceLoaded()) }()
	if count < waitFrom || !paysOff(begun-groupOver.Load()) {
		deliver(outcomes)
		return
	}
	// What the goroutines begin in their turn is written together when this returns. Who is woken last runs
	// first, and all others in their order: behind them it is told that they had their turn.
	last := len(outcomes) - 1
	deliver(outcomes[:last])
	ended := make(chan struct{})
	go close(ended)
	deliver(outcomes[last:])
	late := time.NewTimer(turnMax)
	defer late.Stop()
	select {
	case <-ended:
	case <-late.C:
	}
	turnTakes.Store((7*turnTakes.Load() + sinceLoaded() - begun) / 8)
}

func deliver(outcomes []C.rgo_outcome) {
	for _, came := range outcomes {
		o := outcome{status: int32(came.status)}
		if came.error != nil {
			o.err = readError(unsafe.Pointer(came.error))
		}
		if came.result.data != nil {
			o.text = string(unsafe.Slice((*byte)(unsafe.Pointer(came.result.data)), int(came.result.len)))
		}
		cgo.Handle(came.handle).Value().(*mailbox).outcomes <- o
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
