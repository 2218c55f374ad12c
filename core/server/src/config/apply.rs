//! What a configuration must fulfil beyond the form of its values.

use std::path::{Path, PathBuf};

use rstmdb_engine::FsyncPolicy;
use rstmdb_protocol::frame::PAYLOAD_BYTES_MAX;
use rstmdb_protocol::message::ID_BYTES_MAX;
use rstmdb_types::{Limits, Result};

use super::values::{Outside, ReplicationMode, Role};
use super::{Config, refused, table};

/// The most names that a message has beside a context, a payload or a definition.
const NAMES_MAX: usize = 8;
/// The smallest bound that leaves room for a request.
const FRAME_BYTES_MIN: usize = 1 << 10;

pub(super) fn validate(config: &Config) -> Result<()> {
    network(config)?;
    storage(config)?;
    limits(config)?;
    if config.tls.enabled {
        required(&config.tls.cert_path, "tls.cert_path", "tls.enabled")?;
        required(&config.tls.key_path, "tls.key_path", "tls.enabled")?;
        if config.tls.require_client_cert {
            let path = &config.tls.client_ca_path;
            required(path, "tls.client_ca_path", "tls.require_client_cert")?;
        }
    }
    if config.auth.required
        && config.auth.token_hashes.is_empty()
        && config.auth.secrets_file.is_none()
    {
        return Err(refused(
            "auth.required",
            "auth.required is true but there is no token: set auth.token_hashes or \
             auth.secrets_file; `rstmdb-cli hash-token` makes a hash",
        ));
    }
    cluster(config)?;
    replication(config)?;
    fence(config)
}

fn fence(config: &Config) -> Result<()> {
    let fence = &config.fence;
    if let (Some(_), Some(_)) = (&fence.command, &fence.url) {
        return Err(refused(
            "fence.url",
            "fence.command and fence.url are both set; set one of them",
        ));
    }
    if matches!(fence.command, Some(Outside::Url(_))) {
        return Err(refused("fence.command", "fence.command is an address; set fence.url to it"));
    }
    if matches!(fence.url, Some(Outside::Command(_))) {
        let what =
            "fence.url is no address that begins with http://; set fence.command to a command";
        return Err(refused("fence.url", what));
    }
    if fence.outside().is_some() && config.replication.role == Role::Standalone {
        let what = "fence.* is for a primary and its replicas: set replication.role; a group needs no lease";
        return Err(refused("fence.command", what));
    }
    if fence.ttl.is_zero() {
        return Err(refused("fence.ttl_secs", "fence.ttl_secs must be more than 0"));
    }
    if config.hooks.timeout.is_zero() {
        return Err(refused("hooks.timeout_secs", "hooks.timeout_secs must be more than 0"));
    }
    Ok(())
}

fn network(config: &Config) -> Result<()> {
    let network = &config.network;
    between(
        config,
        "network.max_frame_bytes",
        network.max_frame_bytes,
        FRAME_BYTES_MIN,
        PAYLOAD_BYTES_MAX,
    )?;
    between(
        config,
        "network.max_frame_bytes_unauthenticated",
        network.max_frame_bytes_unauthenticated,
        FRAME_BYTES_MIN,
        network.max_frame_bytes,
    )?;
    let most = usize::MAX;
    between(
        config,
        "network.frame_memory_bytes",
        network.frame_memory_bytes,
        network.max_frame_bytes,
        most,
    )?;
    between(config, "network.max_in_flight_requests", network.max_in_flight_requests, 1, most)?;
    between(
        config,
        "network.max_buffered_response_bytes",
        network.max_buffered_response_bytes,
        FRAME_BYTES_MIN,
        most,
    )?;
    for (key, time) in [
        ("network.handshake_timeout_secs", network.handshake_timeout),
        ("network.frame_timeout_secs", network.frame_timeout),
    ] {
        if time.is_zero() {
            return Err(refused(key, format!("{key} must be more than 0")));
        }
    }
    Ok(())
}

