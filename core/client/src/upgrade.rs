//! Connections that begin as those of a client and are for something else then.

use rstmdb_protocol::WireCommand;
use rstmdb_types::Result;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::connect::{self, ConnectSettings, SeenOffset};
use crate::error::invalid_option;
use crate::nodes::Nodes;
use crate::options::Options;
use crate::runtime;
use crate::server::ServerInfo;
use crate::tls;

/// Reaches the one server of the options, says hello with a feature more, presents the token, and asks for a command. Once the
/// server has agreed, the connection is for what comes then, and nothing of it was read. Needs a Tokio runtime.
///
/// Errors: as [`Client::connect`](crate::Client::connect); `BAD_REQUEST`, reason `unsupported`, when the server does not know the feature.
pub async fn upgrade(
    options: Options,
    feature: &'static str,
    command: WireCommand,
) -> Result<(impl AsyncRead + AsyncWrite + Unpin + Send + Sync + use<>, ServerInfo)> {
    let [endpoint] = &*options.endpoints else {
        return Err(invalid_option("endpoints", "one server is to be named"));
    };
    let endpoint = endpoint.clone();
    let tls = match options.tls.clone() {
        Some(tls) => Some(runtime::unblock(move || tls::config(&tls)).await?),
        None => None,
    };
    let timeout = options.connect_timeout;
    let nodes = Nodes::new(options.endpoints.clone(), None);
    let settings = ConnectSettings { options, tls, nodes, seen: SeenOffset::default() };
    let reached = connect::beyond(&settings, &endpoint, feature, command);
    connect::within(timeout, &endpoint, reached).await
}
