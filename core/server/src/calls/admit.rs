//! Who calls, whether they may, and whether they may now.

use std::sync::Arc;
use std::time::Instant;

use rstmdb_protocol::WireCommand;
use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Result};

use super::caller::Caller;
use super::failure::CountedError;
use crate::auth::Identity;
use crate::live::Live;

impl Caller {
    /// Checks a token. A failure leaves an earlier success as it was.
    pub fn authenticate(&mut self, token: &str, live: &Live) -> Result<()> {
        let failed = |message: &str| Err(Error::new(ErrorCode::AuthFailed, message));
        if token.is_empty() {
            return failed("the token is empty");
        }
        if let Some(identity) = live.replica_tokens.verify(token) {
            self.who.follows_as = Some(identity.name);
            if live.tokens.verify(token).is_none() {
                return Ok(());
            }
        }
        match live.tokens.verify(token) {
            Some(identity) => {
                self.is_known_as(identity);
                Ok(())
            }
            None if live.auth_required => failed("the token is not known"),
            None => Ok(()),
        }
    }

    /// Another member says that this token was presented there; whether it is accepted is decided here.
    pub(crate) fn vouched_for(&mut self, token: &str, live: &Live) {
        if let Some(identity) = live.tokens.named(token) {
            self.is_known_as(identity);
        }
    }

    fn is_known_as(&mut self, identity: Identity) {
        let requests = self.calls().metrics().token_requests(&identity.name);
        let who = &mut self.who;
        who.requests = Some(requests);
        who.name = Some(Arc::from(&*identity.name));
        who.identity = Some(identity);
        who.authenticated = true;
    }

    /// Whether this is a replica that may follow; else why not.
    pub(crate) fn check_replica(&self, live: &Live) -> Result<()> {
        let is_known = match live.replica_tokens.is_empty() {
            true => self.is_open(live),
            false => self.who.follows_as.is_some(),
        };
        if !is_known {
            let message = "a replica must present a token that is accepted here: set replication.auth_token there, and its \
                           hash, as `rstmdb-cli hash-token` prints it, in replication.auth_token_hashes here";
            return Err(Error::new(ErrorCode::Unauthorized, message)
                .with_operation(WireCommand::Replicate.wire_name()));
        }
        match self.calls().driver() {
            Some(driver) => driver.may_be_followed(),
            None => Err(Error::invalid(reason::UNSUPPORTED, "this server can't be followed")),
        }
    }

    /// The name of who presented a token.
    pub fn name(&self) -> Option<Arc<str>> {
        self.who.name.clone()
    }

    /// Whether the caller may do everything.
    pub fn is_open(&self, live: &Live) -> bool {
        self.who.authenticated || !live.auth_required
    }

    /// Refuses who may not do everything and has to say first who it is.
    pub(crate) fn check_open(&self, live: &Live) -> Result<()> {
        match self.is_open(live) {
            true => Ok(()),
            false => Err(Error::new(
                ErrorCode::Unauthorized,
                "authentication is required: send AUTH with a token first",
            )),
        }
    }

    /// Whether the settings end this session: its token is accepted no more, or it watches and one is
    /// required now.
    pub(crate) fn is_revoked(&self, live: &Live, watches: bool) -> bool {
        live.end_revoked
            && match &self.who.identity {
                Some(identity) => !live.tokens.lists(identity),
                None => live.auth_required && watches,
            }
    }

    /// Refuses a command that needs authentication first, or comes too soon after others. The refusal
    /// is counted.
    pub fn admit(&mut self, command: WireCommand, live: &Live) -> Result<()> {
        let admitted = self.check(command, live);
        if let Err(error) = &admitted {
            let now = Instant::now();
            self.answered(command, now, Some(CountedError::of(error)), now);
        }
        admitted
    }

    /// The same for an element of a batch, which is counted here.
    pub(crate) fn admit_element(&mut self, command: WireCommand, live: &Live) -> Result<()> {
        self.count_element(command);
        self.check(command, live)
    }

    fn check(&self, command: WireCommand, live: &Live) -> Result<()> {
        let who = &self.who;
        if let Some(requests) = &who.requests {
            requests.inc();
        }
        if !command.is_open() {
            self.check_open(live).map_err(|error| error.with_operation(command.wire_name()))?;
        }
        let token = who.identity.as_ref().and_then(|identity| identity.limiter.as_ref());
        for (limiter, whose) in [(who.limiter.as_ref(), "connection"), (token, "token")] {
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
}
