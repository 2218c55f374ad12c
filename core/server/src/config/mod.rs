//! The server's configuration: one table of settings, read from defaults, those of a package among them,
//! a YAML file, the environment and flags, in this order.
//!
//! [`Config`] is plain data. What may change while the server runs is in `live`.

mod apply;
mod forms;
mod load;
pub(crate) mod log_filter;
mod origin;
mod render;
mod sections;
mod setting;
mod table;
mod token_hash;
mod values;
mod yaml;

pub use load::{LoadedConfig, Sources};
pub use render::{example, print, reference};
pub use sections::{
    AuthConfig, ClusterConfig, CompactionConfig, FenceConfig, HooksConfig, LogConfig,
    MetricsConfig, NetworkConfig, ProcessConfig, ReplicationConfig, StorageConfig, TlsConfig,
};
pub use setting::{Reload, Setting};
pub use table::SETTINGS;
pub use token_hash::TokenHash;
pub use values::{
    Address, HttpUrl, LogFormat, MemberRole, OnTimeout, Outside, ReplicationMode, Role, Secret,
    Seed,
};

pub(crate) use apply::required;
pub(crate) use load::read_text;
pub(crate) use table::all as all_settings;

use rstmdb_engine::{CheckpointPolicy, Options};
use rstmdb_types::{Error, Limits, Result};

/// Everything that can be set. `Default` is what an empty configuration means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// The listener, and what its connections are held to.
    pub network: NetworkConfig,
    /// Where and how data is kept.
    pub storage: StorageConfig,
    /// When the server compacts by itself.
    pub compaction: CompactionConfig,
    /// Who may talk to the server.
    pub auth: AuthConfig,
    /// Encryption of the listener.
    pub tls: TlsConfig,
    /// The HTTP endpoint with metrics and health.
    pub metrics: MetricsConfig,
    /// What requests are held to.
    pub limits: Limits,
    /// The server's own messages.
    pub log: LogConfig,
    /// Threads and stopping.
    pub server: ProcessConfig,
    /// Replicas, which follow the log of another server.
    pub replication: ReplicationConfig,
    /// A group of nodes that decide together.
    pub cluster: ClusterConfig,
    /// What is called when this node's part among others changes.
    pub hooks: HooksConfig,
    /// A lease that something outside grants.
    pub fence: FenceConfig,
}

impl Config {
    /// Reads the configuration from its sources, later ones winning, and validates it.
    pub fn load(sources: &Sources) -> Result<LoadedConfig> {
        load::load(sources)
    }

    /// What can be read of a configuration that may not be usable as a whole.
    pub fn as_far_as_readable(sources: &Sources) -> Config {
        load::as_far_as_readable(sources)
    }

    /// Refuses what can't work, naming the setting and the fix.
    pub fn validate(&self) -> Result<()> {
        apply::validate(self)
    }

    /// The limits, as far as frames can tell of what is allowed.
    fn limits_of_frames(&self) -> Limits {
        let room = apply::room(&self.limits);
        let mut limits = self.limits.clone();
        for size in [
            &mut limits.context_bytes_max,
            &mut limits.payload_bytes_max,
            &mut limits.definition_bytes_max,
            &mut limits.answer_bytes_max,
        ] {
            *size = room.min(*size);
        }
        limits
    }

    /// The same with paths that mean the same from everywhere.
    pub fn absolute(&self) -> Config {
        let mut config = self.clone();
        for setting in table::all().filter(|setting| setting.kind() == forms::PATH) {
            if let forms::Shown::Text(path) = (setting.show)(&config)
                && let Ok(absolute) = std::path::absolute(path)
                && let Ok(absolute) = absolute.into_os_string().into_string()
            {
                // It was a path before.
                let _ = (setting.set)(&mut config, &yaml::YamlNode::text(absolute));
            }
        }
        config
    }

    /// How the engine is opened.
    pub fn engine_options(&self) -> Options {
        let storage = &self.storage;
        let checkpoints = self.compaction.policy();
        Options {
            fsync: storage.fsync_policy,
            limits: self.limits_of_frames(),
            retention: storage.retention,
            segment_bytes_max: storage.wal_segment_bytes,
            checkpoint_log_bytes: checkpoints.log_bytes,
            checkpoint_changes: checkpoints.changes,
            checkpoint_interval_min: checkpoints.interval_min,
            checkpoint_at_close: checkpoints.at_close,
            free_bytes_min: storage.free_bytes_min,
            idempotency_window: storage.idempotency_window,
            idempotency_keys_max: storage.idempotency_keys_max,
            allow_instance_recreate: storage.allow_instance_recreate,
            allow_flush_all: storage.allow_flush_all,
            watch_ring_bytes: storage.watch_ring_bytes,
            ..Options::default()
        }
    }
}

impl CompactionConfig {
    /// What is asked of the engine, which decides when to compact. A stop makes the next start quick, also
    /// where nothing else does.
    pub(crate) fn policy(&self) -> CheckpointPolicy {
        let threshold = |value| if self.enabled { value } else { 0 };
        CheckpointPolicy {
            log_bytes: threshold(self.size_threshold_bytes),
            changes: threshold(self.events_threshold),
            interval_min: self.min_interval,
            at_close: true,
        }
    }
}

impl FenceConfig {
    /// What grants the lease, if there is one.
    pub(crate) fn outside(&self) -> Option<Outside> {
        self.command.clone().or_else(|| self.url.clone())
    }
}

/// An error about a setting, which it names.
pub(crate) fn refused(key: &str, message: impl Into<String>) -> Error {
    Error::invalid(rstmdb_types::error::reason::INVALID_OPTION, message).with("setting", key)
}
