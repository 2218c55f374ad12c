package rstmdb

// #include "glue.h"
import "C"

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Database is a database in this process or on a server. All its methods may be called from any
// number of goroutines. Close it when it is no longer needed; one that is forgotten is closed when
// the garbage collector finds it.
type Database struct {
	handle *C.rstmdb_db
	// How many calls use the handle; with the bit closedBit no others may begin.
	users   atomic.Int64
	free    func()
	cleanup runtime.Cleanup
}

const closedBit = 1 << 62

// Client is a Database; the name that goes with Connect.
type Client = Database

// Open opens the database at url:
//
//	mem:                  in memory, gone when it is closed
//	./data                a directory of this process alone, created when it is missing
//	rstmdb://host:7401    a server; rstmdbs:// with TLS, rstmdb://token@host with a token
//
// The context bounds the opening alone.
func Open(ctx context.Context, url string, options ...Option) (*Database, error) {
	if err := ctx.Err(); err != nil {
		return nil, contextError(ctx, "", false)
	}
	settings, err := settingsOf(url, options)
	if err != nil {
		return nil, err
	}
	x := takeExchange()
	handle := C.rgo_open_submit(stringPointer(url), C.size_t(len(url)), bytePointer(settings.text),
		C.size_t(len(settings.text)), C.uintptr_t(x.handle), &x.reply)
	// Freeing closes what is still open, which can take a while: not in the collector's goroutine.
	free := func(handle *C.rstmdb_db) { go C.rstmdb_free(handle) }
	db := &Database{handle: handle, free: sync.OnceFunc(func() { C.rstmdb_free(handle) })}
	db.cleanup = runtime.AddCleanup(db, free, handle)
	o, err := x.wait(ctx, db)
	x.give()
	if err != nil {
		err = contextError(ctx, "", false)
	} else if err = o.err; err == nil {
		if err = settings.check(ctx, db); err == nil {
			return db, nil
		}
	}
	db.cleanup.Stop()
	go db.free()
	return nil, err
}

// Close ends watches, waits for requests in flight and closes the database. Afterwards every call
// fails with ErrClosed. Closing again is fine.
func (db *Database) Close() error {
	if !db.enter() {
		return nil
	}
	defer db.leave()
	x := takeExchange()
	C.rgo_close_submit(db.handle, C.uintptr_t(x.handle), &x.reply)
	o, _ := x.wait(context.Background(), db)
	x.give()
	if o.err != nil {
		return o.err
	}
	db.users.Or(closedBit)
	return nil
}

// enter begins the use of the handle, unless the database was closed; leave ends it.
func (db *Database) enter() bool {
	if db.users.Add(1)&closedBit != 0 {
		db.leave()
		return false
	}
	return true
}

// leave frees the handle after its last use: the collector would not know how much that is.
func (db *Database) leave() {
	if db.users.Add(-1) == closedBit {
		db.cleanup.Stop()
		db.free()
	}
	runtime.KeepAlive(db)
}

// Call runs an operation on JSON text, for those who have it already; the typed methods are this
// with structs. Watches are not for Call.
func (db *Database) Call(ctx context.Context, op Operation, request json.RawMessage) (json.RawMessage, error) {
	if ctx.Err() != nil {
		return nil, contextError(ctx, op.String(), false)
	}
	x := takeExchange()
	defer x.give()
	x.request = append(x.request[:0], request...)
	text, err := db.run(ctx, x, op)
	if err != nil {
		return nil, err
	}
	return json.RawMessage(text), nil
}

// AdvanceClock moves the clock of a database that was opened WithManualClock; it is for tests.
func (db *Database) AdvanceClock(by time.Duration) error {
	if !db.enter() {
		return closedError("")
	}
	defer db.leave()
	var x exchange
	x.reply.status = C.rstmdb_advance_clock(db.handle, C.int64_t(by.Milliseconds()), &x.reply.error)
	return x.settled().err
}

// run submits the request of an exchange; the text lives until the exchange is given back.
func (db *Database) run(ctx context.Context, x *exchange, op Operation) (string, error) {
	if !db.enter() {
		return "", closedError(op.String())
	}
	text, err := x.submit(ctx, db, op)
	db.leave()
	if err != nil {
		if _, known := err.(*Error); !known {
			return "", contextError(ctx, op.String(), op.IsWrite())
		}
		return "", err
	}
	return text, nil
}

type resultOf[R any] interface {
	*R
	decode(*decoder)
}

// invoke runs an operation with its request and reads its result.
func invoke[R any, P resultOf[R]](ctx context.Context, db *Database, op Operation, request appender) (*R, error) {
	if ctx.Err() != nil {
		return nil, contextError(ctx, op.String(), false)
	}
	x := takeExchange()
	defer x.give()
	var err error
	if x.request, err = request.appendJSON(x.request[:0]); err != nil {
		return nil, inOperation(err, op)
	}
	text, err := db.run(ctx, x, op)
	if err != nil {
		return nil, err
	}
	result := new(R)
	if err := read(P(result), text, op); err != nil {
		return nil, err
	}
	return result, nil
}

// read decodes what the core sent.
func read(result interface{ decode(*decoder) }, text string, op Operation) error {
	d := decoder{text: text}
	result.decode(&d)
	if err := d.finish(); err != nil {
		return unreadable(err, op)
	}
	return nil
}

func unreadable(err error, op Operation) error {
	return &Error{
		Code: CodeInternalError, Kind: KindInternal, Operation: op.String(),
		Message: fmt.Sprintf("the answer can't be read; is the library of the same version as the module? %v", err),
		causes:  []error{err},
	}
}

func inOperation(err error, op Operation) error {
	if found, ok := err.(*Error); ok {
		found.Operation = op.String()
	}
	return err
}

// String is the name of the operation on the wire, such as "APPLY_EVENT".
func (op Operation) String() string {
	if op <= 0 || int(op) >= len(operationNames) {
		return fmt.Sprintf("operation %d", int32(op))
	}
	return operationNames[op]
}

// IsWrite reports whether the operation changes the database.
func (op Operation) IsWrite() bool {
	return op > 0 && int(op) < len(operationWrites) && operationWrites[op]
}
