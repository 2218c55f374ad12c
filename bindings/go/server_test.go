package rstmdb_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	rstmdb "github.com/rstmdb/rstmdb/bindings/go"
)

func TestAServerIsUsedLikeADirectory(t *testing.T) {
	url := server(t)
	ctx := t.Context()
	client, err := rstmdb.Connect(ctx, strings.TrimPrefix(url, "rstmdb://"), &rstmdb.Options{
		Timeout: 5 * time.Second, RequestTimeout: 20 * time.Second, ClientName: "tests", WireMode: "binary_json",
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.PutMachine(ctx, rstmdb.PutMachineRequest{Machine: "loop", Version: 1, Definition: loop()}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CreateInstance(ctx, rstmdb.CreateInstanceRequest{InstanceID: "loop-1", Machine: "loop", Version: 1}); err != nil {
		t.Fatal(err)
	}
	sub, err := client.WatchAll(ctx)
	if err != nil {
		t.Fatal(err)
	}
	apply(t, client, "loop-1", "E", 1)
	if event := <-sub.Events; event.Payload["n"] != int64(1) {
		t.Errorf("%+v", event)
	}
	info, err := client.Info(ctx)
	if err != nil || info.Backend != "remote" {
		t.Errorf("%+v, %v", info, err)
	}
	if err := sub.Close(); err != nil {
		t.Error(err)
	}
	sub, err = client.WatchAll(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	within(t, "the watch", func() {
		for range sub.Events {
		}
	})
}

func TestFeaturesOfAServerAreAskedFor(t *testing.T) {
	url := server(t)
	db := open(t, url)
	info, err := db.Info(t.Context())
	if err != nil || len(info.Features) == 0 {
		t.Fatalf("%+v, %v", info, err)
	}
	if _, err := rstmdb.Connect(t.Context(), url, &rstmdb.Options{Features: info.Features}); err != nil {
		t.Error(err)
	}
	_, err = rstmdb.Connect(t.Context(), url, &rstmdb.Options{Features: []string{"telepathy"}})
	var found *rstmdb.Error
	if !errors.As(err, &found) || found.Reason != rstmdb.ReasonUnsupported || !strings.Contains(found.Message, "telepathy") {
		t.Errorf("%v", err)
	}
}

func TestAServerThatIsNotThereIsUnavailable(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	_ = listener.Close()
	db, err := rstmdb.Open(t.Context(), "rstmdb://"+addr, rstmdb.WithRetry(rstmdb.Retry{Attempts: -1}), rstmdb.WithConnectTimeout(time.Second))
	if err == nil {
		err = db.Ping(t.Context())
		_ = db.Close()
	}
	if !errors.Is(err, rstmdb.ErrUnavailable) || !rstmdb.IsRetryable(err) {
		t.Errorf("%v", err)
	}
}

// A listener that accepts and says nothing: only the deadline ends the waiting.
func TestADeadlineReachesARequestOnItsWay(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			select {
			case accepted <- conn:
			default:
				_ = conn.Close()
			}
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	within(t, "the request", func() {
		db, err := rstmdb.Open(ctx, "rstmdb://"+listener.Addr().String())
		if err == nil {
			err = db.Ping(ctx)
			_ = db.Close()
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
	select {
	case conn := <-accepted:
		_ = conn.Close()
	default:
	}
}

func TestTLSConfigsAreHandedToTheCore(t *testing.T) {
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, certificate(t), 0o600); err != nil {
		t.Fatal(err)
	}
	fromFiles, err := rstmdb.TLSFromFiles(ca, "", "")
	if err != nil {
		t.Fatal(err)
	}
	for name, config := range map[string]*tls.Config{
		"files": fromFiles, "copy": fromFiles.Clone(), "insecure": rstmdb.InsecureTLS(), "empty": {ServerName: "db.example"},
	} {
		// A server without TLS does not answer; the config itself is no reason to refuse.
		url := server(t)
		_, err := rstmdb.Connect(t.Context(), url, &rstmdb.Options{TLS: config, Timeout: time.Second, RequestTimeout: 2 * time.Second})
		if err == nil || errors.Is(err, rstmdb.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, config := range map[string]*tls.Config{
		"pool": {RootCAs: x509.NewCertPool()}, "certificate": {Certificates: []tls.Certificate{{}}},
		"callback": {VerifyConnection: func(tls.ConnectionState) error { return nil }},
	} {
		if _, err := rstmdb.Open(t.Context(), "rstmdb://localhost", rstmdb.WithTLS(config)); !errors.Is(err, rstmdb.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := rstmdb.TLSFromFiles("no such file", "", ""); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if _, err := rstmdb.TLSFromFiles(ca, "cert", ""); !errors.Is(err, rstmdb.ErrInvalid) {
		t.Errorf("%v", err)
	}
}

// certificate makes an authority, as PEM.
func certificate(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "tests"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
