//! What this node is called, and how it proves that.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use rstmdb_types::error::reason;
use tokio::sync::watch;
use tokio_rustls::rustls::{ClientConfig, ServerConfig};

use crate::follow::NodeIdentity;
use crate::peer::{Hello, Levels, PeerMemory, PeerRefusal};
use crate::raft::{EngineSlot, too_old_or_new};

/// Messages that arrived in part have so much room together.
const MEMORY_BYTES: usize = 64 << 20;
/// Of remarks about connections, one is logged in this time.
const LOG_PAUSE: Duration = Duration::from_secs(1);
/// The same for the same remark, of so many that are known.
const SAME_PAUSE: Duration = Duration::from_secs(30);
const REMARKS_MAX: usize = 16;
/// A release that knows this level says how far its log goes as soon as it is open.
const TELLS_TIP: u16 = 2;
/// Why a node is refused that comes with less than it acknowledged.
const OLDER_COPY: &str = "older_copy";

/// What a node presents to others, and demands of them.
#[derive(Debug, Clone)]
pub struct PeerTls {
    /// For connections that come.
    pub server: Arc<ServerConfig>,
    /// For connections that go out.
    pub client: Arc<ClientConfig>,
}

#[derive(Debug)]
struct Known {
    identity: NodeIdentity,
    database: [u8; 16],
    tls: Option<PeerTls>,
    levels: Levels,
    /// Where members are, as the log says.
    addresses: BTreeMap<u64, String>,
    /// The level that the group works at; 0: that is not known yet.
    level: u32,
    /// Its own log, when it is there.
    log: Option<Arc<EngineSlot>>,
    /// Frames that are committed and that members said they have, by their numbers.
    confirmed: BTreeMap<u64, u64>,
    /// Members that will have nothing to do with this node, and why.
    refusals: BTreeMap<u64, String>,
}

/// This node, as others see it.
#[derive(Debug)]
pub struct PeerNode {
    known: RwLock<Known>,
    /// A connection ends when nothing came for so long that was waited for.
    pub(super) patience: Duration,
    /// The room for messages of all connections.
    pub(super) memory: PeerMemory,
    remarks: Mutex<Remarks>,
    /// What it was told when it came with less than it acknowledged.
    outdated: watch::Sender<Option<String>>,
}

/// What was logged last.
#[derive(Debug, Default)]
struct Remarks {
    /// The newest last.
    last: VecDeque<(Instant, String)>,
    /// The like that was not logged since.
    more: u64,
}

impl PeerNode {
    /// A node that belongs to no group yet, unless the identity says otherwise. Without TLS it speaks to this machine alone.
    pub fn new(identity: NodeIdentity, database: [u8; 16], tls: Option<PeerTls>) -> PeerNode {
        let known = Known {
            identity,
            database,
            tls,
            levels: Levels::HERE,
            addresses: BTreeMap::new(),
            level: 0,
            log: None,
            confirmed: BTreeMap::new(),
            refusals: BTreeMap::new(),
        };
        PeerNode {
            known: RwLock::new(known),
            patience: Duration::from_secs(10),
            memory: PeerMemory::of(MEMORY_BYTES),
            remarks: Mutex::default(),
            outdated: watch::Sender::default(),
        }
    }

    /// It belongs to the group, under this number.
    pub fn joined(&self, node: u16, database: [u8; 16]) {
        let mut known = self.known.write();
        known.identity.node = node;
        known.database = database;
    }

    /// Other certificates, for connections from now on.
    pub fn present(&self, tls: Option<PeerTls>) {
        self.known.write().tls = tls;
    }

    /// Says that it knows no level beyond this one, though it does.
    pub fn know_up_to(&self, level: u32) {
        let effect = &mut self.known.write().levels.effect;
        effect.to = effect.to.min(u16::try_from(level).unwrap_or(u16::MAX)).max(effect.from);
    }

    /// The oldest and the newest level of a group that it knows.
    pub fn levels(&self) -> (u32, u32) {
        let effect = self.known.read().levels.effect;
        (effect.from.into(), effect.to.into())
    }

    /// Where the members are now, and the level that they work at.
    pub fn learn(&self, addresses: BTreeMap<u64, String>, level: u32) {
        let mut known = self.known.write();
        (known.addresses, known.level) = (addresses, level);
    }

    /// This is its log.
    pub fn keeps_log_in(&self, slot: Arc<EngineSlot>) {
        self.known.write().log = Some(slot);
    }

    /// A member said that it has this frame, which is committed.
    pub(super) fn confirmed(&self, node: u64, index: u64) {
        let mut known = self.known.write();
        let last = known.confirmed.entry(node).or_default();
        *last = index.max(*last);
    }

    /// What it is called.
    pub fn identity(&self) -> NodeIdentity {
        self.known.read().identity.clone()
    }

