package rstmdb

// #include "rstmdb.h"
import "C"

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"time"
)

// An Option says how a database is opened. One that does not fit the URL, such as a token for a
// directory, is refused.
type Option interface{ set(*settings) error }

type settings struct {
	values map[string]any
	// Features that the server must have.
	features []string
	text     []byte
}

type option func(*settings) error

func (set option) set(s *settings) error { return set(s) }

// WithSetting sets an option of the core by its name, such as one that this module does not know yet.
func WithSetting(name string, value any) Option {
	return option(func(s *settings) error {
		s.values[name] = value
		return nil
	})
}

func settingsOf(url string, options []Option) (*settings, error) {
	s := &settings{values: map[string]any{}}
	if strings.HasPrefix(url, "rstmdb:") || strings.HasPrefix(url, "rstmdbs:") {
		s.values["client_name"] = "rstmdb-go/" + Version()
	}
	for _, option := range options {
		if option == nil {
			continue
		}
		if err := option.set(s); err != nil {
			return nil, err
		}
	}
	var err error
	s.text, err = appendMap(nil, s.values, 0)
	return s, err
}

// check asks the server for the features that are needed.
func (s *settings) check(ctx context.Context, db *Database) error {
	if len(s.features) == 0 {
		return nil
	}
	info, err := db.Info(ctx)
	if err != nil {
		return err
	}
	for _, feature := range s.features {
		if !slices.Contains(info.Features, feature) {
			return &Error{
				Code: CodeBadRequest, Kind: KindInvalid, Reason: ReasonUnsupported,
				Message: fmt.Sprintf("the server has no feature %q; it has %s", feature, strings.Join(info.Features, ", ")),
			}
		}
	}
	return nil
}

// Version is the version of the rstmdb library.
func Version() string { return text(C.rstmdb_version()) }

// Fsync says when the log of a directory is synced.
type Fsync string

const (
	// FsyncEveryWrite: a write returns when it is on the disk; concurrent writers share a sync.
	FsyncEveryWrite Fsync = "every_write"

	// FsyncNever: the operating system decides; a power cut loses what it had not written.
	FsyncNever Fsync = "never"
)

// FsyncEveryN syncs after so many writes.
func FsyncEveryN(writes int) Fsync { return Fsync(fmt.Sprintf("every_n:%d", writes)) }

// FsyncEvery syncs after so much time.
func FsyncEvery(interval time.Duration) Fsync {
	return Fsync(fmt.Sprintf("every_ms:%d", interval.Milliseconds()))
}

// Retention says how much history is kept.
type Retention struct{ value any }

// RetainForever keeps all history.
func RetainForever() Retention { return Retention{"forever"} }

// RetainBytes keeps this much of the log.
func RetainBytes(bytes uint64) Retention {
	return Retention{map[string]any{"bytes": bytes}}
}

// RetainAge keeps what is younger.
func RetainAge(age time.Duration) Retention {
	return Retention{map[string]any{"age_ms": age.Milliseconds()}}
}

// WithLimits changes the limits that are not zero. For databases of this process.
func WithLimits(limits Limits) Option {
	return option(func(s *settings) error {
		text, err := limits.appendJSON(nil)
		if err != nil {
			return err
		}
		d := decoder{text: string(text)}
		all := d.fields()
		for name, value := range all {
			if value == int64(0) {
				delete(all, name)
			}
		}
		s.values["limits"] = all
		return d.finish()
	})
}

// WithTLS uses TLS. The connections are the core's: see TLSFromFiles and InsecureTLS for what a
// config may hold. An empty config trusts the authorities of the system.
func WithTLS(config *tls.Config) Option {
	return option(func(s *settings) error {
		value, err := tlsSettings(config)
		s.values["tls"] = value
		return err
	})
}

// Options are the options of Connect. They are an Option of Open too.
type Options struct {
	// Auth is the token presented to the server; none when empty.
	Auth string

	// TLS is used when it is set; see WithTLS.
	TLS *tls.Config

	// Timeout bounds reaching the server; 10 s when zero.
	Timeout time.Duration

	// RequestTimeout bounds a request with its repetitions; 30 s when zero.
	RequestTimeout time.Duration

	// ClientName is what the client calls itself.
	ClientName string

	// WireMode is how messages are framed: "binary_json", or "" for the same. No other is spoken.
	WireMode string

	// Features must be among those of the server, or Connect fails.
	Features []string
}

func (o *Options) set(s *settings) error {
	if o == nil {
		return nil
	}
	if o.Auth != "" {
		s.values["token"] = o.Auth
	}
	if o.TLS != nil {
		if err := WithTLS(o.TLS).set(s); err != nil {
			return err
		}
	}
	if o.Timeout > 0 {
		s.values["connect_timeout_ms"] = o.Timeout.Milliseconds()
	}
	if o.RequestTimeout > 0 {
		s.values["request_timeout_ms"] = o.RequestTimeout.Milliseconds()
	}
	if o.ClientName != "" {
		s.values["client_name"] = o.ClientName
	}
	if o.WireMode != "" && o.WireMode != "binary_json" {
		return invalidOption(fmt.Sprintf("wire mode %q is not spoken by this client; use \"binary_json\" or leave it out", o.WireMode))
	}
	s.features = o.Features
	return nil
}

// Connect opens the database of the server at addr, such as "localhost:7401". It is Open with a URL,
// and waits for the first answer.
func Connect(ctx context.Context, addr string, options *Options) (*Client, error) {
	if !strings.Contains(addr, "://") {
		addr = "rstmdb://" + addr
	}
	db, err := Open(ctx, addr, WithConnectTimeout(10*time.Second), options)
	if err != nil {
		return nil, err
	}
	if err := db.Ping(ctx); err != nil {
		_ = db.Close()
		return nil, err
	}
	return db, nil
}
