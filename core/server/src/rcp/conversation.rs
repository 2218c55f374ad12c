//! What is said on a connection: requests in, answers and events out.

use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Instant;

use rstmdb_cluster::peer::PassedSession;
use rstmdb_protocol::{Dialect, Malformed, WireCommand, WireMode, WireRequest, message};
use rstmdb_types::error::reason;
use rstmdb_types::operation::Place;
use rstmdb_types::{Error, Operation, limits};
use serde_json::{Value, json};

use super::Rcp;
use super::database;
use super::form::AnswerForm;
use super::outbox::Outbox;
use super::parse::{self, decode};
use super::passing::Passing;
use super::reply::{Reply, SideWork};
use super::session::Session;
use super::watches::Watches;
use crate::calls::{Caller, CountedError, failed};
use crate::live::Live;
use crate::sessions::ListedSession;

/// Failed attempts to authenticate after which a connection ends.
const AUTH_FAILURES_MAX: u32 = 10;
/// Events are written ahead so far: the others wait in the log, where they take no memory.
const EVENT_BYTES: usize = 64 << 10;
/// Of a name that is not known, this much is shown.
const SHOWN_CHARACTERS: usize = 100;

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The client closed its side.
    Client,
    /// The client said goodbye.
    Bye,
    /// The client broke the rules of the protocol.
    Protocol,
    /// The client was silent, or stuck in a frame, for too long.
    Timeout,
    /// A subscription ended and the client knows no message for that.
    Watch,
    /// Its token is accepted no more.
    Revoked,
    /// Who looks after the server ended it.
    Ended,
    /// This node led, and does so no more.
    Led,
    /// The server stops.
    Shutdown,
    /// The connection broke.
    Broken,
    /// It is a replica's from now on.
    Replica,
    /// It is carried to who leads from now on.
    Passed,
}

/// What requests act on.
pub(crate) struct Conversation {
    pub caller: Caller,
    pub session: Session,
    pub outbox: Outbox,
    pub watches: Watches,
    pub listed: ListedSession,
    pub job: Option<SideWork>,
    /// Set when the connection ends as soon as what is due was sent.
    pub ending: Option<End>,
    pub active: Instant,
    /// Whether it ever was in use: it asked for something that everybody may, or after it said who it is.
    pub is_begun: bool,
    pub address: SocketAddr,
    /// Where this node is one of several.
    pub passing: Option<Box<Passing>>,
    auth_failures: u32,
}

impl Conversation {
    pub(crate) fn new(rcp: &Rcp, address: SocketAddr, now: Instant) -> Conversation {
        Conversation {
            caller: Caller::new(&rcp.calls),
            session: Session::default(),
            outbox: Outbox::default(),
            watches: Watches::new(rcp.audiences.clone()),
            listed: rcp.sessions.begin(address),
            job: None,
            ending: None,
            active: now,
            is_begun: false,
            address,
            passing: rcp.relay.clone().map(|relay| Box::new(Passing::new(Some(relay), None))),
            auth_failures: 0,
        }
    }

    /// One that began at another member, which says who it is.
    pub(crate) fn passed_on(rcp: &Rcp, session: &PassedSession, now: Instant) -> Conversation {
        let mut core = Conversation::new(rcp, session.address, now);
        let live = rcp.calls.settings().load();
        core.caller.vouched_for(&session.token, &live);
        core.session.mode = if session.speaks_lines { WireMode::Lines } else { WireMode::Frames };
        let client = Some(session.client.as_str()).filter(|client| !client.is_empty());
        core.session.client_name = client.map(str::to_owned);
        core.listed.set_who(core.caller.name(), client);
        core.is_begun = true;
        let epoch = core.caller.standing().epoch;
        core.passing = Some(Box::new(Passing::new(None, Some(epoch))));
        core
    }

    /// Takes what came of looking for who leads.
    pub(crate) fn finish_passing(&mut self, context: &mut Context<'_>) -> bool {
        let Some(is_found) = self.passing.as_mut().and_then(|passing| passing.poll(context)) else {
            return false;
        };
        if is_found && self.ending.is_none() {
            self.ending = Some(End::Passed);
        }
        true
    }

    /// Whether who leads is looked for.
    pub(crate) fn is_sought(&self) -> bool {
        self.passing.as_ref().is_some_and(|passing| passing.is_sought())
    }

    /// Whether the session belonged to who led, which is another one now.
    pub(crate) fn is_out_of_place(&mut self) -> bool {
        let (passing, caller) = (&self.passing, &mut self.caller);
        passing.as_ref().is_some_and(|passing| passing.is_over(caller.standing()))
    }

