//go:build cgo

package rstmdb

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"runtime"
	"sync"
	"weak"
)

// tlsFiles are where a config that TLSFromFiles made comes from. The core reads PEM files itself, and
// what is in a tls.Config can't be turned back into them.
type tlsFiles struct{ ca, cert, key string }

// Keyed by RootCAs, which copies of a config share.
var tlsKnown sync.Map // weak.Pointer[x509.CertPool] to tlsFiles

// TLSFromFiles makes the config for a server whose certificate is signed by an authority in the PEM
// file ca, or by one of the system when ca is "". With cert and key, PEM files too, the client has a
// certificate of its own.
func TLSFromFiles(ca, cert, key string) (*tls.Config, error) {
	if (cert == "") != (key == "") {
		return nil, invalidOption("a certificate and its key belong together; give both or none")
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca == "" {
		pool, err := x509.SystemCertPool()
		if err != nil {
			return nil, err
		}
		config.RootCAs = pool
	} else {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, invalidOption(ca + " has no PEM certificate")
		}
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	pool := weak.Make(config.RootCAs)
	tlsKnown.Store(pool, tlsFiles{ca, cert, key})
	runtime.AddCleanup(config.RootCAs, func(pool weak.Pointer[x509.CertPool]) { tlsKnown.Delete(pool) }, pool)
	return config, nil
}

// InsecureTLS makes the config that accepts ANY certificate. Whoever sits between client and server
// can then read and change everything, the token included. For experiments only.
func InsecureTLS() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true}
}

// tlsSettings says to the core what a config says, and refuses what would be lost.
func tlsSettings(config *tls.Config) (any, error) {
	if config == nil {
		return false, nil
	}
	values := map[string]any{}
	files, known := tlsKnown.Load(weak.Make(config.RootCAs))
	if known && config.RootCAs != nil {
		files := files.(tlsFiles)
		for name, path := range map[string]string{"ca": files.ca, "client_cert": files.cert, "client_key": files.key} {
			if path != "" {
				values[name] = path
			}
		}
	} else if config.RootCAs != nil || len(config.Certificates) > 0 || config.GetClientCertificate != nil {
		return nil, invalidOption("RootCAs and Certificates of a tls.Config can't be handed to the core, which reads PEM files; make the config with TLSFromFiles")
	}
	if config.VerifyPeerCertificate != nil || config.VerifyConnection != nil {
		return nil, invalidOption("the core can't call VerifyPeerCertificate or VerifyConnection of a tls.Config; leave them out")
	}
	if config.ServerName != "" {
		values["server_name"] = config.ServerName
	}
	if config.InsecureSkipVerify {
		values["insecure"] = true
	}
	return values, nil
}