fn storage(config: &Config) -> Result<()> {
    let key = "storage.wal_segment_size_mb";
    if config.storage.wal_segment_bytes == 0 {
        return Err(refused(key, format!("{key} must be more than 0")));
    }
    Ok(())
}

/// What a frame has for a context, a payload or a definition; the rest is for names beside it.
pub(super) fn room(limits: &Limits) -> usize {
    // A character of a name may be written as six, and members have names of their own.
    let names = limits.name_bytes_max.saturating_mul(NAMES_MAX).saturating_add(ID_BYTES_MAX);
    PAYLOAD_BYTES_MAX.saturating_sub(names.saturating_mul(6).saturating_add(4096))
}

/// Whatever may be stored must fit the frames that tell of it.
fn limits(config: &Config) -> Result<()> {
    let limits = &config.limits;
    let room = room(limits);
    if room == 0 {
        let key = "limits.name_bytes_max";
        let message = format!(
            "{key} is {}: names of that length do not fit a frame of {PAYLOAD_BYTES_MAX} bytes; lower it",
            limits.name_bytes_max
        );
        return Err(refused(key, message));
    }
    for (key, size) in [
        ("limits.context_bytes_max", limits.context_bytes_max),
        ("limits.payload_bytes_max", limits.payload_bytes_max),
        ("limits.definition_bytes_max", limits.definition_bytes_max),
        ("limits.answer_bytes_max", limits.answer_bytes_max),
    ] {
        if size > PAYLOAD_BYTES_MAX {
            let message = format!(
                "{key} is {size}, more than a frame of {PAYLOAD_BYTES_MAX} bytes: answers and events \
                 could not be sent; {room} is what it has for it"
            );
            return Err(refused(key, message));
        }
    }
    // One that was left alone is less of a promise: that is warned about.
    let default = Limits::default();
    if limits.context_bytes_max > default.context_bytes_max
        && limits.payload_bytes_max > default.payload_bytes_max
        && let Some(problem) = events(limits)
    {
        return Err(refused("limits.context_bytes_max", problem));
    }
    Ok(())
}

/// Why an event may not fit a frame, if that is so.
fn events(limits: &Limits) -> Option<String> {
    let size = limits.context_bytes_max.saturating_add(limits.payload_bytes_max);
    let room = room(limits);
    (size > room).then(|| {
        format!(
            "limits.context_bytes_max and limits.payload_bytes_max are {size} together, more than the \
             {room} that a frame has for an event; the watch of one that is larger would end: lower \
             one of them"
        )
    })
}

fn cluster(config: &Config) -> Result<()> {
    let cluster = &config.cluster;
    if !cluster.enabled {
        return Ok(());
    }
    if config.replication.role != Role::Standalone {
        let message = format!(
            "replication.role is {} and cluster.enabled is true: members of a group follow who was elected; leave one of them out",
            config.replication.role
        );
        return Err(refused("replication.role", message));
    }
    if config.storage.fsync_policy != FsyncPolicy::EveryWrite {
        let message = format!(
            "storage.fsync_policy is {}, and members of a group count on what each of them has acknowledged: with cluster.enabled it \
             must be every_write",
            config.storage.fsync_policy
        );
        return Err(refused("storage.fsync_policy", message));
    }
    if config.storage.allow_flush_all {
        let message = "storage.allow_flush_all can't be true with cluster.enabled: it would not reach the others";
        return Err(refused("storage.allow_flush_all", message));
    }
    let paths = [
        ("cluster.tls_cert_path", &cluster.tls_cert_path),
        ("cluster.tls_key_path", &cluster.tls_key_path),
        ("cluster.tls_ca_path", &cluster.tls_ca_path),
    ];
    if paths.iter().any(|(_, path)| path.is_some())
        && let Some((key, _)) = paths.iter().find(|(_, path)| path.is_none())
    {
        let message = format!(
            "{key} is not set: members prove themselves to each other, so cluster.tls_cert_path, cluster.tls_key_path and \
             cluster.tls_ca_path go together"
        );
        return Err(refused(key, message));
    }
    let (heartbeat, least, most) = (cluster.heartbeat, cluster.election_min, cluster.election_max);
    if heartbeat.is_zero() || least < heartbeat.saturating_mul(2) || most <= least {
        let message = format!(
            "cluster.heartbeat_ms, election_min_ms and election_max_ms are {}, {} and {}: a follower must miss two heartbeats before it \
             wants to lead, and not all at once, so each must be larger than the one before, and election_min_ms at least twice \
             heartbeat_ms",
            heartbeat.as_millis(),
            least.as_millis(),
            most.as_millis()
        );
        return Err(refused("cluster.election_min_ms", message));
    }
    if cluster.seeds.is_empty() && !cluster.bootstrap {
        let message = "cluster.seeds is empty and cluster.bootstrap is false: name where the other nodes are, or have the group begin \
                       with this one";
        return Err(refused("cluster.seeds", message));
    }
    Ok(())
}

