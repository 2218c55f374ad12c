//go:build cgo

package rstmdb

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"time"
)

// What is shown in place of a token.
const masked = "…"

// Format prints the options without the token, whatever the verb.
func (o Options) Format(f fmt.State, verb rune) {
	// A type without methods, so that this is not called again.
	type options Options
	if o.Auth != "" {
		o.Auth = masked
	}
	if verb == 'v' && f.Flag('#') {
		tls := "nil"
		if o.TLS != nil {
			tls = "&tls.Config{…}"
		}
		_, _ = fmt.Fprintf(f, "rstmdb.Options{Auth:%q, TLS:(*tls.Config)(%s), Timeout:%#v, RequestTimeout:%#v, ClientName:%q, WireMode:%q, Features:%#v}",
			o.Auth, tls, o.Timeout, o.RequestTimeout, o.ClientName, o.WireMode, o.Features)
		return
	}
	_, _ = fmt.Fprintf(f, fmt.FormatString(f, verb), options(o))
}

// MarshalJSON writes the options without the token, and of the TLS config only that there is one. It is
// for logs: Auth is to be set anew in what is read back.
func (o Options) MarshalJSON() ([]byte, error) {
	shown := struct {
		Auth           string        `json:",omitempty"`
		TLS            bool          `json:",omitempty"`
		Timeout        time.Duration `json:",omitempty"`
		RequestTimeout time.Duration `json:",omitempty"`
		ClientName     string        `json:",omitempty"`
		WireMode       string        `json:",omitempty"`
		Features       []string      `json:",omitempty"`
	}{"", o.TLS != nil, o.Timeout, o.RequestTimeout, o.ClientName, o.WireMode, o.Features}
	if o.Auth != "" {
		shown.Auth = masked
	}
	return json.Marshal(shown)
}

// LogValue is what slog writes: the options without the token.
func (o Options) LogValue() slog.Value { return slog.StringValue(fmt.Sprintf("%+v", o)) }
