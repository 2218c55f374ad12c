package rstmdb

// #include "glue.h"
import "C"

import (
	"context"
	"errors"
	"iter"
	"runtime"
	"strings"
	"sync"
	"unsafe"
)

// Event is one change of one instance.
type Event = InstanceEvent

// The most events taken from the core at once.
const eventsMax = 256

// Subscription is a watch. Its events come from All, or from the channel Events; take them from one
// of the two. A slow reader loses nothing: what does not wait for it is read from the log again.
//
// It ends with Close, with the context it was made with, and with the database. A subscription that
// none of them ends holds a goroutine.
type Subscription struct {
	// Events are the changes, in the order of the log. Closed when the watch has ended.
	Events <-chan Event

	// Errors gets why the watch ended, if not by Close, and is closed then.
	Errors <-chan error

	// AllStart is where a watch of WatchAll began; nil of others.
	AllStart *WatchAllResult

	// InstanceStart is where a watch of WatchInstance began; nil of others.
	InstanceStart *WatchInstanceResult

	watch *watch
}

// A watch is what the goroutine behind a subscription works on.
type watch struct {
	db     *Database
	op     Operation
	handle *C.rstmdb_watch
	place  struct {
		sync.Mutex
		resume  uint64
		history string
	}
	stop func()
	// Closed by stop.
	stopped chan struct{}
	// Closed when the goroutine is gone.
	done   chan struct{}
	err    error
	events chan Event
	errors chan error
}

// WatchOption narrows a watch of all instances. A WatchAllRequest is one too; it sets everything at
// once, IncludeCtx as well.
type WatchOption interface{ setWatch(*WatchAllRequest) }

func (r WatchAllRequest) setWatch(to *WatchAllRequest) { *to = r }

type watchOption func(*WatchAllRequest)

func (set watchOption) setWatch(r *WatchAllRequest) { set(r) }

// WatchMachines: only these machines.
func WatchMachines(names ...string) WatchOption {
	return watchOption(func(r *WatchAllRequest) { r.Machines = names })
}

// WatchFromStates: only transitions out of these states.
func WatchFromStates(states ...string) WatchOption {
	return watchOption(func(r *WatchAllRequest) { r.FromStates = states })
}

// WatchToStates: only transitions into these states.
func WatchToStates(states ...string) WatchOption {
	return watchOption(func(r *WatchAllRequest) { r.ToStates = states })
}

// WatchEvents: only these events.
func WatchEvents(names ...string) WatchOption {
	return watchOption(func(r *WatchAllRequest) { r.Events = names })
}

// WatchFromOffset: replay from this offset (inclusive) before going on live.
func WatchFromOffset(offset uint64) WatchOption {
	return watchOption(func(r *WatchAllRequest) { r.FromOffset = offset })
}

// WatchHistoryID: the history that the offset of WatchFromOffset was told with. An error of the reason
// ReasonHistoryDiverged when the log does not go on from there.
func WatchHistoryID(id string) WatchOption {
	return watchOption(func(r *WatchAllRequest) { r.HistoryID = id })
}

// WatchIncludeCtx says whether events carry the context after them; they do without this.
func WatchIncludeCtx(include bool) WatchOption {
	return watchOption(func(r *WatchAllRequest) { r.IncludeCtx = include })
}

// WatchLifecycle reports creation and deletion too.
func WatchLifecycle() WatchOption {
	return watchOption(func(r *WatchAllRequest) { r.IncludeLifecycle = true })
}

// WatchAll follows the events of all instances, filtered. Events carry contexts unless
// WatchIncludeCtx says otherwise.
func (db *Database) WatchAll(ctx context.Context, options ...WatchOption) (*Subscription, error) {
	request := WatchAllRequest{IncludeCtx: true}
	for _, option := range options {
		option.setWatch(&request)
	}
	start := new(WatchAllResult)
	sub, err := db.watch(ctx, OpWatchAll, &request, start)
	if err != nil {
		return nil, err
	}
	sub.AllStart = start
	return sub, nil
}

// WatchInstance follows the events of one instance, with their contexts when IncludeCtx is set.
func (db *Database) WatchInstance(ctx context.Context, request WatchInstanceRequest) (*Subscription, error) {
	start := new(WatchInstanceResult)
	sub, err := db.watch(ctx, OpWatchInstance, &request, start)
	if err != nil {
		return nil, err
	}
	sub.InstanceStart = start
	return sub, nil
}