fn replication(config: &Config) -> Result<()> {
    let replication = &config.replication;
    let key = "replication.role";
    if replication.role == Role::Standalone {
        return Ok(());
    }
    if replication.tls_cert_path.is_some() != replication.tls_key_path.is_some() {
        let message =
            "replication.tls_cert_path and replication.tls_key_path belong together; set both";
        return Err(refused("replication.tls_cert_path", message));
    }
    if config.storage.allow_flush_all {
        let message = format!(
            "storage.allow_flush_all can't be true with {key} {}: it would not reach the others",
            replication.role
        );
        return Err(refused("storage.allow_flush_all", message));
    }
    if config.storage.fsync_policy != FsyncPolicy::EveryWrite {
        let message = format!(
            "storage.fsync_policy must be every_write with {key} {}: others count on what this server says it has",
            replication.role
        );
        return Err(refused("storage.fsync_policy", message));
    }
    if replication.role == Role::Replica && replication.upstream.is_none() {
        let message =
            format!("{key} is replica but replication.upstream is not set; name the primary");
        return Err(refused("replication.upstream", message));
    }
    if replication.mode == ReplicationMode::Sync && replication.sync_replicas == 0 {
        let message =
            "replication.mode is sync but replication.sync_replicas is 0; it must be 1 or more";
        return Err(refused("replication.sync_replicas", message));
    }
    for (key, time) in [
        ("replication.sync_timeout_ms", replication.sync_timeout),
        ("replication.heartbeat_interval_secs", replication.heartbeat_interval),
        ("replication.lag_check_interval_secs", replication.lag_check_interval),
    ] {
        if time.is_zero() {
            return Err(refused(key, format!("{key} must be more than 0")));
        }
    }
    Ok(())
}

/// The path of a setting that another one makes necessary.
pub(crate) fn required<'a>(
    path: &'a Option<PathBuf>,
    key: &str,
    because: &str,
) -> Result<&'a Path> {
    path.as_deref().ok_or_else(|| {
        refused(key, format!("{because} is true but {key} is not set; name a PEM file"))
    })
}

fn between(config: &Config, key: &str, value: usize, least: usize, most: usize) -> Result<()> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    let shown = table::find(key).map(|setting| (setting.show)(config));
    let value = match shown {
        Some(super::forms::Shown::Text(text)) => text,
        _ => value.to_string(),
    };
    let range = match most {
        usize::MAX => format!("at least {least}"),
        _ => format!("between {least} and {most}"),
    };
    Err(refused(key, format!("{key} is {value}; it must be {range}")))
}

/// Names the settings that are set and do nothing yet, or not all that they say.
pub(super) fn remark(config: &Config, warnings: &mut Vec<String>) {
    warnings.extend(events(&config.limits));
    if config.replication.poll_interval != Config::default().replication.poll_interval {
        warnings.push(
            "replication.poll_interval_ms has no effect: changes are sent as they come".to_owned(),
        );
    }
}
