//! What may change while the server runs: the rest of the server reads [`Live`] through [`LiveSettings`];
//! [`Watcher`] brings it up to date.

mod watcher;

pub use watcher::{Changes, Reasons, Watcher};

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use rstmdb_types::Result;
use rustls::ServerConfig;
use tokio::sync::watch;

use crate::auth::Tokens;
use crate::config::{CompactionConfig, Config, NetworkConfig};
use crate::tls;

/// The settings in force. What a connection decides by it reads here at that moment.
#[derive(Debug, Clone)]
pub struct Live {
    /// Limits and times of connections. `bind_addr` does not change.
    pub network: NetworkConfig,
    /// When the database compacts by itself.
    pub compaction: CompactionConfig,
    /// Whether a client must authenticate.
    pub auth_required: bool,
    /// Whether sessions end whose token is not accepted any more.
    pub end_revoked: bool,
    /// The accepted tokens.
    pub tokens: Tokens,
    /// Those that replicas may present.
    pub replica_tokens: Tokens,
    /// What new connections of a TLS listener are accepted with; None for a plain one.
    pub tls: Option<Arc<ServerConfig>>,
    /// When the first of its certificates ends, in seconds since 1970.
    pub certificate_end: Option<u64>,
    /// What is wrong with its certificates, each in a sentence.
    pub remarks: Vec<String>,
}

impl Live {
    /// The settings of a configuration, with the tokens and certificates its files hold now.
    ///
    /// `previous` are the settings in force, whose rate limiters live on.
    pub fn new(config: &Config, previous: Option<&Live>) -> Result<Live> {
        let (tls, certificate_end, remarks) = match config.tls.enabled {
            true => {
                let presented = tls::presented(&config.tls)?;
                (Some(presented.config), presented.end, presented.remarks)
            }
            false => (None, None, Vec::new()),
        };
        Ok(Live {
            network: config.network.clone(),
            compaction: config.compaction.clone(),
            auth_required: config.auth.required,
            end_revoked: config.auth.end_revoked,
            tokens: Tokens::load(&config.auth, &config.network, previous.map(|live| &live.tokens))?,
            replica_tokens: Tokens::of_replicas(&config.replication)?,
            tls,
            certificate_end,
            remarks,
        })
    }
}

/// The place where the settings in force are.
#[derive(Debug)]
pub struct LiveSettings {
    live: ArcSwap<Live>,
    changes: watch::Sender<()>,
}

impl LiveSettings {
    /// The settings of a configuration.
    pub fn new(config: &Config) -> Result<LiveSettings> {
        let live = ArcSwap::from_pointee(Live::new(config, None)?);
        Ok(LiveSettings { live, changes: watch::Sender::new(()) })
    }

    /// The settings in force now: cheap, for a short look.
    pub fn load(&self) -> Guard<Arc<Live>> {
        self.live.load()
    }

    /// The settings in force now, to keep.
    pub fn current(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// Tells when other settings are in force, from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Puts other settings in force.
    pub fn replace(&self, live: Live) {
        self.live.store(Arc::new(live));
        self.announce();
    }

    /// Has everybody look again.
    pub(crate) fn announce(&self) {
        self.changes.send_replace(());
    }
}