func (db *Database) watch(ctx context.Context, op Operation, request appender, start interface{ decode(*decoder) }) (*Subscription, error) {
	if ctx.Err() != nil {
		return nil, contextError(ctx, op.String(), false)
	}
	x := takeExchange()
	var err error
	if x.request, err = request.appendJSON(x.request[:0]); err != nil {
		x.give()
		return nil, inOperation(err, op)
	}
	if !db.enter() {
		x.give()
		return nil, closedError(op.String())
	}
	defer db.leave()
	handle := C.rgo_watch_submit(db.handle, C.int32_t(op), bytePointer(x.request),
		C.size_t(len(x.request)), C.uintptr_t(x.handle), &x.reply)
	o, err := x.wait(ctx, db)
	if err != nil {
		err = contextError(ctx, op.String(), false)
	} else if err = o.err; err == nil {
		err = read(start, o.text, op)
	}
	if err != nil {
		x.give()
		C.rstmdb_watch_free(handle)
		return nil, err
	}
	w := &watch{
		db: db, op: op, handle: handle,
		stopped: make(chan struct{}), done: make(chan struct{}),
		events: make(chan Event), errors: make(chan error, 1),
	}
	w.stop = sync.OnceFunc(func() { close(w.stopped) })
	w.receivedAll()
	go w.run(ctx, x)
	return &Subscription{Events: w.events, Errors: w.errors, watch: w}, nil
}

// Close ends the watch. Closing again is fine.
func (s *Subscription) Close() error {
	s.watch.stop()
	<-s.watch.done
	return nil
}

// All iterates over the events until the watch has ended; why it ended, if not by Close or with the
// database, comes last. A loop that is left goes on where it was in another one.
//
//	for event, err := range sub.All() {
func (s *Subscription) All() iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for event := range s.Events {
			s.watch.received(event.WALOffset+1, event.HistoryID)
			if !yield(event, nil) {
				return
			}
		}
		if err := s.Err(); err != nil {
			yield(Event{}, err)
		}
	}
}

// Err is why the watch ended: nil by Close, with the database, or while it goes on.
func (s *Subscription) Err() error {
	select {
	case <-s.watch.done:
		return s.watch.err
	default:
		return nil
	}
}

// ResumeOffset is where to resume so that nothing is lost: for WatchFromOffset of a later watch. It
// is never behind an event that was not received.
func (s *Subscription) ResumeOffset() uint64 {
	s.watch.place.Lock()
	defer s.watch.place.Unlock()
	return s.watch.place.resume
}

// HistoryID is the history that the change before ResumeOffset belongs to: for WatchHistoryID of a
// later watch. It is empty where nobody has told it. Ask for it after ResumeOffset.
func (s *Subscription) HistoryID() string {
	s.watch.place.Lock()
	defer s.watch.place.Unlock()
	return s.watch.place.history
}

func (w *watch) received(next uint64, history string) {
	w.place.Lock()
	defer w.place.Unlock()
	if next > w.place.resume {
		w.place.resume = next
		if history != "" {
			w.place.history = history
		}
	}
}

// receivedAll takes over where the core is.
func (w *watch) receivedAll() {
	next := uint64(C.rstmdb_watch_resume_offset(w.handle))
	id := C.rstmdb_watch_history_id(w.handle)
	history := C.GoStringN((*C.char)(unsafe.Pointer(id.data)), C.int(id.len))
	C.rstmdb_buffer_free(id)
	w.received(next, history)
}

// run brings events from the core to the channel until the watch has ended.
func (w *watch) run(ctx context.Context, x *exchange) {
	err := w.deliver(ctx, x)
	x.give()
	C.rstmdb_watch_free(w.handle)
	runtime.KeepAlive(w.db)
	if err != nil {
		w.err = err
		w.errors <- err
	}
	close(w.done)
	close(w.errors)
	close(w.events)
}

// errStopped says that Close was called.
var errStopped = errors.New("stopped")

func (w *watch) deliver(ctx context.Context, x *exchange) error {
	for {
		text, err := w.next(ctx, x)
		switch {
		case err == errStopped || err == nil && text == "":
			return nil
		case err != nil:
			return err
		}
		d := decoder{text: text}
		d.openArray()
		for d.more(']') {
			var event Event
			// One text to an event: one that is kept does not keep the others.
			from := d.at
			d.pass()
			one := decoder{text: strings.Clone(d.text[from:d.at])}
			event.decode(&one)
			if one.err != nil {
				return unreadable(one.err, w.op)
			}
			select {
			case w.events <- event:
				w.received(event.WALOffset+1, event.HistoryID)
			case <-w.stopped:
				return nil
			case <-ctx.Done():
				return contextError(ctx, w.op.String(), false)
			}
		}
		if err := d.finish(); err != nil {
			return unreadable(err, w.op)
		}
		w.receivedAll()
	}
}

// next gives a list of events as JSON, or "" when the watch has ended.
func (w *watch) next(ctx context.Context, x *exchange) (string, error) {
	C.rgo_watch_next_submit(w.handle, eventsMax, C.uintptr_t(x.handle), &x.reply)
	var o outcome
	if x.reply.status != C.RSTMDB_PENDING {
		o = x.settled()
	} else {
		select {
		case o = <-x.box.outcomes:
		case <-w.stopped:
			// Ending the watch is what ends the waiting.
			C.rstmdb_unwatch(w.handle)
			<-x.box.outcomes
			return "", errStopped
		case <-ctx.Done():
			C.rstmdb_unwatch(w.handle)
			<-x.box.outcomes
			return "", contextError(ctx, w.op.String(), false)
		}
	}
	if o.status == statusEnded {
		return "", nil
	}
	return o.text, o.err
}
