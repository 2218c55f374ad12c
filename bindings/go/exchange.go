package rstmdb

// #cgo noescape rgo_submit
// #include "glue.h"
import "C"

import (
	"context"
	"runtime"
	"runtime/cgo"
	"sync"
	"unsafe"
)

// The status of a watch that has ended; RSTMDB_ENDED of the header.
const statusEnded = C.RSTMDB_ENDED

// An outcome is what the library says about a request, as Go's own values.
type outcome struct {
	status int32
	text   string
	err    error
}

// A mailbox is where a callback leaves the outcome of one request. Its handle is all that C knows
// of it: no pointer of Go is kept there.
type mailbox struct {
	outcomes chan outcome
}

// Results up to this size need no second crossing to be freed.
const memoryBytes = decodeShareMax

// Requests above this size do not stay in the pool.
const requestBytesMax = 1 << 20

// An exchange is what one request needs. They are pooled, each with a mailbox and a handle of its
// own, so that a request answered at once makes neither.
type exchange struct {
	box     *mailbox
	handle  cgo.Handle
	request []byte
	memory  [memoryBytes]byte
	reply   C.rgo_reply
	// A long result, still the library's, until the exchange is given back.
	borrowed C.rstmdb_buffer
}

var exchanges = sync.Pool{New: func() any {
	box := &mailbox{outcomes: make(chan outcome, 1)}
	x := &exchange{box: box, handle: cgo.NewHandle(box)}
	// The pool drops what is not used; the handle must not stay behind.
	runtime.AddCleanup(x, func(handle cgo.Handle) { handle.Delete() }, x.handle)
	return x
}}

func takeExchange() *exchange { return exchanges.Get().(*exchange) }

// give returns an exchange whose request has had its outcome or was cancelled. A long result ends here.
func (x *exchange) give() {
	if x.borrowed.data != nil {
		C.rstmdb_buffer_free(x.borrowed)
		x.borrowed = C.rstmdb_buffer{}
	}
	if cap(x.request) > requestBytesMax {
		x.request = nil
	}
	exchanges.Put(x)
}

// submit runs an operation and waits for its outcome without holding a thread. A context that ends
// stops the waiting, not the work. The text of a long result, one of more than decodeShareMax bytes,
// may be used until the exchange is given back: what is kept of it must be copied, as decoders do.
func (x *exchange) submit(ctx context.Context, db *Database, op Operation) (string, error) {
	C.rgo_submit(db.handle, C.int32_t(op), bytePointer(x.request), C.size_t(len(x.request)),
		C.uintptr_t(x.handle), (*C.uint8_t)(&x.memory[0]), memoryBytes, &x.reply)
	if x.reply.status == C.RSTMDB_OK && x.reply.result.data == nil {
		return string(x.memory[:x.reply.len]), nil
	}
	if x.reply.status == C.RSTMDB_OK && x.reply.result.len > decodeShareMax {
		x.borrowed, x.reply = x.reply.result, C.rgo_reply{}
		return unsafe.String((*byte)(unsafe.Pointer(x.borrowed.data)), int(x.borrowed.len)), nil
	}
	o, err := x.wait(ctx, db)
	if err != nil {
		return "", err
	}
	return o.text, o.err
}

// wait gives the outcome of the request whose reply was just filled; its error says that the
// context ended first.
func (x *exchange) wait(ctx context.Context, db *Database) (outcome, error) {
	if x.reply.status != C.RSTMDB_PENDING {
		return x.settled(), nil
	}
	finished := ctx.Done()
	if finished == nil {
		return <-x.box.outcomes, nil
	}
	select {
	case o := <-x.box.outcomes:
		return o, nil
	case <-finished:
		if C.rstmdb_cancel(db.handle, x.reply.request_id) == 1 {
			return outcome{}, ctx.Err()
		}
		// The callback was faster; its outcome is here or about to be.
		return <-x.box.outcomes, nil
	}
}

// settled is the outcome of a request that needed no waiting.
func (x *exchange) settled() outcome {
	o := outcome{status: int32(x.reply.status)}
	if x.reply.error != nil {
		o.err = takeError(unsafe.Pointer(x.reply.error))
	} else if x.reply.status > 0 {
		o.err = &Error{Code: CodeInternalError, Kind: KindInternal, Message: "an error without a description"}
	}
	if x.reply.result.data != nil {
		o.text = string(unsafe.Slice((*byte)(unsafe.Pointer(x.reply.result.data)), int(x.reply.result.len)))
		C.rstmdb_buffer_free(x.reply.result)
	}
	x.reply = C.rgo_reply{}
	return o
}

// takeError makes a Go error of the library's and frees it.
func takeError(failure unsafe.Pointer) error {
	err := readError(failure)
	C.rstmdb_error_free((*C.rstmdb_error)(failure))
	return err
}

// readError makes a Go error of the library's.
func readError(failure unsafe.Pointer) error {
	json := C.rstmdb_error_json((*C.rstmdb_error)(failure))
	return errorFrom(string(unsafe.Slice((*byte)(unsafe.Pointer(json.data)), int(json.len))))
}

// bytePointer is where the bytes are; nil is fine for none.
func bytePointer(bytes []byte) *C.uint8_t {
	return (*C.uint8_t)(unsafe.SliceData(bytes))
}

func stringPointer(text string) *C.uint8_t {
	return (*C.uint8_t)(unsafe.StringData(text))
}
