//! TLS: whom to trust, and who the client is.

use std::path::Path;
use std::sync::Arc;

use rstmdb_types::Result;
use rstmdb_types::pem::{P521_ADVICE, decrypt_advice, has_encrypted_key, is_on_p521};
use rstmdb_types::text::without_mark;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::invalid_option;
use crate::options::TlsOptions;

/// Reads the certificates. Blocks.
pub(crate) fn config(options: &TlsOptions) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid_option("tls", format!("TLS can't be set up: {error}")))?;
    let builder = if options.insecure {
        tracing::warn!("certificates of servers are not checked: insecure is set");
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptAny(provider)))
    } else {
        builder.with_root_certificates(roots(options.ca.as_deref())?)
    };
    let config = match (&options.client_cert, &options.client_key) {
        (Some(cert), Some(key)) => {
            let chain = certificates("cert", cert)?;
            let private = private_key(key)?;
            let is_p521 = is_on_p521(private.secret_der());
            builder.with_client_auth_cert(chain, private).map_err(|error| match is_p521 {
                true => invalid_option("key", format!("key: {} {P521_ADVICE}", key.display())),
                false => {
                    invalid_option("cert", format!("the client certificate and its key: {error}"))
                }
            })?
        }
        (None, None) => builder.with_no_client_auth(),
        _ => return Err(invalid_option("cert", "cert and key belong together; give both")),
    };
    Ok(Arc::new(config))
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    let key = pem_text(path).and_then(|text| PrivateKeyDer::from_pem_slice(&text));
    key.map_err(|error| {
        let encrypted = std::fs::read_to_string(path).is_ok_and(|text| has_encrypted_key(&text));
        if !encrypted {
            return unreadable("key", path, &error);
        }
        let shown = path.display().to_string();
        invalid_option("key", format!("key: {shown} {}", decrypt_advice(&shown)))
            .with("path", shown)
    })
}

fn unreadable(option: &str, path: &Path, error: &pem::Error) -> rstmdb_types::Error {
    invalid_option(option, format!("{option}: {} is not readable PEM: {error}", path.display()))
        .with("path", path.display().to_string())
}

/// The bytes of a PEM file without a byte order mark; what stands around the blocks may be in any encoding.
fn pem_text(path: &Path) -> std::result::Result<Vec<u8>, pem::Error> {
    let bytes = std::fs::read(path).map_err(pem::Error::Io)?;
    let text = without_mark(&bytes).map_err(|problem| pem::Error::Io(problem.into()))?;
    Ok(text.to_vec())
}

fn certificates(option: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let bad = |error| unreadable(option, path, &error);
    let read = pem_text(path).and_then(|text| CertificateDer::pem_slice_iter(&text).collect());
    let found: Vec<_> = read.map_err(bad)?;
    if found.is_empty() {
        let message = format!("{option}: {} holds no certificate", path.display());
        return Err(invalid_option(option, message));
    }
    Ok(found)
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            for certificate in certificates("ca", path)? {
                roots.add(certificate).map_err(|error| {
                    invalid_option("ca", format!("ca: {}: {error}", path.display()))
                })?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            let (added, _) = roots.add_parsable_certificates(found.certs);
            if added == 0 {
                let message = "the system has no certificate authorities; name a file with ca=";
                return Err(invalid_option("ca", message));
            }
        }
    }
    Ok(roots)
}

/// Accepts any certificate; the handshake itself is still checked.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
