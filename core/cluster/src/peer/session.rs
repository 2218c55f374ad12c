//! A client's session that a member passes on to who leads.

use std::net::SocketAddr;

use super::fields::{BodyReader, BodyWriter};
use super::malformed::MessageError;

/// What was said on a client's connection before its first request that only the leader can answer. Whoever passes it on
/// vouches for who the client is; what that one may is decided where the session goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedSession {
    /// Where the client is.
    pub address: SocketAddr,
    /// Whether messages are lines.
    pub speaks_lines: bool,
    /// The name of the token that it presented; empty: none.
    pub token: String,
    /// What it calls itself; empty: it did not say.
    pub client: String,
}

impl PassedSession {
    pub(super) fn encode(&self, body: &mut BodyWriter) {
        body.u16(self.speaks_lines.into()).text(&self.address.to_string());
        body.text(&self.token).text(&self.client);
    }

    pub(super) fn decode(body: &mut BodyReader<'_>) -> Result<PassedSession, MessageError> {
        let speaks_lines = body.flag("lines")?;
        let address = body.text("address")?.parse().map_err(|_| body.wrong("address"))?;
        let (token, client) = (body.text("token")?, body.text("client")?);
        Ok(PassedSession { address, speaks_lines, token, client })
    }
}
