//! TLS for the listener: 1.2 and 1.3, client certificates where they are asked for.
//!
//! A new [`ServerConfig`] is for new connections; those that are open keep theirs.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rstmdb_types::pem::{
    AUTHORITY_ADVICE, P521_ADVICE, decrypt_advice, has_encrypted_key, is_on_p521,
};
use rstmdb_types::text::without_mark;
use rstmdb_types::{Error, Result};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use webpki::{EndEntityCert, KeyUsage};

use crate::config::{TlsConfig, refused, required};

/// What the listener presents and demands.
#[derive(Debug)]
pub(crate) struct Presented {
    pub config: Arc<ServerConfig>,
    /// When the first certificate of its chain ends, in seconds since 1970.
    pub end: Option<u64>,
    /// What clients will not like about it, each in a sentence.
    pub remarks: Vec<String>,
}

/// Reads the files now.
pub(crate) fn presented(tls: &TlsConfig) -> Result<Presented> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificate = required(&tls.cert_path, "tls.cert_path", "tls.enabled")?;
    let key = required(&tls.key_path, "tls.key_path", "tls.enabled")?;
    let chain = certificates(certificate, "tls.cert_path")?;
    let private = private_key(key)?;
    let is_p521 = is_on_p521(private.secret_der());
    let mut remarks = leaf_remark(certificate, &chain).into_iter().collect::<Vec<_>>();
    remarks.extend(validity_remarks("tls.cert_path", certificate, &chain));
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| refused("tls.enabled", format!("tls can't be set up: {error}")))?;
    let builder = if tls.require_client_cert {
        let authority =
            required(&tls.client_ca_path, "tls.client_ca_path", "tls.require_client_cert")?;
        let authorities = certificates(authority, "tls.client_ca_path")?;
        remarks.extend(validity_remarks("tls.client_ca_path", authority, &authorities));
        builder.with_client_cert_verifier(verifier(authority, authorities, provider)?)
    } else {
        builder.with_no_client_auth()
    };
    let end = chain.iter().filter_map(end_of).min();
    let config = builder.with_single_cert(chain, private).map_err(|error| {
        let (certificate, key) = (certificate.display(), key.display());
        if is_p521 {
            return refused("tls.key_path", format!("the key {key} {P521_ADVICE}"));
        }
        let message = format!(
            "the certificate {certificate} and the key {key} can't be used: {error}; check that \
             they belong together"
        );
        refused("tls.cert_path", message)
    })?;
    Ok(Presented { config: Arc::new(config), end, remarks })
}

/// When a certificate ends.
fn end_of(certificate: &CertificateDer<'_>) -> Option<u64> {
    // Nothing else of the library says so: it is asked at a time when every certificate has ended.
    let late = UnixTime::since_unix_epoch(Duration::from_secs(i64::MAX.unsigned_abs()));
    match inspect(certificate, late).err()? {
        webpki::Error::CertExpired { not_after, .. } => Some(not_after.as_secs()),
        _ => None,
    }
}

pub(crate) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    let key = pem_text(path).and_then(|text| PrivateKeyDer::from_pem_slice(&text));
    key.map_err(|error| {
        let encrypted = std::fs::read_to_string(path).is_ok_and(|text| has_encrypted_key(&text));
        if encrypted {
            let shown = path.display().to_string();
            let message = format!("tls.key_path {shown} {}", decrypt_advice(&shown));
            return refused("tls.key_path", message).with("file", shown);
        }
        unreadable("tls.key_path", path, &error, "a PEM private key: PKCS#8, PKCS#1 or SEC1")
    })
}

/// What is wrong with a certificate at this time, but for who signed it.
fn inspect(
    certificate: &CertificateDer<'_>,
    now: UnixTime,
) -> std::result::Result<(), webpki::Error> {
    let found = EndEntityCert::try_from(certificate)?;
    let usage = KeyUsage::server_auth();
    match found.verify_for_usage(&[], &[], &[], now, usage, None, None) {
        Err(error) if error != webpki::Error::UnknownIssuer => Err(error),
        _ => Ok(()),
    }
}

/// What clients will say of the certificate that they are shown first.
fn leaf_remark(path: &Path, chain: &[CertificateDer<'_>]) -> Option<String> {
    let problem = inspect(chain.first()?, UnixTime::now()).err()?;
    let what = match problem {
        webpki::Error::CaUsedAsEndEntity => AUTHORITY_ADVICE.to_owned(),
        webpki::Error::RequiredEkuNotFoundContext(_) => {
            "is not for servers: its extended key usage lacks serverAuth".to_owned()
        }
        _ => return None,
    };
    Some(format!("the certificate tls.cert_path {} {what}", path.display()))
}

/// Which of the certificates of a file are out of date.
fn validity_remarks(
    key: &str,
    path: &Path,
    certificates: &[CertificateDer<'_>],
) -> impl Iterator<Item = String> {
    let date = |time: UnixTime| {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs());
        humantime::format_rfc3339_seconds(time)
    };
    certificates.iter().enumerate().filter_map(move |(place, certificate)| {
        let when = match inspect(certificate, UnixTime::now()).err()? {
            webpki::Error::CertExpired { not_after, .. } => {
                format!("has expired, on {}; renew it", date(not_after))
            }
            webpki::Error::CertNotValidYet { not_before, .. } => {
                format!("is not valid before {}; look at the clock", date(not_before))
            }
            _ => return None,
        };
        let number = place + 1;
        Some(format!("certificate {number} of {key} {} {when}", path.display()))
    })
}

fn verifier(
    authority: &Path,
    authorities: Vec<CertificateDer<'static>>,
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
    for certificate in authorities {
        if is_on_p521(&certificate) {
            return Err(unusable(&format!("its key {P521_ADVICE}")));
        }
        roots.add(certificate).map_err(|error| unusable(&error))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| unusable(&error))
}

pub(crate) fn certificates(path: &Path, key: &str) -> Result<Vec<CertificateDer<'static>>> {
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
