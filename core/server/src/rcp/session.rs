//! What a connection has agreed on and who is at its other end.

use std::sync::Arc;

use prometheus::IntCounter;
use rstmdb_protocol::handshake::{AuthRequest, HelloRequest, HelloResult};
use rstmdb_protocol::{Command, Dialect, PROTOCOL_VERSION, WireMode};
use rstmdb_types::{Error, ErrorCode, Result};

use super::answer::decode;
use crate::auth::{Identity, RequestLimiter};
use crate::config::Live;
use crate::metrics::Metrics;

/// The state of a session.
#[derive(Debug, Default)]
pub(crate) struct Session {
    pub mode: WireMode,
    pub dialect: Dialect,
    pub client_name: Option<String>,
    identity: Option<Identity>,
    /// A token was accepted.
    authenticated: bool,
    limiter: Option<Arc<RequestLimiter>>,
    /// Counts the requests of whoever presented a token.
    requests: Option<IntCounter>,
}

impl Session {
    pub(crate) fn new(limiter: Option<RequestLimiter>) -> Session {
        Session { limiter: limiter.map(Arc::new), ..Session::default() }
    }

    /// Whether the connection may do everything.
    pub(crate) fn is_open(&self, live: &Live) -> bool {
        self.authenticated || !live.auth_required
    }

    /// Counts a request for whoever sent it.
    pub(crate) fn count(&self) {
        if let Some(requests) = &self.requests {
            requests.inc();
        }
    }

    /// Refuses a command that needs authentication first, or comes too soon after others.
    pub(crate) fn admit(&self, command: Command, live: &Live) -> Result<()> {
        if !command.is_open() && !self.is_open(live) {
            return Err(Error::new(
                ErrorCode::Unauthorized,
                "authentication is required: send AUTH with a token first",
            )
            .with_operation(command.wire_name()));
        }
        let token = self.identity.as_ref().and_then(|identity| identity.limiter.as_ref());
        for (limiter, whose) in [(self.limiter.as_ref(), "connection"), (token, "token")] {
            if limiter.is_some_and(|limiter| limiter.check().is_err()) {
                return Err(Error::new(
                    ErrorCode::RateLimited,
                    format!("too many requests per second for this {whose}; slow down and retry"),
                )
                .with_operation(command.wire_name()));
            }
        }
        Ok(())
    }

    /// Agrees on mode, dialect and features.
    pub(crate) fn hello(&mut self, params: &str) -> Result<HelloResult> {
        let request: HelloRequest<'_> = decode(Command::Hello, params)?;
        if request.protocol_version != PROTOCOL_VERSION {
            let version = request.protocol_version;
            return Err(Error::new(
                ErrorCode::UnsupportedProtocol,
                format!("protocol version {version} is not known; this server speaks version 1"),
            ));
        }
        self.mode = request.wire_mode();
        self.dialect = request.dialect();
        self.client_name = request.client_name.as_deref().map(str::to_owned);
        Ok(HelloResult {
            protocol_version: PROTOCOL_VERSION,
            wire_mode: self.mode.name().to_owned(),
            server_name: "rstmdb".to_owned(),
            server_version: env!("CARGO_PKG_VERSION").to_owned(),
            features: request.features_in_common(),
        })
    }

    /// Checks credentials. A failure leaves an earlier success as it was.
    pub(crate) fn auth(
        &mut self,
        params: &str,
        live: &Live,
        metrics: &Metrics,
    ) -> Result<serde_json::Value> {
        let request: AuthRequest<'_> = decode(Command::Auth, params)?;
        let failed = |message: &str| Err(Error::new(ErrorCode::AuthFailed, message));
        if let Some(method) = request.method.as_deref().filter(|method| *method != "bearer") {
            return failed(&format!("authentication method {method:?} is not known; use bearer"));
        }
        if request.token.is_empty() {
            return failed("the token is empty");
        }
        match live.tokens.verify(&request.token) {
            Some(identity) => {
                self.requests = Some(metrics.token_requests(&identity.name));
                self.identity = Some(identity);
                self.authenticated = true;
            }
            None if live.auth_required => return failed("the token is not known"),
            None => {}
        }
        Ok(serde_json::json!({ "authenticated": true }))
    }

    /// Who presented a token.
    pub(crate) fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }
}