    /// Whether a request waits for the session to be passed on.
    fn pass_on(&mut self, command: WireCommand) -> bool {
        let needs_leader = match command {
            WireCommand::Database(operation) => !operation.is_about_node(),
            _ => false,
        };
        let Some(passing) = &mut self.passing else { return false };
        let is_plain = self.session.dialect == Dialect::Plain;
        if !is_plain || !needs_leader || !passing.goes_on(self.caller.standing()) {
            return false;
        }
        passing.seek(PassedSession {
            address: self.address,
            speaks_lines: self.session.mode == WireMode::Lines,
            token: self.caller.name().as_deref().unwrap_or_default().to_owned(),
            client: self.session.client_name.clone().unwrap_or_default(),
        });
        true
    }

    /// Lets answers out whose commits are known: see [`Outbox::settle`].
    pub(crate) fn settle(&mut self, context: Option<&mut Context<'_>>, now: Instant) -> bool {
        self.outbox.settle(context, now, &mut self.caller)
    }

    /// Takes the answer of the request that was made elsewhere or later.
    pub(crate) fn finish_job(&mut self, context: &mut Context<'_>, now: Instant) -> bool {
        let Some(job) = &mut self.job else { return false };
        let Poll::Ready(finished) = job.task.as_mut().poll(context) else { return false };
        let Some(job) = self.job.take() else { return false };
        let written = finished.unwrap_or_else(|failure| {
            tracing::error!(command = job.form.command.wire_name(), "a request failed: {failure}");
            job.form.known::<Value>(Err(failed()))
        });
        let begin = self.outbox.buffer().len();
        self.outbox.buffer().extend_from_slice(&written.bytes);
        let (caller, error) = (&mut self.caller, written.error);
        match written.commit {
            Some(commit) => {
                self.outbox.hold(begin, commit, job.began, &job.form, error, caller);
            }
            None => caller.answered(job.form.command, job.began, error, now),
        }
        self.active = now;
        if let Some(watch) = written.watch {
            self.watches.add(*watch);
        }
        true
    }

    /// Whether another request may be begun.
    pub(crate) fn has_room(&self, live: &Live) -> bool {
        self.ending.is_none()
            && self.job.is_none()
            && !self.is_sought()
            && self.outbox.open_gates() < live.network.max_in_flight_requests.max(1)
            && self.outbox.waiting_bytes() <= live.network.max_buffered_response_bytes
    }

    /// Answers a request, or begins to; not when it waits for the session to be passed on, and it is not taken then.
    pub(crate) fn request(&mut self, payload: &[u8], live: &Live, now: Instant) -> bool {
        if self.session.mode == WireMode::Lines && payload.trim_ascii().is_empty() {
            return true;
        }
        match parse::message(payload) {
            Ok(request) => {
                if !self.answer(request, live, now) {
                    return false;
                }
                self.is_begun |= self.caller.is_open(live);
            }
            Err(Malformed { id: Some(id), message }) => {
                let error = Error::invalid(reason::INVALID_REQUEST, message);
                message::refuse(self.outbox.buffer(), self.session.mode, &id, &error);
                self.caller.count_error(CountedError::of(&error));
            }
            Err(Malformed { id: None, message }) => {
                tracing::debug!("closing a connection: {message}");
                self.ending = Some(End::Protocol);
            }
        }
        true
    }

