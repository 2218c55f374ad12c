//! What the certificates of members prove, and what is wrong with one that proves nothing.

use std::io;

use rstmdb_types::error::reason;
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error};

use crate::peer::{PeerError, PeerRefusal};

/// The name or address in `host:port`.
pub(super) fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Whether a certificate is that of who is reached at this address.
///
/// Errors: when it is for others.
pub(super) fn check(certificate: &CertificateDer<'_>, address: &str) -> Result<(), PeerError> {
    let host = host_of(address);
    let is_named = ServerName::try_from(host).is_ok_and(|name| {
        let parsed = ParsedCertificate::try_from(certificate);
        parsed.is_ok_and(|parsed| verify_server_name(&parsed, &name).is_ok())
    });
    if is_named {
        return Ok(());
    }
    let what = format!(
        "the certificate that was presented is not for {host}, where the node says that it is: give it one of its own \
         (cluster.tls_cert_path) that names {host}, or correct its cluster.advertise"
    );
    Err(PeerError::Refusing(PeerRefusal::new(reason::INVALID_OPTION, what)))
}

/// A failure of TLS in words that say what to do; others as they are.
pub(super) fn told(error: io::Error, other: &str) -> PeerError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let Some(inner) = inner else { return PeerError::Io(error) };
    let renew = "renew it: the files are read again when they change";
    let what = match inner {
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => format!("the certificate of {other} has expired: {renew} there"),
        Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => format!("the certificate of {other} is not valid yet: look at the clocks"),
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => format!(
            "the certificate of {other} is for another name: give that node one (cluster.tls_cert_path) that names where it is"
        ),
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => format!(
            "the certificate of {other} is of another authority than cluster.tls_ca_path: give all members certificates of one"
        ),
        Error::AlertReceived(AlertDescription::CertificateExpired) => {
            format!("{other} says that this node's certificate has expired: {renew}")
        }
        Error::AlertReceived(AlertDescription::UnknownCA | AlertDescription::DecryptError) => {
            format!(
                "{other} does not know the authority of this node's certificate: give all members certificates of one"
            )
        }
        Error::NoCertificatesPresented => format!(
            "{other} presented no certificate: set cluster.tls_cert_path, cluster.tls_key_path and cluster.tls_ca_path there"
        ),
        _ => return PeerError::Io(error),
    };
    PeerError::Unproven(what)
}
