package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	rstmdb "github.com/rstmdb/rstmdb/bindings/go"
)

// Where the clock of a scenario stands at first: 2026-01-01T00:00:00Z.
const startMs = 1767225600000

// A place is where the database of one scenario lives.
type place struct {
	db         *rstmdb.Database
	options    object
	advancedMs int64
	directory  string
	host       net.Conn
	lines      *bufio.Reader
}

// open opens an empty database of its own with the options of a scenario or a program.
func open(ctx context.Context, options object) (*place, error) {
	p := &place{options: object{}}
	for name, value := range options {
		p.options[name] = value
	}
	var err error
	switch target() {
	case "mem:":
	case "file:":
		p.directory, err = os.MkdirTemp("", "rstmdb-go-")
	case "rstmdb://":
		p.host, err = net.Dial("tcp", os.Getenv("RSTMDB_HOST"))
		if err == nil {
			p.lines = bufio.NewReader(p.host)
		}
	default:
		err = fmt.Errorf("RSTMDB_TARGET is %q, expected mem:, file: or rstmdb://", target())
	}
	if err == nil {
		err = p.start(ctx, object{"start": p.options})
	}
	if err != nil {
		p.remove()
		return nil, err
	}
	return p, nil
}

func (p *place) start(ctx context.Context, ask object) error {
	var err error
	if p.host != nil {
		answer, err := p.ask(ask)
		if err != nil {
			return err
		}
		p.db, err = rstmdb.Open(ctx, answer["url"].(string))
		return err
	}
	options := []rstmdb.Option{
		rstmdb.WithRetention(rstmdb.RetainForever()),
		rstmdb.WithFreeBytesMin(0),
		rstmdb.WithManualClock(time.UnixMilli(startMs + p.advancedMs)),
	}
	for name, value := range p.options {
		if name != "manual_clock_ms" {
			options = append(options, rstmdb.WithSetting(name, json.RawMessage(canonical(value))))
		}
	}
	url := "mem:"
	if p.directory != "" {
		url = p.directory
	}
	p.db, err = rstmdb.Open(ctx, url, options...)
	return err
}

func (p *place) reopen(ctx context.Context) error {
	if err := p.db.Close(); err != nil {
		return err
	}
	return p.start(ctx, object{"reopen": true})
}

func (p *place) advance(ms int64) error {
	p.advancedMs += ms
	if p.host != nil {
		_, err := p.ask(object{"advance_ms": json.Number(fmt.Sprint(ms))})
		return err
	}
	return p.db.AdvanceClock(time.Duration(ms) * time.Millisecond)
}

// remove closes the database and forgets it.
func (p *place) remove() {
	if p.db != nil {
		_ = p.db.Close()
	}
	if p.host != nil {
		_ = p.host.Close()
	}
	if p.directory != "" {
		_ = os.RemoveAll(p.directory)
	}
}

func (p *place) ask(line object) (object, error) {
	if _, err := fmt.Fprintln(p.host, canonical(line)); err != nil {
		return nil, err
	}
	text, err := p.lines.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	value, err := parse(text)
	if err != nil {
		return nil, err
	}
	answer, ok := value.(object)
	if !ok {
		return nil, fmt.Errorf("the host answered %s", text)
	}
	if problem, failed := answer["error"]; failed {
		return nil, errors.New(canonical(problem))
	}
	return answer, nil
}
