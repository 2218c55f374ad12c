//! The way to the server that is followed.

use rstmdb_client::{Endpoint, Options, TlsOptions, upgrade};
use rstmdb_cluster::peer::{PeerError, PeerRefusal};
use rstmdb_protocol::WireCommand;
use rstmdb_protocol::handshake::REPLICATE;

use crate::calls::NodeStream;
use crate::config::ReplicationConfig;

/// Connects to a server and asks it to be followed: what comes then is the protocol of nodes.
pub(super) async fn connect(
    config: &ReplicationConfig,
    name: &str,
    address: &str,
) -> Result<Box<dyn NodeStream>, PeerError> {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut options = Options {
        endpoints: vec![Endpoint::new(host, port.parse().unwrap_or_default())],
        client_name: format!("replica {name}"),
        token: config.auth_token.as_ref().map(|token| token.reveal().to_owned()),
        ..Options::default()
    };
    if config.tls_enabled {
        options.tls = Some(TlsOptions {
            ca: config.tls_ca_path.clone(),
            insecure: config.tls_insecure,
            client_cert: config.tls_cert_path.clone(),
            client_key: config.tls_key_path.clone(),
            ..TlsOptions::default()
        });
    }
    match upgrade(options, REPLICATE, WireCommand::Replicate).await {
        Ok((stream, _)) => Ok(Box::new(stream)),
        // Whatever it is may be mended at the other end.
        Err(error) => {
            let word = error.reason().unwrap_or(error.code().as_str());
            Err(PeerError::Refused(PeerRefusal::for_now(word, error.message())))
        }
    }
}
