//! Which connection a request takes.
//!
//! Those at *home* follow whoever takes writes, and carry everything that has to be fresh, watches and what is asked of
//! one server in particular. Reads that may be behind go to a connection of their own for each node, and come home
//! when there is no node for them. Where nodes elect a leader, one more connection hears from another node who it is.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use rstmdb_protocol::ReadMode;
use rstmdb_types::Request;
use rstmdb_types::operation::Access;

use crate::connect::ConnectSettings;
use crate::connection;
use crate::lane::{Lane, Others, Part};
use crate::options::Endpoint;
use crate::request::Outgoing;
use crate::runtime;

/// So many nodes are read from.
const READERS_MAX: usize = 64;

/// The connections of a client.
#[derive(Debug)]
pub(crate) struct Routes {
    pub settings: Arc<ConnectSettings>,
    first: Arc<Lane>,
    others: Vec<Arc<Lane>>,
    next: AtomicUsize,
    readers: Mutex<HashMap<Endpoint, Arc<Lane>>>,
    listener: OnceLock<Arc<Lane>>,
    /// This, for the connections to come.
    own: Weak<Routes>,
}

impl Routes {
    pub(crate) fn new(settings: Arc<ConnectSettings>) -> Arc<Routes> {
        Arc::new_cyclic(|own| {
            let lane = || {
                Arc::new(Lane::new(settings.clone(), Part::Home, own.clone() as Weak<dyn Others>))
            };
            let others = (1..settings.options.pool_size).map(|_| lane()).collect();
            Routes {
                first: lane(),
                others,
                next: AtomicUsize::new(0),
                readers: Mutex::default(),
                listener: OnceLock::new(),
                own: own.clone(),
                settings,
            }
        })
    }

    /// The connections at home.
    pub(crate) fn home(&self) -> (&Arc<Lane>, &[Arc<Lane>]) {
        (&self.first, &self.others)
    }

    /// Those at home take turns.
    pub(crate) fn next_home(&self) -> &Arc<Lane> {
        let number = match self.others.len() {
            0 => 0,
            count => self.next.fetch_add(1, Ordering::Relaxed) % (count + 1),
        };
        number.checked_sub(1).and_then(|number| self.others.get(number)).unwrap_or(&self.first)
    }

    /// The connection for a request.
    pub(crate) fn of(&self, request: &Request, mode: ReadMode) -> Arc<Lane> {
        let reader = if mode.may_be_behind() && may_be_read_anywhere(request) {
            self.reader()
        } else {
            None
        };
        reader.unwrap_or_else(|| self.next_home().clone())
    }

    /// The connection to the best node to read from: of those of the best rank, the one with the fewest requests in
    /// flight. None when that is where writes are taken.
    fn reader(&self) -> Option<Arc<Lane>> {
        let mut ranked = self.settings.nodes.readers();
        let best = ranked.iter().map(|(rank, _)| rank).min()?.clone();
        ranked.retain(|(rank, _)| *rank == best);
        let home = self.first.server();
        let is_home = |host: &Endpoint| home.as_ref().is_some_and(|home| home.endpoint == *host);
        if ranked.len() > 1 {
            ranked.retain(|(_, host)| !is_home(host));
        }
        if best.leads() || ranked.iter().all(|(_, host)| is_home(host)) {
            return None;
        }
        let mut readers = self.readers.lock();
        let load = |host: &Endpoint| match readers.get(host) {
            Some(lane) => lane.load(),
            None => 0,
        };
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % ranked.len();
        ranked.rotate_left(turn);
        let (_, host) = ranked.into_iter().min_by_key(|(_, host)| load(host))?;
        if let Some(lane) = readers.get(&host) {
            return Some(lane.clone());
        }
        if readers.len() >= READERS_MAX {
            return None;
        }
        let lane = Arc::new(Lane::new(
            self.settings.clone(),
            Part::Reader(host.clone()),
            self.own.clone(),
        ));
        runtime::spawn(connection::run(lane.clone(), None)).ok()?;
        readers.insert(host, lane.clone());
        Some(lane)
    }

    pub(crate) fn lanes(&self) -> Vec<Arc<Lane>> {
        let readers = self.readers.lock();
        let home = std::iter::once(&self.first).chain(&self.others);
        home.chain(readers.values()).chain(self.listener.get()).cloned().collect()
    }
}

impl Others for Routes {
    fn take_over(&self, mut outgoing: Outgoing) {
        outgoing.attempts = outgoing.attempts.saturating_add(1);
        let patience = self.settings.options.retry.attempts;
        let reader = if outgoing.attempts > patience { None } else { self.reader() };
        reader.as_ref().unwrap_or_else(|| self.next_home()).push(outgoing);
    }

    fn look_for_leader(&self) {
        let home = std::iter::once(&self.first).chain(&self.others);
        home.chain(self.listener.get()).for_each(Lane::follow_leader);
    }

    fn listen(&self) {
        if !self.settings.nodes.are_led() {
            return;
        }
        let listener = self.listener.get_or_init(|| {
            let own = self.own.clone();
            let lane = Arc::new(Lane::new(self.settings.clone(), Part::Listener, own));
            // It fails where the first connection would have failed.
            let _ = runtime::spawn(connection::run(lane.clone(), None));
            lane
        });
        listener.work.notify_one();
    }
}

/// Whether any node can answer it: it changes nothing, and is not about the node.
fn may_be_read_anywhere(request: &Request) -> bool {
    let operation = request.operation();
    operation.access() == Access::Read && !operation.is_about_node()
}
