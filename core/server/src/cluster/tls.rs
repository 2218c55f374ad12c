//! Certificates of members: each side proves to the other that the group's authority knows it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rstmdb_cluster::net::{PeerNode, PeerTls};
use rstmdb_types::Result;
use rustls::{ClientConfig, RootCertStore};

use crate::config::{ClusterConfig, TlsConfig, refused};
use crate::metrics::Metrics;
use crate::tls::{certificates, presented, private_key};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Presents other certificates when the files of the settings change, for connections from then on. Ends only by being dropped.
pub(super) async fn renew(cluster: ClusterConfig, local: Arc<PeerNode>, metrics: Arc<Metrics>) {
    let mut seen = seen(&cluster);
    loop {
        tokio::time::sleep(LOOK).await;
        let now = self::seen(&cluster);
        if now == seen {
            continue;
        }
        seen = now;
        match of_peers(&cluster, &metrics) {
            Ok(tls) => {
                local.present(tls);
                tracing::info!("the certificates of cluster.tls_* were read again");
            }
            Err(error) => {
                tracing::warn!("the certificates stay what they were: {}", error.message());
            }
        }
    }
}

/// When each of the files was written, and how long it is.
fn seen(cluster: &ClusterConfig) -> Vec<Option<(SystemTime, u64)>> {
    let paths = [&cluster.tls_cert_path, &cluster.tls_key_path, &cluster.tls_ca_path];
    let look = |path: &Option<PathBuf>| {
        let metadata = std::fs::metadata(path.as_ref()?).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    paths.into_iter().map(look).collect()
}

/// What members present and demand; nothing where no certificates are set.
pub(super) fn of_peers(cluster: &ClusterConfig, metrics: &Metrics) -> Result<Option<PeerTls>> {
    let (Some(cert), Some(key), Some(ca)) =
        (&cluster.tls_cert_path, &cluster.tls_key_path, &cluster.tls_ca_path)
    else {
        return Ok(None);
    };
    let named = |error: rstmdb_types::Error| {
        let message = error.message().replace("tls.client_ca_path", "cluster.tls_ca_path");
        let message = message.replace("tls.cert_path", "cluster.tls_cert_path");
        refused("cluster.tls_cert_path", message.replace("tls.key_path", "cluster.tls_key_path"))
    };
    let server = presented(&TlsConfig {
        enabled: true,
        cert_path: Some(cert.clone()),
        key_path: Some(key.clone()),
        require_client_cert: true,
        client_ca_path: Some(ca.clone()),
    })
    .map_err(named)?;
    if let Some(end) = server.end {
        metrics.certificate_ends("peers", end);
    }
    for remark in &server.remarks {
        tracing::warn!("of the group's TLS: {remark}");
    }
    let mut roots = RootCertStore::empty();
    for authority in certificates(ca, "cluster.tls_ca_path")? {
        roots.add(authority).map_err(|error| {
            let what =
                format!("cluster.tls_ca_path {} has no usable authority: {error}", ca.display());
            refused("cluster.tls_ca_path", what)
        })?;
    }
    let unusable = |error: rustls::Error| {
        let what = format!("the certificate and the key of cluster.tls_* can't be used: {error}");
        refused("cluster.tls_cert_path", what)
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(unusable)?
        .with_root_certificates(roots)
        .with_client_auth_cert(
            certificates(cert, "cluster.tls_cert_path")?,
            private_key(key).map_err(named)?,
        )
        .map_err(unusable)?;
    Ok(Some(PeerTls { server: server.config, client: Arc::new(client) }))
}
