//! The settings, section by section: field, default, spelling and meaning, once.
//!
//! `key` is the name in YAML where it differs from the field's, `env` the environment variable where
//! it is not `RSTMDB_SECTION_KEY`, `also` another accepted spelling. The documentation of a field is
//! its text in the reference and in the example file.

use std::path::PathBuf;
use std::time::Duration;

use rstmdb_engine::{FsyncPolicy, Retention};

use super::forms::{
    self, Bytes, Flag, List, Mebibytes, Millis, Number, Optional, PathForm, Plain, RetentionForm,
    Seconds, SettingForm, Words,
};
use super::setting::{Reload, Setting};
use super::token_hash::TokenHash;
use super::values::{
    Address, LogFormat, MemberRole, OnTimeout, Outside, ReplicationMode, Role, Secret, Seed,
};

macro_rules! section {
    ($(#[doc = $section_doc:literal])+ $name:ident $(: $outside:ident)? in $section:ident, $rows:ident {
        $($(#[doc = $doc:literal])+ $reload:ident $field:ident: $type:ty = $default:expr, $form:expr
          $(, key $key:literal)? $(, env $env:literal)? $(, also $also:literal)?;)+
    }) => {
        section!(@type $($outside)? $(#[doc = $section_doc])+ $name {
            $($(#[doc = $doc])+ $field: $type = $default;)+
        });

        pub(super) const $rows: &[Setting] = &[$(Setting {
            key: section!(@key $section, $field $(, $key)?),
            environment: section!(@env $($env)?),
            also: section!(@also $($also)?),
            doc: concat!($($doc, "\n"),+),
            reload: Reload::$reload,
            kind: || forms::of::<$type, _>($form).kind(),
            set: |config, node| {
                let value = $form.read(node)?;
                $form.replace(&mut config.$section.$field, value);
                Ok(())
            },
            add: |config, node| {
                let value = $form.read(node)?;
                $form.add(&mut config.$section.$field, value);
                Ok(())
            },
            show: |config| $form.show(&config.$section.$field),
            same: |left, right| left.$section.$field == right.$section.$field,
            copy: |into, from| into.$section.$field.clone_from(&from.$section.$field),
        },)+];
    };
    (@type foreign $($rest:tt)*) => {};
    (@type $(#[doc = $section_doc:literal])+ $name:ident {
        $($(#[doc = $doc:literal])+ $field:ident: $type:ty = $default:expr;)+
    }) => {
        $(#[doc = $section_doc])+
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            $($(#[doc = $doc])+ pub $field: $type,)+
        }

        impl Default for $name {
            fn default() -> $name {
                $name { $($field: $default,)+ }
            }
        }
    };
    (@key $section:ident, $field:ident) => { concat!(stringify!($section), ".", stringify!($field)) };
    (@key $section:ident, $field:ident, $key:literal) => { concat!(stringify!($section), ".", $key) };
    (@env) => { None };
    (@env $env:literal) => { Some($env) };
    (@also) => { None };
    (@also $also:literal) => { Some($also) };
}

section! {
    /// The listener, and what its connections are held to.
    NetworkConfig in network, NETWORK {
        /// The address the server listens on, `host:port`.
        Restart bind_addr: Address = Address::local(7401), Plain::new("an address"), env "RSTMDB_BIND";
        /// A connection on which nothing was asked and nothing sent, answers and events alike, is closed
        /// after this time; 0 for never.
        Live idle_timeout: Duration = Duration::from_secs(300), Seconds, key "idle_timeout_secs",
            env "RSTMDB_IDLE_TIMEOUT";
        /// The most open connections; 0 for no limit.
        Live max_connections: usize = 1000, Number::new(), env "RSTMDB_MAX_CONNECTIONS";
        /// The most open connections from one IP address; 0 for no limit, which is the default because
        /// many clients may share the address of a proxy.
        Live max_connections_per_address: usize = 0, Number::new();
        /// The largest frame a client may send. Clients know 16 MiB at most.
        Live max_frame_bytes: usize = 16 << 20, Bytes::new();
        /// The largest frame before authentication, where that is required.
        Live max_frame_bytes_unauthenticated: usize = 64 << 10, Bytes::new();
        /// The bound on what has arrived of large frames, all together; above it they become whole one
        /// after the other.
        Restart frame_memory_bytes: usize = 128 << 20, Bytes::new();
        /// The most requests of one connection that are not answered yet; more are read later.
        Live max_in_flight_requests: usize = 4096, Number::new();
        /// Answers of one connection that its client has not taken yet; above this, no more of its
        /// requests are read.
        Live max_buffered_response_bytes: usize = 1 << 20, Bytes::new();
        /// The most subscriptions of one connection.
        Live max_subscriptions: usize = 1000, Number::new();
        /// The time for the TLS handshake, and the time after it for the first request and, where
        /// authentication is required, for that.
        Live handshake_timeout: Duration = Duration::from_secs(10), Seconds, key "handshake_timeout_secs";
        /// The time in which a frame that has begun must be complete.
        Live frame_timeout: Duration = Duration::from_secs(30), Seconds, key "frame_timeout_secs";
        /// The most requests per second of one connection; 0 for no limit. A changed rate is for new
        /// connections.
        Live requests_per_second: u32 = 0, Number::new();
        /// The most requests per second of all connections with one token; 0 for no limit.
        Live requests_per_second_per_token: u32 = 0, Number::new();
        /// Requests that may come at once before the rates above hold; 0 for as many as the rate
        /// allows in a second.
        Live request_burst: u32 = 0, Number::new();
    }
}

section! {
    /// Where and how data is kept.
    StorageConfig in storage, STORAGE {
        /// The directory of the database. One process at a time has it open.
        Restart data_dir: PathBuf = PathBuf::from("./data"), PathForm, env "RSTMDB_DATA";
        /// The size of a log segment.
        Restart wal_segment_bytes: u64 = 64 << 20, Mebibytes, key "wal_segment_size_mb",
            env "RSTMDB_WAL_SEGMENT_SIZE_MB";
        /// When the log is synced, and with it what an answer promises: `every_write` (an answer waits
        /// for its sync), `every_n:100` (a sync every 100 changes), `every_ms:100` (a sync every 100 ms)
        /// or `never`.
        Restart fsync_policy: FsyncPolicy = FsyncPolicy::EveryWrite, forms::Fsync,
            env "RSTMDB_FSYNC_POLICY";
        /// Whether the id of a deleted instance may be used again.
        Restart allow_instance_recreate: bool = true, Flag, env "RSTMDB_ALLOW_INSTANCE_RECREATE";
        /// Whether `FLUSH_ALL` is allowed.
        Restart allow_flush_all: bool = false, Flag, env "RSTMDB_ALLOW_FLUSH_ALL";
        /// How much of the log is kept for history and replayed watches: a size such as `1GiB`, an age
        /// such as `30d`, or `forever`.
        Restart retention: Retention = Retention::Bytes(1 << 30), RetentionForm;
        /// Writes are refused when less than this is free on the disk.
        Restart free_bytes_min: u64 = 64 << 20, Bytes::new();
        /// How long idempotency keys are remembered.
        Restart idempotency_window: Duration = Duration::from_secs(24 * 3600), Seconds,
            key "idempotency_window_secs";
        /// The most idempotency keys remembered; the oldest give way.
        Restart idempotency_keys_max: usize = 1_000_000, Number::new();
        /// Recent log kept in memory for watches.
        Restart watch_ring_bytes: usize = 8 << 20, Bytes::new();
    }
}

section! {
    /// When the server compacts by itself.
    CompactionConfig in compaction, COMPACTION {
        /// Whether the server compacts by itself: writes a checkpoint, so that a start is quick, and
        /// deletes log that `storage.retention` does not keep.
        Live enabled: bool = true, Flag, env "RSTMDB_COMPACT_ENABLED";
        /// Compact after this many changes, or half as many as there are instances where that is
        /// more; 0 for not by their number.
        Live events_threshold: u64 = 10_000, Number::new(), env "RSTMDB_COMPACT_EVENTS";
        /// Compact after this much log; 0 for not by its size.
        Live size_threshold_bytes: u64 = 100 << 20, Mebibytes, key "size_threshold_mb",
            env "RSTMDB_COMPACT_SIZE_MB";
        /// The time between two compactions, at least.
        Live min_interval: Duration = Duration::from_secs(60), Seconds, key "min_interval_secs",
            env "RSTMDB_COMPACT_INTERVAL";
    }
}

section! {
    /// Who may talk to the server.
    AuthConfig in auth, AUTH {
        /// Whether a client must present a token before anything but HELLO, AUTH, PING and BYE.
        Live required: bool = false, Flag, env "RSTMDB_AUTH_REQUIRED";
        /// The SHA-256 of each accepted token in hex, as `rstmdb-cli hash-token` prints it, or
        /// `name:hash`; the name shows up in logs. The environment variable adds one.
        Live token_hashes: Vec<TokenHash> = Vec::new(), List::hidden("token hashes"),
            env "RSTMDB_AUTH_TOKEN_HASH";
        /// A file with more of them, one a line; `#` begins a comment.
        Live secrets_file: Option<PathBuf> = None, Optional(PathForm),
            env "RSTMDB_AUTH_SECRETS_FILE";
        /// Whether a connection ends as soon as its token is not listed any more; else it stays what it
        /// is until it ends. A watch without a token ends when one becomes required.
        Live end_revoked: bool = false, Flag;
    }
}

section! {
    /// Encryption of the listener.
    TlsConfig in tls, TLS {
        /// Whether the listener speaks TLS (1.2 and 1.3), and nothing else.
        Restart enabled: bool = false, Flag, env "RSTMDB_TLS_ENABLED";
        /// The certificate chain, PEM. Read again when the file changes, as are the next three.
        Live cert_path: Option<PathBuf> = None, Optional(PathForm), env "RSTMDB_TLS_CERT";
        /// The private key, PEM: PKCS#8, PKCS#1 or SEC1.
        Live key_path: Option<PathBuf> = None, Optional(PathForm), env "RSTMDB_TLS_KEY";
        /// Whether clients must present a certificate of `client_ca_path`.
        Live require_client_cert: bool = false, Flag, env "RSTMDB_TLS_REQUIRE_CLIENT_CERT";
        /// The certificate authorities of clients, PEM.
        Live client_ca_path: Option<PathBuf> = None, Optional(PathForm), env "RSTMDB_TLS_CLIENT_CA";
    }
}

section! {
    /// The HTTP endpoint with metrics and health.
    MetricsConfig in metrics, METRICS {
        /// Whether `/metrics` and `/health` are served. They need no token, so by default only this
        /// machine reaches them.
        Restart enabled: bool = true, Flag, env "RSTMDB_METRICS_ENABLED";
        /// The address of this endpoint.
        Restart bind_addr: Address = Address::local(9090), Plain::new("an address"), env "RSTMDB_METRICS_BIND";
    }
}

section! {
    /// What requests are held to; the type is the engine's.
    Limits: foreign in limits, LIMITS {
        /// The longest instance id, machine name, event name, event id or idempotency key.
        Restart name_bytes_max: usize = 0, Bytes::new();
        /// How deeply a context or a payload may nest; more than 120 means 120.
        Restart json_depth_max: usize = 0, Number::new();
        /// The largest context of an instance, as canonical JSON.
        Restart context_bytes_max: usize = 0, Bytes::new();
        /// The largest payload of an event, as canonical JSON.
        Restart payload_bytes_max: usize = 0, Bytes::new();
        /// The largest machine definition, as canonical JSON.
        Restart definition_bytes_max: usize = 0, Bytes::new();
        /// The most bytes of all machine definitions together. Each byte takes up to 6 bytes of memory,
        /// and each definition up to 16 KiB for its guards.
        Restart machine_bytes_max: usize = 0, Bytes::new();
        /// The most states of a machine.
        Restart states_max: usize = 0, Number::new();
        /// The most transitions of a machine, counted per source state.
        Restart transitions_max: usize = 0, Number::new();
        /// The longest guard, and the longest expression of an action.
        Restart guard_bytes_max: usize = 0, Bytes::new();
        /// The most steps that the expressions of one event may take.
        Restart evaluation_steps_max: usize = 0, Number::new();
        /// The most bytes of texts and lists that the expressions of one event may make.
        Restart evaluation_bytes_max: usize = 0, Bytes::new();
        /// The most transitions that an event may set off in the machine itself.
        Restart steps_max: usize = 0, Number::new();
        /// The most actions in one list.
        Restart actions_max: usize = 0, Number::new();
        /// The most versions of one machine; 0 for no limit.
        Restart machine_versions_max: u32 = 0, Number::new(), env "RSTMDB_MAX_MACHINE_VERSIONS",
            also "storage.max_machine_versions";
        /// The most operations in one batch.
        Restart batch_operations_max: usize = 0, Number::new();
        /// The most contexts and payloads of one batch, together.
        Restart batch_bytes_max: usize = 0, Bytes::new();
        /// The most bytes of the results of one batch, as JSON. A batch of more is refused before anything
        /// of it happens.
        Restart answer_bytes_max: usize = 0, Bytes::new();
        /// The most entries of one page of a list, a history or a log read.
        Restart page_entries_max: u32 = 0, Number::new();
        /// The most snapshots of one instance; 0 for no limit.
        Restart snapshots_max: u32 = 0, Number::new();
    }
}

section! {
    /// The server's own messages.
    LogConfig in log, LOG {
        /// What is logged: `error`, `warn`, `info`, `debug`, `trace`, or a filter such as
        /// `info,rstmdb_server=debug`. No request has a line of its own at `info`.
        Live level: String = "info".to_owned(), forms::FilterForm, env "RUST_LOG";
        /// `json`, `pretty`, or `auto`: pretty on a terminal, else JSON.
        Restart format: LogFormat = LogFormat::Auto, Plain::new("a format");
    }
}

section! {
    /// Threads and stopping.
    ProcessConfig in server, SERVER {
        /// Threads that serve connections; 0 for as many as there are processors.
        Restart worker_threads: usize = 0, Number::new();
        /// A socket of this machine, a path, where `rstmdb --reload` asks for this configuration to be
        /// read again and hears how that went, and `rstmdb --sessions` who is connected; none by default.
        Restart control_socket: Option<PathBuf> = None, Optional(PathForm);
        /// How long a stop waits for requests that have begun.
        Restart shutdown_timeout: Duration = Duration::from_secs(10), Seconds, key "shutdown_timeout_secs";
    }
}

section! {
    /// Replicas, which follow the log of another server.
    ReplicationConfig in replication, REPLICATION {
        /// `standalone`; `primary`, which takes the writes and is followed; or `replica`, which follows. Any of them
        /// can be followed; only a primary can give its part to a replica. What was ordered since, such as a promotion,
        /// holds until this or `upstream` is changed.
        Restart role: Role = Role::Standalone, Plain::new("a role"),
            env "RSTMDB_REPL_ROLE";
        /// `async`: a primary waits for nobody; `sync`: a change counts when `sync_replicas` replicas have it on their
        /// disks, and nothing of it is shown before.
        Restart mode: ReplicationMode = ReplicationMode::Async, Plain::new("a mode"),
            env "RSTMDB_REPL_MODE";
        /// Where a replica gets the log from, `host:port`: a client's address of the primary, or of another replica.
        Restart upstream: Option<Address> = None, Optional(Plain::new("an address")), env "RSTMDB_REPL_UPSTREAM";
        /// What this server is called among the others; by default its number.
        Restart name: Option<String> = None, Optional(Plain::new("a name"));
        /// Its number among the others, 1 to 65535; 0: one is drawn for an empty directory. It does not change.
        Restart node: u16 = 0, Number::new();
        /// Where clients and the others reach this server, `host:port`; by default `network.bind_addr`, where that is
        /// not all addresses.
        Restart advertise: Option<Address> = None, Optional(Plain::new("an address"));
        /// Replicas a write waits for in mode `sync`.
        Restart sync_replicas: u32 = 1, Number::new(), env "RSTMDB_REPL_SYNC_REPLICAS";
        /// How long an answer waits for them; then it is `REPLICATION_TIMEOUT`, and what becomes of the change is open.
        Restart sync_timeout: Duration = Duration::from_secs(5), Millis, key "sync_timeout_ms",
            env "RSTMDB_REPL_SYNC_TIMEOUT_MS";
        /// What comes of missing replicas in mode `sync`: `hold` waits for them; `degrade` goes on without them after
        /// `sync_timeout_ms`, until enough of them are back.
        Restart on_timeout: OnTimeout = OnTimeout::Hold, Plain::new("a choice");
        /// A primary takes writes while so many replicas are connected and get the log; 0 for none.
        Restart min_in_sync_replicas: u32 = 0, Number::new();
        /// How far behind in time a replica may be: beyond it reads are refused with `lag_exceeded`, and it is not
        /// ready; 0 for any.
        Restart max_lag: Duration = Duration::from_secs(30), Seconds, key "max_lag_seconds";
        /// How far behind in changes a replica may be, in the same sense; 0 for any.
        Restart max_lag_entries: u64 = 0, Number::new();
        /// The most bytes of the log and of checkpoints that are sent to each replica in a second; 0 for as many as it takes. In mode
        /// `sync` writes wait for it.
        Restart bytes_per_second: usize = 0, Bytes::new();
        /// The token a replica presents. Where there are no `auth_token_hashes`, it is what this server accepts, too.
        Restart auth_token: Option<Secret> = None, forms::Hidden, env "RSTMDB_REPL_AUTH_TOKEN";
        /// The hashes of the tokens that replicas may present, as in `auth.token_hashes`. Without any, a client's token
        /// is asked for where `auth.required` says so.
        Live auth_token_hashes: Vec<TokenHash> = Vec::new(), List::hidden("token hashes"),
            env "RSTMDB_REPL_AUTH_TOKEN_HASH";
        /// A file with more of them.
        Live auth_secrets_file: Option<PathBuf> = None, Optional(PathForm),
            env "RSTMDB_REPL_AUTH_SECRETS_FILE";
        /// No effect: changes are sent as they come. It was of use to release 0.3.
        Restart poll_interval: Duration = Duration::from_millis(10), Millis, key "poll_interval_ms",
            env "RSTMDB_REPL_POLL_INTERVAL_MS";
        /// How often an idle link shows that it lives; one that is silent for three times as long, and 10 seconds, ends.
        Restart heartbeat_interval: Duration = Duration::from_secs(5), Seconds,
            key "heartbeat_interval_secs", env "RSTMDB_REPL_HEARTBEAT_INTERVAL_SECS";
        /// The first pause before a replica connects again.
        Restart reconnect_delay: Duration = Duration::from_secs(1), Seconds, key "reconnect_delay_secs",
            env "RSTMDB_REPL_RECONNECT_DELAY_SECS";
        /// The longest such pause.
        Restart reconnect_max_delay: Duration = Duration::from_secs(60), Seconds,
            key "reconnect_max_delay_secs", env "RSTMDB_REPL_RECONNECT_MAX_DELAY_SECS";
        /// How often the lag is looked at where nothing else happens.
        Restart lag_check_interval: Duration = Duration::from_secs(10), Seconds,
            key "lag_check_interval_secs", env "RSTMDB_REPL_LAG_CHECK_INTERVAL_SECS";
        /// Whether the link to the primary is encrypted.
        Restart tls_enabled: bool = false, Flag, env "RSTMDB_REPL_TLS_ENABLED";
        /// The certificate authorities of the primary, PEM; without it, the public ones.
        Restart tls_ca_path: Option<PathBuf> = None, Optional(PathForm), env "RSTMDB_REPL_TLS_CA";
        /// Whether the primary's certificate is taken unseen.
        Restart tls_insecure: bool = false, Flag, env "RSTMDB_REPL_TLS_INSECURE";
        /// The certificate that a replica presents, PEM, where the primary asks for one.
        Restart tls_cert_path: Option<PathBuf> = None, Optional(PathForm);
        /// Its key, PEM.
        Restart tls_key_path: Option<PathBuf> = None, Optional(PathForm);
    }
}

section! {
    /// A group of nodes that decide together, so that one of them may fail.
    ClusterConfig in cluster, CLUSTER {
        /// Whether this server is a member of a group.
        Restart enabled: bool = false, Flag;
        /// The name of the group. All members have the same, and others are refused.
        Restart name: String = "rstmdb".to_owned(), Plain::new("a name");
        /// What this node is called in messages; by default its address.
        Restart node_name: Option<String> = None, Optional(Plain::new("a name"));
        /// Where the other members connect, `host:port`: not where clients do.
        Restart bind_addr: Address = Address::local(7403), Plain::new("an address");
        /// Where they reach this node, if that is not `bind_addr`.
        Restart advertise: Option<Address> = None, Optional(Plain::new("an address"));
        /// Where clients reach this node, if that is not `network.bind_addr`.
        Restart advertise_clients: Option<Address> = None, Optional(Plain::new("an address"));
        /// Where other nodes are found: addresses, `dns:NAME:PORT` for a name that has several, or `file:PATH` for a
        /// file with one on each line.
        Restart seeds: Vec<Seed> = Vec::new(), Words::new("addresses");
        /// Whether the group begins with this node and what is in its directory, unless a node of `seeds` belongs to one.
        Restart bootstrap: bool = false, Flag;
        /// The group begins by itself when so many nodes with empty directories find each other; 0: it does not.
        Restart bootstrap_expect: u32 = 0, Number::new();
        /// Where this node stands, such as a room or a data centre. Reads that may be behind go to a node of the client's own.
        Restart zone: Option<String> = None, Optional(Plain::new("a name"));
        /// `voter`, or `learner`: a copy for reads that has no vote.
        Restart role: MemberRole = MemberRole::Voter, Plain::new("a part in the group");
        /// How often the leader says that it leads.
        Restart heartbeat: Duration = Duration::from_millis(60), Millis, key "heartbeat_ms";
        /// A follower that heard nothing for so long, at least, wants to lead.
        Restart election_min: Duration = Duration::from_millis(250), Millis, key "election_min_ms";
        /// The same, at most.
        Restart election_max: Duration = Duration::from_millis(500), Millis, key "election_max_ms";
        /// The newest level of the group that this node says it knows; 0: as many as its release does. A member that should be
        /// able to go back to the release before keeps the group from working at a later level.
        Restart level_max: u32 = 0, Number::new();
        /// Whether a member that does not lead carries whole sessions of clients that speak the plain dialect, as those of
        /// release 0.3 do, to the one that leads.
        Restart relay_plain: bool = true, Flag;
        /// The certificate of this node, PEM: for servers and for clients, with the name or address by which the others
        /// reach it. Without certificates members must be on this machine. The files are read again when they change.
        Restart tls_cert_path: Option<PathBuf> = None, Optional(PathForm);
        /// Its key, PEM.
        Restart tls_key_path: Option<PathBuf> = None, Optional(PathForm);
        /// The authority of the group's certificates, PEM. Whoever has one of its certificates may be a member.
        Restart tls_ca_path: Option<PathBuf> = None, Optional(PathForm);
    }
}

section! {
    /// What is called when this node's part among others changes: each a command for the shell, or an address that begins
    /// with `http://` and gets a POST. One is called at a time, in order.
    HooksConfig in hooks, HOOKS {
        /// Called when this server becomes something else: a primary, a replica, a leader, a follower.
        Restart on_role_change: Option<Outside> = None, Optional(Plain::new("a command or an address"));
        /// Called when a copy is further behind than the settings allow.
        Restart on_lag: Option<Outside> = None, Optional(Plain::new("a command or an address"));
        /// Called when too few others are there: no node leads the group any more, or a primary has fewer replicas than it must.
        Restart on_quorum_lost: Option<Outside> = None, Optional(Plain::new("a command or an address"));
        /// Called before a replica takes the writes because somebody asked; exit code 75, or status 409, forbids it.
        Restart on_promote_request: Option<Outside> = None, Optional(Plain::new("a command or an address"));
        /// Called when a backup that was asked of this server fails.
        Restart on_backup_failed: Option<Outside> = None, Optional(Plain::new("a command or an address"));
        /// How long a call may take; then it is given up.
        Restart timeout: Duration = Duration::from_secs(30), Seconds, key "timeout_secs";
    }
}

section! {
    /// A lease that something outside grants: a primary takes writes only while it holds it, so that never two do. A group
    /// needs none.
    FenceConfig in fence, FENCE {
        /// A command for the shell that takes or renews the lease; exit code 0 grants it.
        Restart command: Option<Outside> = None, Optional(Plain::new("a command"));
        /// In its place an address that begins with `http://` and gets a POST; a status of 200 to 299 grants it.
        Restart url: Option<Outside> = None, Optional(Plain::new("an address"));
        /// How long a lease lasts. It is renewed three times in it.
        Restart ttl: Duration = Duration::from_secs(10), Seconds, key "ttl_secs";
    }
}
