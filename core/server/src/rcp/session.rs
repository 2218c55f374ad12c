//! What a connection has agreed on, and the credentials that were presented on it.

use rstmdb_protocol::handshake::{AuthRequest, AuthResult, HelloRequest, HelloResult, REPLICATE};
use rstmdb_protocol::{Dialect, PROTOCOL_VERSION, WireCommand, WireMode};
use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Result};

use super::parse::decode;
use crate::calls::Caller;
use crate::live::Live;

/// The state of a session.
#[derive(Debug, Default)]
pub(crate) struct Session {
    pub mode: WireMode,
    pub dialect: Dialect,
    pub client_name: Option<String>,
    /// It said that it comes to follow the log.
    is_replica: bool,
}

impl Session {
    /// Agrees on mode, dialect and features.
    pub(crate) fn hello(
        &mut self,
        caller: &mut Caller,
        params: &str,
        live: &Live,
    ) -> Result<HelloResult> {
        let request: HelloRequest<'_> = decode(WireCommand::Hello, params)?;
        if request.protocol_version != PROTOCOL_VERSION {
            let version = request.protocol_version;
            return Err(Error::new(
                ErrorCode::UnsupportedProtocol,
                format!("protocol version {version} is not known; this server speaks version 1"),
            ));
        }
        self.mode = request.wire_mode();
        self.dialect = request.dialect();
        let features = request.features_in_common();
        self.is_replica = features.iter().any(|name| name == REPLICATE);
        self.client_name = request.client_name.as_deref().map(str::to_owned);
        let is_told = self.dialect == Dialect::Extended && caller.is_open(live);
        let position = is_told.then(|| caller.position()).flatten();
        Ok(HelloResult {
            protocol_version: PROTOCOL_VERSION,
            wire_mode: self.mode.name().to_owned(),
            server_name: "rstmdb".to_owned(),
            server_version: env!("CARGO_PKG_VERSION").to_owned(),
            features,
            latest_offset: position.as_ref().map(|position| position.next - 1),
            history_id: position.and_then(|position| position.history_id),
            cluster: is_told.then(|| caller.cluster()).flatten(),
        })
    }

    /// Whether what comes now is a replica, which may follow.
    pub(crate) fn replicate(&self, caller: &Caller, live: &Live) -> Result<()> {
        if !self.is_replica {
            caller.check_open(live)?;
            let message = "REPLICATE is for replicas, which say hello with the features extended and replicate";
            return Err(Error::invalid(reason::INVALID_REQUEST, message).with("field", "op"));
        }
        if self.mode != WireMode::Frames {
            let message = "a replica says hello with the wire mode binary_json";
            return Err(
                Error::invalid(reason::INVALID_REQUEST, message).with("field", "wire_modes")
            );
        }
        caller.check_replica(live)
    }

    /// Checks credentials. A failure leaves an earlier success as it was.
    pub(crate) fn auth(
        &self,
        caller: &mut Caller,
        params: &str,
        live: &Live,
    ) -> Result<AuthResult> {
        let request: AuthRequest<'_> = decode(WireCommand::Auth, params)?;
        if let Some(method) = request.method.as_deref().filter(|method| *method != "bearer") {
            let message = format!("authentication method {method:?} is not known; use bearer");
            return Err(Error::new(ErrorCode::AuthFailed, message));
        }
        caller.authenticate(&request.token, live)?;
        let is_told = self.dialect == Dialect::Extended;
        let cluster = is_told.then(|| caller.cluster()).flatten();
        Ok(AuthResult { authenticated: true, cluster })
    }
}
