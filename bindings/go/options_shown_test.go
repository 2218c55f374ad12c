package rstmdb_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	rstmdb "github.com/rstmdb/rstmdb/bindings/go"
)

func TestOptionsDoNotShowTheToken(t *testing.T) {
	const secret = "s3cret-t0ken"
	options := rstmdb.Options{Auth: secret, TLS: rstmdb.InsecureTLS(), Timeout: time.Second, ClientName: "worker"}
	var shown []string
	for _, value := range []any{
		options, &options, []rstmdb.Options{options}, map[string]*rstmdb.Options{"a": &options},
		struct{ Options rstmdb.Options }{options}, struct{ rstmdb.Options }{options},
		rstmdb.WithToken(secret), rstmdb.WithSetting("token", secret), []rstmdb.Option{&options},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%10v", "%T"} {
			shown = append(shown, fmt.Sprintf(verb, value))
		}
		shown = append(shown, fmt.Sprint(value), fmt.Sprintln(value), fmt.Errorf("with %v", value).Error())
		if text, err := json.Marshal(value); err == nil {
			shown = append(shown, string(text))
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("open", "options", value)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("open", "options", value)
		shown = append(shown, log.String())
	}
	hex := fmt.Sprintf("%x", secret)
	for _, text := range shown {
		if strings.Contains(text, secret) || strings.Contains(text, hex) {
			t.Errorf("the token is shown: %s", text)
		}
	}
	for _, text := range []string{fmt.Sprintf("%+v", options), fmt.Sprintf("%#v", options)} {
		if !strings.Contains(text, "worker") || !strings.Contains(text, "…") {
			t.Errorf("%s", text)
		}
	}
	text, err := json.Marshal(&options)
	if err != nil || string(text) != `{"Auth":"…","TLS":true,"Timeout":1000000000,"ClientName":"worker"}` {
		t.Errorf("%s %v", text, err)
	}
	if text := fmt.Sprint((*rstmdb.Options)(nil)); text != "<nil>" {
		t.Errorf("%s", text)
	}
}

func TestErrorsDoNotShowTheToken(t *testing.T) {
	const secret = "s3cret-t0ken"
	for _, url := range []string{
		"rstmdb://" + secret + "@127.0.0.1:1", secret + "@127.0.0.1:1", "rstmdb://127.0.0.1:1?token=" + secret,
		"rstmdb://127.0.0.1:1?nope=" + secret, "rstmdb:" + secret + "@h", "http://" + secret + "@h",
	} {
		_, err := rstmdb.Open(t.Context(), url, rstmdb.WithRetry(rstmdb.Retry{Attempts: -1}))
		if strings.HasPrefix(url, "rstmdb://") {
			_, connect := rstmdb.Connect(t.Context(), url, &rstmdb.Options{Timeout: time.Second, Auth: secret})
			err = errors.Join(err, connect)
		}
		if err == nil {
			t.Fatalf("%s was opened", url)
		}
		for _, verb := range []string{"%v", "%+v", "%#v"} {
			if text := fmt.Sprintf(verb, err); strings.Contains(text, secret) {
				t.Errorf("the token is shown: %s", text)
			}
		}
	}
}
