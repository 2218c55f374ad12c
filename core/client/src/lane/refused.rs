//! What becomes of a request that a server refused: its caller gets the error, it is sent again later, or it goes to
//! another server.

use std::sync::Arc;
use std::time::Duration;

use rstmdb_protocol::message::Incoming;
use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, ErrorKind};

use super::state::unanswered;
use super::{Lane, Link, Part};
use crate::backoff;
use crate::error::{malformed, passes, says_unknown, unsupported};
use crate::options::Endpoint;
use crate::request::{Outgoing, Refusals, Repeat};

/// How often a request follows an address at once. Servers that name each other are asked more slowly then.
const HOPS_MAX: u32 = 4;
/// How long the answers of a server that was left are waited for.
const LEAVING: Duration = Duration::from_secs(1);

/// What to do with a request that a server does not take, and another one may.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    /// It stays refused.
    Over,
    /// Another server is asked: this one, if it is known which; and before that, a pause.
    Elsewhere { towards: Option<Endpoint>, pauses: bool },
}

/// What is known when a server refuses a request.
struct Refusal<'a> {
    here: &'a Endpoint,
    error: &'a Error,
    /// How many servers there are.
    hosts: usize,
    /// How often it may be repeated.
    attempts: u32,
    /// Whether its time ends.
    is_timed: bool,
}

impl Refusal<'_> {
    /// Notes the refusal, and finds the way from here.
    fn way(&self, before: &mut Refusals) -> Way {
        before.count = before.count.saturating_add(1);
        before.error = Some(self.error.clone());
        let named = self.error.context().get("address").and_then(|address| address.as_str());
        let towards = named.and_then(Endpoint::parse).filter(|host| host != self.here);
        let elects = self.error.reason() == Some(reason::NOT_LEADER);
        let is_led = towards.is_some() && matches!(self.error.reason(), Some(reason::REPLICA));
        if !elects && !is_led {
            // It is what it is: each is asked once.
            before.hosts.push(self.here.clone());
            return match before.hosts.len() < self.hosts {
                true => Way::Elsewhere { towards: None, pauses: false },
                false => Way::Over,
            };
        }
        if towards.is_some() && before.count <= HOPS_MAX {
            return Way::Elsewhere { towards, pauses: false };
        }
        before.pauses = before.pauses.saturating_add(1);
        // Who is to lead may take a while to be found.
        let waits = elects && self.is_timed && self.attempts > 0;
        match waits || before.pauses <= self.attempts {
            true => Way::Elsewhere { towards, pauses: true },
            false => Way::Over,
        }
    }
}

