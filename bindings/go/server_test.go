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

func TestOneOfSeveralHostsIsEnough(t *testing.T) {
	// Nobody listens at the first.
	hosts := "rstmdb://127.0.0.1:1," + strings.TrimPrefix(server(t), "rstmdb://")
	for _, reads := range []string{"linearizable", "session&zone=here", "bounded&max_lag=1s"} {
		db := open(t, hosts+"?read="+reads)
		if _, err := db.ListMachines(t.Context()); err != nil {
			t.Errorf("%s: %v", reads, err)
		}
	}
	for wrong, named := range map[string]string{"read=newest": "linearizable", "max_lag=1s": "read=bounded"} {
		if _, err := rstmdb.Open(t.Context(), hosts+"?"+wrong); err == nil || !strings.Contains(err.Error(), named) {
			t.Errorf("%s: %v", wrong, err)
		}
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
	ca := newAuthority(t).write(t, t.TempDir(), "ca")
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

// A listener that asks for a certificate sees the client's, and the client trusts it: what a config
// of TLSFromFiles says has reached the core.
func TestCertificatesOfBothSidesAreChecked(t *testing.T) {
	folder := t.TempDir()
	authority := newAuthority(t)
	ca := authority.write(t, folder, "ca")
	serverCert, serverKey := authority.issue(t, folder, "server")
	clientCert, clientKey := authority.issue(t, folder, "client")
	pair, err := tls.LoadX509KeyPair(serverCert, serverKey)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(authority.cert)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	names := make(chan string, 1)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if conn := conn.(*tls.Conn); conn.Handshake() == nil {
				select {
				case names <- conn.ConnectionState().PeerCertificates[0].Subject.CommonName:
				default:
				}
			}
			_ = conn.Close()
		}
	}()
	config, err := rstmdb.TLSFromFiles(ca, clientCert, clientKey)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	connected := make(chan error, 1)
	go func() {
		_, err := rstmdb.Connect(ctx, listener.Addr().String(), &rstmdb.Options{TLS: config})
		connected <- err
	}()
	select {
	case name := <-names:
		if name != "client" {
			t.Errorf("the client is %q", name)
		}
	case <-time.After(patience):
		t.Error("no handshake")
	}
	cancel()
	if err := <-connected; err == nil {
		t.Error("a listener that says nothing was taken for a server")
	}
}

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	return makeCertificate(t, "ca", nil)
}

// makeCertificate makes one that an authority signs, or one that signs itself.
func makeCertificate(t *testing.T, name string, by *authority) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	signer := authority{template, key}
	if by == nil {
		template.IsCA, template.BasicConstraintsValid = true, true
		template.KeyUsage = x509.KeyUsageCertSign
	} else {
		signer = *by
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer.cert, &key.PublicKey, signer.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, key}
}

func (a authority) write(t *testing.T, folder, name string) string {
	t.Helper()
	return writePEM(t, filepath.Join(folder, name+".pem"), "CERTIFICATE", a.cert.Raw)
}

// issue makes a certificate and its key, as files.
func (a authority) issue(t *testing.T, folder, name string) (string, string) {
	t.Helper()
	made := makeCertificate(t, name, &a)
	key, err := x509.MarshalPKCS8PrivateKey(made.key)
	if err != nil {
		t.Fatal(err)
	}
	return made.write(t, folder, name), writePEM(t, filepath.Join(folder, name+".key"), "PRIVATE KEY", key)
}

func writePEM(t *testing.T, path, kind string, der []byte) string {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
