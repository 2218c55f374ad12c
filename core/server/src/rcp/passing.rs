//! Sessions that belong to who leads: of clients that know no leader. They go there, and end with it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rstmdb_cluster::peer::PassedSession;

use crate::cluster::relay::{Relay, SessionWay, is_for_another};
use crate::node::{NodeRole, NodeStanding};

/// Such a session's part of a conversation.
pub(crate) struct Passing {
    /// The way from here to who leads; none: nothing is passed on.
    relay: Option<Arc<Relay>>,
    state: PassingState,
    /// This node answers it while it leads in this epoch.
    leads_in: Option<u64>,
}

enum PassingState {
    Here,
    Sought(Pin<Box<dyn Future<Output = Option<SessionWay>> + Send>>),
    Found(SessionWay),
    /// Nobody leads that could be reached: the next request is answered here, as well as that goes.
    Nowhere,
}

impl Passing {
    pub(crate) fn new(relay: Option<Arc<Relay>>, leads_in: Option<u64>) -> Passing {
        Passing { relay, state: PassingState::Here, leads_in }
    }

    /// Whether a request that needs the leader is to be passed on. One that is answered here binds the session to this leader.
    pub(crate) fn goes_on(&mut self, standing: &NodeStanding) -> bool {
        if is_for_another(standing) {
            let is_nowhere = matches!(self.state, PassingState::Nowhere);
            self.state = PassingState::Here;
            return self.relay.is_some() && self.leads_in.is_none() && !is_nowhere;
        }
        if standing.role == NodeRole::Leader {
            self.leads_in.get_or_insert(standing.epoch);
        }
        false
    }

    /// Looks for who leads.
    pub(crate) fn seek(&mut self, session: PassedSession) {
        if let Some(relay) = self.relay.clone() {
            self.state = PassingState::Sought(Box::pin(async move { relay.begin(session).await }));
        }
    }

    pub(crate) fn is_sought(&self) -> bool {
        matches!(self.state, PassingState::Sought(_))
    }

    /// Whether the leader was found; nothing while it is looked for, or was not.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Option<bool> {
        let PassingState::Sought(sought) = &mut self.state else { return None };
        let Poll::Ready(found) = sought.as_mut().poll(context) else { return None };
        let is_found = found.is_some();
        self.state = found.map_or(PassingState::Nowhere, PassingState::Found);
        Some(is_found)
    }

    /// Whether this node led when it answered the session, and does so no more.
    pub(crate) fn is_over(&self, standing: &NodeStanding) -> bool {
        let leads = |epoch| standing.role == NodeRole::Leader && standing.epoch == epoch;
        self.leads_in.is_some_and(|epoch| !leads(epoch))
    }

    /// The way that was found.
    pub(crate) fn into_way(self) -> Option<(Arc<Relay>, SessionWay)> {
        match self.state {
            PassingState::Found(way) => Some((self.relay?, way)),
            _ => None,
        }
    }
}