    fn answer(&mut self, request: WireRequest<'_>, live: &Live, now: Instant) -> bool {
        let params = request.params_text();
        let Some(command) = WireCommand::from_wire_name(&request.op) else {
            let error = unknown(&request);
            message::refuse(self.outbox.buffer(), self.session.mode, &request.id, &error);
            self.caller.count_error(CountedError::of(&error));
            return true;
        };
        let admitted = self.caller.admit(command, live);
        if admitted.is_ok() && self.pass_on(command) {
            return false;
        }
        let hello = (command == WireCommand::Hello && admitted.is_ok())
            .then(|| self.session.hello(&mut self.caller, params, live));
        // The answer to a hello is in the mode that was agreed on.
        let form = AnswerForm {
            id: request.id.as_ref().into(),
            command,
            mode: self.session.mode,
            dialect: self.session.dialect,
            wish: request.wish.filter(|_| self.session.dialect == Dialect::Extended),
        };
        if let Err(error) = admitted {
            message::refuse(self.outbox.buffer(), form.mode, &form.id, &error);
            return true;
        }
        let auth = (command == WireCommand::Auth)
            .then(|| self.session.auth(&mut self.caller, params, live));
        if command == WireCommand::Database(Operation::Ping) {
            self.watches.hurry_progress(now);
        }
        if matches!(command, WireCommand::Hello | WireCommand::Auth) {
            self.listed.set_who(self.caller.name(), self.session.client_name.as_deref());
        }
        let (caller, outbox) = (&mut self.caller, &mut self.outbox);
        let reply = Reply { caller, outbox, form, began: now };
        match command {
            WireCommand::Database(operation)
                if operation.place() == Place::Stream
                    && self.watches.len() >= live.network.max_subscriptions =>
            {
                let most = live.network.max_subscriptions;
                let checked = limits::check("watches", most + 1, "max_subscriptions", most);
                reply.with::<Value>(checked.map(|()| &Value::Null));
            }
            WireCommand::Database(operation) => {
                self.job = match request.request {
                    Some(request) => database::carry_out(reply, request),
                    None => database::answer(reply, operation, params),
                };
            }
            WireCommand::Hello => match hello {
                Some(Ok(hello)) => reply.with(Ok(&hello)),
                Some(Err(error)) => reply.refuse(error),
                None => {}
            },
            WireCommand::Auth => match auth {
                Some(Ok(result)) => reply.with(Ok(&result)),
                Some(Err(error)) => {
                    reply.refuse(error);
                    self.auth_failed();
                }
                None => {}
            },
            WireCommand::Bye => {
                reply.with(Ok(&json!({ "goodbye": true })));
                self.ending = Some(End::Bye);
            }
            WireCommand::Replicate => match self.session.replicate(reply.caller, live) {
                Ok(()) => {
                    reply.with(Ok(&json!({ "replicates": true })));
                    self.ending = Some(End::Replica);
                }
                Err(error) => {
                    tracing::warn!(address = %self.address, "a replica is refused: {}", error.message());
                    reply.refuse(error);
                }
            },
            WireCommand::Unwatch => match decode::<Unwatch>(command, params) {
                Ok(Unwatch { subscription_id }) => {
                    let removed = self.watches.remove(&subscription_id);
                    let result = json!({ "subscription_id": subscription_id, "removed": removed });
                    reply.with(Ok(&result));
                }
                Err(error) => reply.refuse(error),
            },
        }
        true
    }

    /// Says so once, without a word of what the client sent, and has patience for a few.
    fn auth_failed(&mut self) {
        self.auth_failures += 1;
        if self.auth_failures == 1 {
            tracing::warn!(address = %self.address, "a client failed to authenticate");
        }
        if self.auth_failures >= AUTH_FAILURES_MAX {
            self.ending = Some(End::Protocol);
        }
    }

    /// When the client is to be told how far its watches have come.
    pub(crate) fn progress_due(&self) -> Option<Instant> {
        let is_told = self.takes_progress() && self.ending.is_none();
        self.watches.progress_due().filter(|_| is_told)
    }

    fn takes_progress(&self) -> bool {
        self.session.dialect == Dialect::Extended
    }

    /// Tells the client which nodes there are, when they are not those that it was told of.
    pub(crate) fn tell_topology(&mut self, live: &Live) -> bool {
        let Some(cluster) = self.caller.other_cluster() else { return false };
        let is_told = self.takes_progress() && self.caller.is_open(live) && self.ending.is_none();
        if is_told {
            message::topology(self.outbox.buffer(), self.session.mode, &cluster);
        }
        is_told
    }

    pub(crate) fn forward_events(
        &mut self,
        live: &Live,
        context: &mut Context<'_>,
        now: Instant,
    ) -> bool {
        if self.watches.len() == 0 || self.ending.is_some() {
            return false;
        }
        let form = (self.session.mode, self.session.dialect);
        let bytes_max = live.network.max_buffered_response_bytes.clamp(1, EVENT_BYTES);
        let (forwarded, broken) = self.watches.forward(&mut self.outbox, form, bytes_max, context);
        if broken {
            self.ending = Some(End::Watch);
        }
        let told = self.takes_progress()
            && self.watches.tell_progress(&mut self.outbox, self.session.mode, now);
        forwarded || told
    }
}

#[derive(serde::Deserialize)]
struct Unwatch {
    subscription_id: String,
}

/// The error for a name that is no command.
fn unknown(request: &WireRequest<'_>) -> Error {
    let op: String = request.op.chars().take(SHOWN_CHARACTERS).collect();
    let upper = op.to_uppercase();
    let hint = match WireCommand::from_wire_name(&upper) {
        Some(command) => format!("; did you mean {}?", command.wire_name()),
        None => String::new(),
    };
    Error::invalid(reason::INVALID_REQUEST, format!("op {op:?} is not known{hint}"))
        .with("field", "op")
}
