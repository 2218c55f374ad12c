//! What this node is called, and how it proves that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio_rustls::rustls::{ClientConfig, ServerConfig};

use crate::follow::NodeIdentity;
use crate::peer::{Hello, Levels};

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
    /// Where members are, as the log says.
    addresses: BTreeMap<u64, String>,
}

/// This node, as others see it.
#[derive(Debug)]
pub struct PeerNode {
    known: RwLock<Known>,
    /// A connection ends when nothing came for so long that was waited for.
    pub(super) patience: Duration,
}

impl PeerNode {
    /// A node that belongs to no group yet, unless the identity says otherwise. Without TLS it speaks to this machine alone.
    pub fn new(identity: NodeIdentity, database: [u8; 16], tls: Option<PeerTls>) -> PeerNode {
        let known = Known { identity, database, tls, addresses: BTreeMap::new() };
        PeerNode { known: RwLock::new(known), patience: Duration::from_secs(10) }
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

    /// Where the members are now.
    pub fn learn(&self, addresses: BTreeMap<u64, String>) {
        self.known.write().addresses = addresses;
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
        let known = self.known.read();
        Hello { database: known.database, ..known.identity.hello(None) }
    }
}

impl Levels {
    /// The oldest and the newest level of changes that this release works at.
    pub fn of_effects() -> (u32, u32) {
        (Levels::HERE.effect.from.into(), Levels::HERE.effect.to.into())
    }
}
