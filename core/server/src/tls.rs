//! TLS for the listener: 1.2 and 1.3, client certificates where they are asked for.
//!
//! A new [`ServerConfig`] is for new connections; those that are open keep theirs.

use std::path::Path;
use std::sync::Arc;

use rstmdb_types::text::without_mark;
use rstmdb_types::{Error, Result};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::config::{TlsConfig, refused, required};

/// What the listener presents and demands; the files are read now.
pub fn server_config(tls: &TlsConfig) -> Result<Arc<ServerConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificate = required(&tls.cert_path, "tls.cert_path", "tls.enabled")?;
    let key = required(&tls.key_path, "tls.key_path", "tls.enabled")?;
    let chain = certificates(certificate, "tls.cert_path")?;
    let private = pem_text(key).and_then(|text| PrivateKeyDer::from_pem_slice(&text));
    let private = private.map_err(|error| {
        unreadable("tls.key_path", key, &error, "a PEM private key: PKCS#8, PKCS#1 or SEC1")
    })?;
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| refused("tls.enabled", format!("tls can't be set up: {error}")))?;
    let builder = if tls.require_client_cert {
        let authority =
            required(&tls.client_ca_path, "tls.client_ca_path", "tls.require_client_cert")?;
        builder.with_client_cert_verifier(verifier(authority, provider)?)
    } else {
        builder.with_no_client_auth()
    };
    let config = builder.with_single_cert(chain, private).map_err(|error| {
        let (certificate, key) = (certificate.display(), key.display());
        let message = format!(
            "the certificate {certificate} and the key {key} can't be used: {error}; check that \
             they belong together"
        );
        refused("tls.cert_path", message)
    })?;
    Ok(Arc::new(config))
}

fn verifier(
    authority: &Path,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    let unusable = |error: &dyn std::fmt::Display| {
        let message = format!(
            "tls.client_ca_path {} has no usable certificate authority: {error}",
            authority.display()
        );
        refused("tls.client_ca_path", message)
    };
    for certificate in certificates(authority, "tls.client_ca_path")? {
        roots.add(certificate).map_err(|error| unusable(&error))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| unusable(&error))
}

fn certificates(path: &Path, key: &str) -> Result<Vec<CertificateDer<'static>>> {
    let wanted = "a PEM certificate";
    let read = pem_text(path).and_then(|text| CertificateDer::pem_slice_iter(&text).collect());
    let chain: Vec<_> = read.map_err(|error| unreadable(key, path, &error, wanted))?;
    if chain.is_empty() {
        return Err(unreadable(key, path, &pem::Error::NoItemsFound, wanted));
    }
    Ok(chain)
}

/// The bytes of a PEM file without a byte order mark; what stands around the blocks may be in any encoding.
fn pem_text(path: &Path) -> std::result::Result<Vec<u8>, pem::Error> {
    let bytes = std::fs::read(path).map_err(pem::Error::Io)?;
    let text = without_mark(&bytes).map_err(|problem| pem::Error::Io(problem.into()))?;
    Ok(text.to_vec())
}

fn unreadable(key: &str, path: &Path, error: &pem::Error, wanted: &str) -> Error {
    let path = path.display();
    let message = match error {
        pem::Error::Io(error) => format!("can't read {key} {path}: {error}"),
        pem::Error::NoItemsFound => {
            format!("{key} {path} has no {}", wanted.trim_start_matches("a "))
        }
        // The details could show a part of a key.
        _ => format!("{key} {path} is not {wanted}"),
    };
    refused(key, message).with("file", path.to_string())
}