impl Lane {
    /// A server answered with an error: hands it on, unless the request goes another way.
    pub(super) fn refused(self: &Arc<Self>, mut outgoing: Outgoing, payload: &[u8], link: &Link) {
        let error = match Incoming::parse(payload) {
            Ok(Incoming::Response { outcome: Err(error), .. }) => error,
            Ok(_) => malformed("an error without an error"),
            Err(error) => malformed(&error.message),
        };
        let attempts = self.settings.options.retry.attempts;
        let resumed = outgoing.resumed_watch().cloned();
        let code = error.code();
        let is_behind = error.reason() == Some(reason::LAG_EXCEEDED);
        if is_behind {
            self.settings.nodes.behind(&link.server.endpoint);
        }
        let is_too_early =
            code == ErrorCode::RateLimited || error.reason() == Some(reason::REOPENING);
        let error = match code {
            ErrorCode::BadRequest if says_unknown(&error) => {
                unanswered(&outgoing, unsupported(outgoing.command.wire_name(), &link.server))
            }
            ErrorCode::ReplicationTimeout => unconfirmed(&outgoing, error),
            // Others are asked first.
            ErrorCode::ReadOnlyMode => error,
            ErrorCode::ReplicationError if is_behind => error,
            // Refused before its key was looked at: it may have been done the first time.
            _ if is_refused_unseen(&error) => unanswered(&outgoing, error),
            _ => error,
        };
        // It was handed over by a node that then was replaced: whether it counts is decided by the others.
        let is_open = error.reason() == Some(reason::OUTCOME_UNKNOWN)
            && self.settings.nodes.count() > 1
            || code == ErrorCode::ReplicationTimeout;
        match code {
            // A watch that goes on waits as long as it takes.
            _ if resumed.is_some() && passes(&error) => self.send_later(outgoing),
            // Refused before anything was done: even a write without a key may be sent again.
            _ if is_too_early && outgoing.attempts < attempts => self.send_later(outgoing),
            // Its key makes one change of both.
            _ if is_open
                && outgoing.repeat == Repeat::Keyed
                && link.server.extended
                && outgoing.attempts < attempts =>
            {
                outgoing.was_sent = true;
                self.send_later(outgoing);
            }
            ErrorCode::ReadOnlyMode => self.elsewhere(outgoing, error, link),
            ErrorCode::ReplicationError if is_behind => self.elsewhere(outgoing, error, link),
            ErrorCode::InstanceNotFound => match resumed.filter(|watch| watch.follow_by_all()) {
                Some(watch) => {
                    outgoing.forget();
                    self.push(self.ask_again(watch));
                }
                None => outgoing.answer(Err(error)),
            },
            _ => outgoing.answer(Err(error)),
        }
    }

    /// Sends a request again after a pause.
    pub(super) fn send_later(self: &Arc<Self>, mut outgoing: Outgoing) {
        let pause = backoff::pause(&self.settings.options.retry, outgoing.attempts);
        outgoing.attempts = outgoing.attempts.saturating_add(1);
        let lane = self.clone();
        let losses = self.state.lock().losses;
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            lane.put_back(outgoing, losses);
        });
    }

    /// A server does not take a request: others are asked.
    fn elsewhere(self: &Arc<Self>, mut outgoing: Outgoing, error: Error, link: &Link) {
        if self.reads_elsewhere() {
            self.reroute(outgoing, &error);
            return;
        }
        let refusal = Refusal {
            here: &link.server.endpoint,
            error: &error,
            hosts: self.settings.nodes.count(),
            attempts: self.settings.options.retry.attempts,
            is_timed: outgoing.deadline.is_some(),
        };
        let Way::Elsewhere { towards, pauses } =
            refusal.way(outgoing.refusals.get_or_insert_default())
        else {
            let error = unanswered(&outgoing, error);
            outgoing.answer(Err(error));
            return;
        };
        let mut state = self.state.lock();
        if state.closed {
            drop(state);
            let error = unanswered(&outgoing, error);
            outgoing.answer(Err(error));
            return;
        }
        state.insert(outgoing);
        drop(state);
        self.leave(link, towards, pauses);
    }

    /// Hands a read that this node can't answer to another.
    pub(super) fn reroute(&self, outgoing: Outgoing, error: &Error) {
        match self.others.upgrade() {
            Some(others) => others.take_over(outgoing),
            None => outgoing.answer(Err(error.clone())),
        }
    }

    /// Leaves a server once what it was asked is answered, or soon, if it is known who takes its place.
    fn leave(self: &Arc<Self>, link: &Link, towards: Option<Endpoint>, pauses: bool) {
        let mut state = self.state.lock();
        // Meanwhile it may have been left.
        let is_here = state.link.as_ref().is_some_and(|now| Arc::ptr_eq(&now.dead, &link.dead));
        let is_first = is_here && !state.switching;
        if is_here {
            state.switching = true;
            state.pauses |= pauses;
            if towards.is_some() {
                state.towards = towards;
            }
        }
        let is_hurried = is_first && state.towards.is_some();
        drop(state);
        self.work.notify_one();
        if is_hurried {
            let dead = link.dead.clone();
            tokio::spawn(async move {
                tokio::time::sleep(LEAVING).await;
                dead.notify_one();
            });
        }
    }

    /// Goes where writes are taken now, if that is known to be elsewhere; who listens leaves a node that leads.
    pub(crate) fn follow_leader(self: &Arc<Self>) {
        let Some(link) = self.state.lock().link.clone() else { return };
        if self.part == Part::Listener {
            if !self.settings.nodes.is_led(&link.server) {
                self.leave(&link, None, true);
            }
        } else if let Some(leader) = self.settings.leader_beside(&link.server) {
            self.leave(&link, Some(leader), false);
        }
    }
}