    pub(super) fn tls(&self) -> Option<PeerTls> {
        self.known.read().tls.clone()
    }

    pub(super) fn address_of(&self, node: u64) -> Option<String> {
        self.known.read().addresses.get(&node).cloned()
    }

    pub(super) fn hello(&self) -> Hello {
        let (mut hello, log) = {
            let known = self.known.read();
            let (database, levels) = (known.database, known.levels);
            (Hello { database, levels, ..known.identity.hello(None) }, known.log.clone())
        };
        hello.tip = log.map(|slot| slot.engine().replication().tip().index);
        hello
    }

    /// Why this node can't have to do with another one; nothing when it can.
    pub(super) fn refuses(&self, mine: &Hello, theirs: &Hello) -> Option<PeerRefusal> {
        if let Some(refusal) = mine.refuses(theirs) {
            return Some(refusal);
        }
        let known = self.known.read();
        let effect = theirs.levels.effect;
        let levels = (effect.from.into(), effect.to.into());
        let misfit = too_old_or_new(&theirs.name, levels, known.level);
        let misfit = misfit.filter(|_| known.level > 0)?;
        Some(PeerRefusal::new(reason::UNSUPPORTED, misfit))
    }

    /// What members said so far that they have.
    pub(super) fn all_confirmed(&self) -> BTreeMap<u64, u64> {
        self.known.read().confirmed.clone()
    }

    /// A member that has less now than it said before this node greeted it.
    ///
    /// Only who is greeted can be judged: what it has is read after that. A hello that comes may be older than what its
    /// sender said since on another connection.
    pub(super) fn older_copy(before: &BTreeMap<u64, u64>, theirs: &Hello) -> Option<PeerRefusal> {
        let had = before.get(&theirs.node.into()).copied().filter(|had| *had > 0)?;
        let Hello { node, name, levels, .. } = theirs;
        let Some(has) = theirs.tip else {
            let what = format!("node {node} ({name}) is opening its log");
            let tells = levels.effect.to >= TELLS_TIP;
            return tells.then(|| PeerRefusal::for_now(reason::REOPENING, what));
        };
        if has >= had {
            return None;
        }
        let what = format!(
            "node {node} ({name}) had {had} frames of the log, and comes with {has}: its directory is an older copy of itself, and what it \
             acknowledged is not in it. Remove node {node} (rstmdb-cli cluster remove {node}), and start {name} with an empty \
             directory: it gets a number of its own"
        );
        Some(PeerRefusal::new(OLDER_COPY, what))
    }

    /// A member will have nothing to do with this node, unless that is for this moment.
    pub(super) fn was_refused(&self, node: u64, refusal: &PeerRefusal) {
        if refusal.retryable {
            return;
        }
        self.is_refused(node, Some(refusal.message.clone()));
        if refusal.reason == OLDER_COPY {
            self.outdated.send_replace(Some(refusal.message.clone()));
        }
    }

    /// Waits until a member says that this node comes with less than it acknowledged: it must take no part then.
    pub async fn outdated(&self) -> String {
        let mut outdated = self.outdated.subscribe();
        let said = outdated.wait_for(Option::is_some).await.map(|said| said.clone());
        // The sender is this node's.
        said.ok().flatten().unwrap_or_default()
    }

    /// A member will have nothing to do with this node for this reason; nothing: it has.
    pub(super) fn is_refused(&self, node: u64, why: Option<String>) {
        let before = self.known.read().refusals.get(&node).cloned();
        if before == why {
            return;
        }
        let mut known = self.known.write();
        match why {
            Some(why) => {
                tracing::warn!("there is no way to node {node}: {why}");
                known.refusals.insert(node, why);
            }
            None => drop(known.refusals.remove(&node)),
        }
    }

    /// Why a member will have nothing to do with this node, if there is one.
    pub fn refusal(&self) -> Option<String> {
        self.known.read().refusals.values().next().cloned()
    }

    /// Logs something, unless the like was logged a moment ago.
    pub(super) fn remark(&self, what: String) {
        let mut remarks = self.remarks.lock();
        let is_over = |pause: Duration, at: &Instant| at.elapsed() >= pause;
        let is_quiet = remarks.last.back().is_none_or(|(at, _)| is_over(LOG_PAUSE, at));
        let same = remarks.last.iter().rev().find(|(_, said)| *said == what);
        if !is_quiet || same.is_some_and(|(at, _)| !is_over(SAME_PAUSE, at)) {
            remarks.more += 1;
            return;
        }
        match std::mem::take(&mut remarks.more) {
            0 => tracing::warn!("{what}"),
            more => tracing::warn!("{what} (and {more} more since the last)"),
        }
        if remarks.last.len() == REMARKS_MAX {
            remarks.last.pop_front();
        }
        remarks.last.push_back((Instant::now(), what));
    }
}
