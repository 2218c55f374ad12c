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

// WithFsync says when the log is synced; FsyncEveryWrite without it. For directories.
func WithFsync(policy Fsync) Option { return WithSetting("fsync", string(policy)) }

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

// WithRetention says how much history is kept. For databases of this process.
func WithRetention(retention Retention) Option { return WithSetting("retention", retention.value) }

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

// WithSegmentBytesMax sets the size of a segment of the log. For databases of this process.
func WithSegmentBytesMax(bytes uint64) Option { return WithSetting("segment_bytes_max", bytes) }

// WithCheckpointLogBytes writes a checkpoint when this much was logged; 0: only Compact does. For
// databases of this process.
func WithCheckpointLogBytes(bytes uint64) Option { return WithSetting("checkpoint_log_bytes", bytes) }

// WithFreeBytesMin refuses writes when less is free on the disk. For databases of this process.
func WithFreeBytesMin(bytes uint64) Option { return WithSetting("free_bytes_min", bytes) }

// WithIdempotencyWindow says how long idempotency keys are remembered. For databases of this process.
func WithIdempotencyWindow(window time.Duration) Option {
	return WithSetting("idempotency_window_ms", window.Milliseconds())
}

// WithIdempotencyKeysMax says how many idempotency keys are remembered. For databases of this process.
func WithIdempotencyKeysMax(count uint64) Option { return WithSetting("idempotency_keys_max", count) }

// WithInstanceRecreate says whether the id of a deleted instance may be used again; it may without
// this. For databases of this process.
func WithInstanceRecreate(allowed bool) Option {
	return WithSetting("allow_instance_recreate", allowed)
}

// WithFlushAll says whether FlushAll is allowed; it is not without this. For databases of this process.
func WithFlushAll(allowed bool) Option { return WithSetting("allow_flush_all", allowed) }

// WithCreate says whether a missing directory is created; it is without this.
func WithCreate(create bool) Option { return WithSetting("create", create) }

// WithManualClock makes the clock stand still at a time, until AdvanceClock: for tests of what depends
// on time. For databases of this process.
func WithManualClock(now time.Time) Option { return WithSetting("manual_clock_ms", now.UnixMilli()) }

// WithToken presents a token to the server.
func WithToken(token string) Option { return WithSetting("token", token) }

// WithTLS uses TLS. The connections are the core's: see TLSFromFiles and InsecureTLS for what a
// config may hold. An empty config trusts the authorities of the system.
func WithTLS(config *tls.Config) Option {
	return option(func(s *settings) error {
		value, err := tlsSettings(config)
		s.values["tls"] = value
		return err
	})
}

// WithConnectTimeout bounds reaching a server; 5 s without it.
func WithConnectTimeout(timeout time.Duration) Option {
	return WithSetting("connect_timeout_ms", timeout.Milliseconds())
}

// WithRequestTimeout bounds a request to a server with its repetitions; 30 s without it, 0 for none.
// The context of a call bounds that call.
func WithRequestTimeout(timeout time.Duration) Option {
	return WithSetting("request_timeout_ms", timeout.Milliseconds())
}

// WithKeepAlive says how long a connection to a server may be silent before it is probed.
func WithKeepAlive(interval time.Duration) Option {
	return WithSetting("keep_alive_ms", interval.Milliseconds())
}

// WithPoolSize sets the number of connections to a server; 1 without it, which serves any number of
// goroutines.
func WithPoolSize(connections int) Option { return WithSetting("pool_size", connections) }

// WithInFlightMax bounds the requests in flight on a connection; more wait.
func WithInFlightMax(requests int) Option { return WithSetting("in_flight_max", requests) }

// WithClientName is what the client calls itself to a server.
func WithClientName(name string) Option { return WithSetting("client_name", name) }

// Retry says how often, and how soon, a request is repeated that failed on its way to a server.
// Zero fields are left as they are.
type Retry struct {
	// Repetitions of a request; negative for none.
	Attempts int

	// The upper bound of the first pause; it doubles with each.
	BackoffMin time.Duration

	// The upper bound of all pauses.
	BackoffMax time.Duration
}

// WithRetry says how requests to a server are repeated.
func WithRetry(retry Retry) Option {
	values := map[string]any{}
	if retry.Attempts != 0 {
		values["attempts"] = max(retry.Attempts, 0)
	}
	if retry.BackoffMin > 0 {
		values["backoff_min_ms"] = retry.BackoffMin.Milliseconds()
	}
	if retry.BackoffMax > 0 {
		values["backoff_max_ms"] = retry.BackoffMax.Milliseconds()
	}
	return WithSetting("retry", values)
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