/// Whether an error says nothing of the instance that a request names, nor of its key.
fn is_refused_unseen(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Unauthorized | ErrorKind::Internal)
}

/// The error of a write that replicas did not confirm: it may still happen.
fn unconfirmed(outgoing: &Outgoing, error: Error) -> Error {
    match outgoing.repeat {
        Repeat::Never => {
            let kind = error.kind();
            error.with_reason(reason::OUTCOME_UNKNOWN).as_sent(kind, false)
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> Endpoint {
        Endpoint::new(name, 7401)
    }

    fn refused(why: Option<&str>, address: Option<&str>) -> Error {
        let error = Error::new(ErrorCode::ReadOnlyMode, "no");
        let error = why.into_iter().fold(error, Error::with_reason);
        address.into_iter().fold(error, |error, address| error.with("address", address))
    }

    /// What becomes of a request that is refused again and again: `>` at once, `.` after a pause.
    fn path(error: &Error, hosts: usize, attempts: u32, is_timed: bool) -> String {
        let mut before = Refusals::default();
        let mut path = String::new();
        for number in 0..20 {
            let here = host(["a", "b", "c"][number % hosts.min(3)]);
            let refusal = Refusal { here: &here, error, hosts, attempts, is_timed };
            match refusal.way(&mut before) {
                Way::Over => return path + "!",
                Way::Elsewhere { towards, pauses } => {
                    path.push(if pauses { '.' } else { '>' });
                    path.extend(towards.map(|towards| towards.host));
                }
            }
        }
        path + "…"
    }

    #[test]
    fn a_refused_request_goes_where_it_is_sent_and_not_for_ever() {
        let not_leader = Some(reason::NOT_LEADER);
        let replica = Some(reason::REPLICA);
        let lag = Some(reason::LAG_EXCEEDED);
        for (why, address, hosts, attempts, is_timed, expected) in [
            // Each of the others once, as ever.
            (None, None, 1, 10, true, "!"),
            (None, None, 3, 10, true, ">>!"),
            (None, Some("x"), 3, 10, true, ">>!"),
            (replica, None, 3, 10, true, ">>!"),
            (lag, None, 3, 0, false, ">>!"),
            // Where the address says, and slower when that leads nowhere.
            (replica, Some("x"), 1, 2, true, ">x>x>x>x.x.x!"),
            (replica, Some("x"), 1, 0, true, ">x>x>x>x!"),
            (not_leader, Some("x"), 1, 2, false, ">x>x>x>x.x.x!"),
            (not_leader, Some("x"), 1, 0, true, ">x>x>x>x!"),
            (not_leader, Some("x"), 1, 2, true, ">x>x>x>x.x.x.x.x.x.x.x.x.x.x.x.x.x.x.x.x…"),
            // A host that names itself, or nobody.
            (not_leader, Some("a"), 1, 2, false, "..!"),
            (not_leader, Some("not a host:"), 1, 2, false, "..!"),
            (not_leader, None, 1, 0, true, "!"),
            (not_leader, None, 3, 2, false, "..!"),
            (not_leader, None, 3, 2, true, "....................…"),
            (replica, Some("a"), 1, 2, false, "!"),
        ] {
            let error = refused(why, address);
            let found = path(&error, hosts, attempts, is_timed);
            assert_eq!(found, expected, "{why:?} {address:?} {hosts} {attempts} {is_timed}");
        }
    }
}
