//! The configuration through its public interface: spellings, sources, refusals, output.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use rstmdb_engine::{FsyncPolicy, Retention};
use rstmdb_server::config::{self, Config, LoadedConfig, LogFormat, SETTINGS, Setting, Sources};
use rstmdb_server::live::LiveSettings;
use rstmdb_types::{Error, Limits};

/// The SHA-256 of `abc`.
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn settings() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().copied().flatten()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A file in a folder that is gone when the test ends.
struct Written {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn written(text: &str) -> Written {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rstmdb.yaml");
    std::fs::write(&path, text).unwrap();
    Written { _folder: folder, path }
}

fn from_file(path: &Path) -> Result<LoadedConfig, Error> {
    Config::load(&Sources { file: Some(path.to_owned()), ..Sources::default() })
}

fn from_yaml(text: &str) -> Result<LoadedConfig, Error> {
    from_file(&written(text).path)
}

fn from_environment(variables: &[(&str, &str)]) -> Result<LoadedConfig, Error> {
    Config::load(&Sources { environment: pairs(variables), ..Sources::default() })
}

fn from_flag(key: &str, value: &str) -> Result<LoadedConfig, Error> {
    Config::load(&Sources { overrides: pairs(&[(key, value)]), ..Sources::default() })
}

#[test]
fn without_sources_everything_has_its_default() {
    let loaded = Config::load(&Sources::default()).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert!(loaded.warnings.is_empty());
    assert_eq!(loaded.config.limits, Limits::default());
    assert_eq!(from_yaml("").unwrap().config, Config::default());
    assert_eq!(from_yaml("# nothing\nnetwork:\nstorage: {}\n").unwrap().config, Config::default());
}

/// The variables and defaults that installations rely on.
#[test]
fn known_variables_and_defaults_stay() {
    let known = "
        network.bind_addr RSTMDB_BIND 127.0.0.1:7401
        network.idle_timeout_secs RSTMDB_IDLE_TIMEOUT 300
        network.max_connections RSTMDB_MAX_CONNECTIONS 1000
        storage.data_dir RSTMDB_DATA ./data
        storage.wal_segment_size_mb RSTMDB_WAL_SEGMENT_SIZE_MB 64
        storage.fsync_policy RSTMDB_FSYNC_POLICY every_write
        storage.max_machine_versions RSTMDB_MAX_MACHINE_VERSIONS 0
        storage.allow_instance_recreate RSTMDB_ALLOW_INSTANCE_RECREATE true
        storage.allow_flush_all RSTMDB_ALLOW_FLUSH_ALL false
        compaction.enabled RSTMDB_COMPACT_ENABLED true
        compaction.events_threshold RSTMDB_COMPACT_EVENTS 10000
        compaction.size_threshold_mb RSTMDB_COMPACT_SIZE_MB 100
        compaction.min_interval_secs RSTMDB_COMPACT_INTERVAL 60
        auth.required RSTMDB_AUTH_REQUIRED false
        auth.token_hashes RSTMDB_AUTH_TOKEN_HASH []
        auth.secrets_file RSTMDB_AUTH_SECRETS_FILE null
        tls.enabled RSTMDB_TLS_ENABLED false
        tls.cert_path RSTMDB_TLS_CERT null
        tls.key_path RSTMDB_TLS_KEY null
        tls.require_client_cert RSTMDB_TLS_REQUIRE_CLIENT_CERT false
        tls.client_ca_path RSTMDB_TLS_CLIENT_CA null
        metrics.enabled RSTMDB_METRICS_ENABLED true
        metrics.bind_addr RSTMDB_METRICS_BIND 127.0.0.1:9090
        replication.role RSTMDB_REPL_ROLE standalone
        replication.mode RSTMDB_REPL_MODE async
        replication.upstream RSTMDB_REPL_UPSTREAM null
        replication.sync_replicas RSTMDB_REPL_SYNC_REPLICAS 1
        replication.sync_timeout_ms RSTMDB_REPL_SYNC_TIMEOUT_MS 5000
        replication.max_lag_seconds - 30
        replication.max_lag_entries - 0
        replication.auth_token RSTMDB_REPL_AUTH_TOKEN null
        replication.auth_token_hashes RSTMDB_REPL_AUTH_TOKEN_HASH []
        replication.auth_secrets_file RSTMDB_REPL_AUTH_SECRETS_FILE null
        replication.poll_interval_ms RSTMDB_REPL_POLL_INTERVAL_MS 10
        replication.heartbeat_interval_secs RSTMDB_REPL_HEARTBEAT_INTERVAL_SECS 5
        replication.reconnect_delay_secs RSTMDB_REPL_RECONNECT_DELAY_SECS 1
        replication.reconnect_max_delay_secs RSTMDB_REPL_RECONNECT_MAX_DELAY_SECS 60
        replication.lag_check_interval_secs RSTMDB_REPL_LAG_CHECK_INTERVAL_SECS 10
        replication.tls_enabled RSTMDB_REPL_TLS_ENABLED false
        replication.tls_ca_path RSTMDB_REPL_TLS_CA null
        replication.tls_insecure RSTMDB_REPL_TLS_INSECURE false
        log.level RUST_LOG info";
    let printed = config::print(&Config::default());
    let printed: Vec<_> = printed.lines().map(str::trim).collect();
    for line in known.trim().lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        let (key, variable, default) = (words[0], words[1], words[2]);
        let setting = settings().find(|s| s.key == key || s.also == Some(key)).expect(key);
        if variable != "-" {
            assert_eq!(setting.variable(), variable, "{key}");
        }
        let line = format!("{}: {default}", setting.name());
        assert!(printed.contains(&line.as_str()), "{key}: {line}");
    }
}

#[test]
fn names_and_variables_are_unique_and_every_setting_is_documented() {
    let mut names: Vec<_> = settings().flat_map(|s| [Some(s.key), s.also]).flatten().collect();
    let mut variables: Vec<_> = settings().map(|s| s.variable()).collect();
    let (name_count, variable_count) = (names.len(), variables.len());
    names.sort_unstable();
    names.dedup();
    variables.sort_unstable();
    variables.dedup();
    assert_eq!((names.len(), variables.len()), (name_count, variable_count));
    for setting in settings() {
        assert!(setting.doc().ends_with('.'), "{}", setting.key);
        assert!(!setting.kind().is_empty(), "{}", setting.key);
    }
}

#[test]
fn every_limit_of_the_engine_can_be_set() {
    let limits = config::print(&Config::default());
    let limits: Vec<_> = limits
        .lines()
        .skip_while(|line| *line != "limits:")
        .skip(1)
        .take_while(|line| line.starts_with(' '))
        .map(|line| line.trim().split(':').next().unwrap().to_owned())
        .collect();
    let shown = format!("{:?}", Limits::default());
    let fields: Vec<_> = shown
        .trim_start_matches("Limits {")
        .trim_end_matches('}')
        .split(',')
        .map(|field| field.split(':').next().unwrap().trim().to_owned())
        .filter(|field| !field.is_empty())
        .collect();
    let sorted = |mut list: Vec<String>| {
        list.sort_unstable();
        list
    };
    assert_eq!(sorted(limits), sorted(fields));
}

/// Each setting on its own, in each way of setting it, arrives and is printed as it was given.
#[test]
fn every_setting_can_be_set_by_file_environment_and_flag() {
    for setting in settings() {
        let value = match setting.kind() {
            "a number" | "a size in MiB" => "7",
            "a size in bytes" => "32MiB",
            "a time in seconds" | "a time in milliseconds" => "77",
            "true or false"
                if setting.key.contains("enabled") && !setting.key.starts_with("tls") =>
            {
                "false"
            }
            "true or false" => continue,
            "an address" => "example.org:77",
            "a path" => "/some/path",
            "token hashes" | "a secret" => continue,
            "a level or a filter" => "rstmdb_server=debug",
            "a format" => "json",
            "a mode" => "sync",
            "a name" => "kitchen",
            "a choice" => "degrade",
            "a role" => "standalone",
            "a command or an address" | "a command" => "true",
            "a part in the group" => "learner",
            "addresses" => "example.org:77",
            "a sync policy" => "every_ms:20",
            "a size, an age or forever" => "forever",
            other => panic!("{}: what is {other}?", setting.key),
        };
        let value = match setting.name() {
            // Held to each other, or to a range.
            "max_frame_bytes" => "1MiB",
            "max_frame_bytes_unauthenticated" => "2KiB",
            "frame_memory_bytes" => "1GiB",
            "max_buffered_response_bytes" => "5KiB",
            "name_bytes_max" => "2KiB",
            // They must fit a frame.
            "context_bytes_max" | "payload_bytes_max" | "definition_bytes_max" => "5MiB",
            "answer_bytes_max" => "5MiB",
            _ => value,
        };
        if matches!(setting.key, "fence.command" | "fence.url") {
            // They need a role beside them: tests of hooks set both.
            continue;
        }
        let file = format!("{}:\n  {}: {value}\n", setting.section(), setting.name());
        let expected = format!("  {}: {value}", setting.name());
        for (source, loaded) in [
            ("file", from_yaml(&file)),
            ("environment", from_environment(&[(&setting.variable(), value)])),
            ("flag", from_flag(setting.key, value)),
        ] {
            let loaded = loaded.unwrap_or_else(|error| panic!("{source}: {error}"));
            let printed = config::print(&loaded.config);
            let section = printed.split(&format!("{}:\n", setting.section())).nth(1).unwrap();
            assert!(
                section.lines().any(|line| line == expected),
                "{source}: {expected}\n{printed}"
            );
        }
    }
}

#[test]
fn later_sources_win() {
    let file =
        written("network:\n  bind_addr: 127.0.0.1:1\n  max_connections: 1\nlog: {level: error}\n");
    let mut sources = Sources {
        file: Some(file.path.clone()),
        environment: pairs(&[
            ("RSTMDB_BIND", "127.0.0.1:2"),
            ("RUST_LOG", "debug"),
            ("RSTMDB_DATA", ""),
        ]),
        overrides: pairs(&[
            ("network.bind_addr", "127.0.0.1:3"),
            ("network.bind_addr", "127.0.0.1:4"),
        ]),
        strict: true,
    };
    let config = Config::load(&sources).unwrap().config;
    assert_eq!(config.network.bind_addr.as_str(), "127.0.0.1:4");
    assert_eq!(config.network.max_connections, 1);
    assert_eq!(config.log.level, "debug");
    assert_eq!(config.storage.data_dir, PathBuf::from("./data"));
    sources.overrides.clear();
    let config = Config::load(&sources).unwrap().config;
    assert_eq!(config.network.bind_addr.as_str(), "127.0.0.1:2");
}

#[test]
fn sync_policies_have_many_spellings() {
    for (text, policy) in [
        ("every_write", FsyncPolicy::EveryWrite),
        ("never", FsyncPolicy::Never),
        ("'never'", FsyncPolicy::Never),
        ("!never", FsyncPolicy::Never),
        ("!every_write", FsyncPolicy::EveryWrite),
        ("every_n:100", FsyncPolicy::EveryN(100)),
        ("\"every_n:100\"", FsyncPolicy::EveryN(100)),
        ("!every_n 100", FsyncPolicy::EveryN(100)),
        ("every_ms:25", FsyncPolicy::EveryMs(25)),
        ("!every_ms 25", FsyncPolicy::EveryMs(25)),
        ("\n    every_n: 7", FsyncPolicy::EveryN(7)),
        ("{every_ms: 7}", FsyncPolicy::EveryMs(7)),
    ] {
        let loaded = from_yaml(&format!("storage:\n  fsync_policy: {text}\n"));
        assert_eq!(loaded.unwrap().config.storage.fsync_policy, policy, "{text}");
    }
    for (text, policy) in [("every_n:9", FsyncPolicy::EveryN(9)), ("never", FsyncPolicy::Never)] {
        let loaded = from_environment(&[("RSTMDB_FSYNC_POLICY", text)]).unwrap();
        assert_eq!(loaded.config.storage.fsync_policy, policy);
    }
    for text in [
        "always",
        "every_n",
        "every_n:0",
        "every_n:x",
        "!every_n",
        "!often 3",
        "{every_n: 1, never: 2}",
        "[never]",
        "~",
    ] {
        let error = from_yaml(&format!("storage:\n  fsync_policy: {text}\n")).unwrap_err();
        assert!(
            error.message().contains("line 2: storage.fsync_policy must be"),
            "{text}: {error}"
        );
    }
    for text in ["every_n:many", "sometimes"] {
        let error = from_environment(&[("RSTMDB_FSYNC_POLICY", text)]).unwrap_err();
        assert!(error.message().contains("RSTMDB_FSYNC_POLICY"), "{error}");
    }
}

#[test]
fn sizes_times_and_retention_take_units() {
    let yaml = "
network: {max_frame_bytes: 1MiB, idle_timeout_secs: 5m, frame_timeout_secs: 1500ms, max_connections: 1_000_000}
storage: {wal_segment_size_mb: 512KiB, free_bytes_min: 1048576, idempotency_window_secs: 2days}
compaction: {size_threshold_mb: 3, min_interval_secs: 0}
replication: {sync_timeout_ms: 2s}
";
    let config = from_yaml(yaml).unwrap().config;
    assert_eq!(config.network.max_frame_bytes, 1 << 20);
    assert_eq!(config.network.idle_timeout, Duration::from_secs(300));
    assert_eq!(config.network.frame_timeout, Duration::from_millis(1500));
    assert_eq!(config.network.max_connections, 1_000_000);
    assert_eq!(config.storage.wal_segment_bytes, 512 << 10);
    assert_eq!(config.storage.free_bytes_min, 1 << 20);
    assert_eq!(config.storage.idempotency_window, Duration::from_secs(2 * 86_400));
    assert_eq!(config.compaction.size_threshold_bytes, 3 << 20);
    assert_eq!(config.compaction.min_interval, Duration::ZERO);
    assert_eq!(config.replication.sync_timeout, Duration::from_secs(2));
    for (text, retention) in [
        ("forever", Retention::Forever),
        ("5000", Retention::Bytes(5000)),
        ("2GiB", Retention::Bytes(2 << 30)),
        ("2GB", Retention::Bytes(2_000_000_000)),
        ("30d", Retention::Age(Duration::from_secs(30 * 86_400))),
        ("90min", Retention::Age(Duration::from_secs(90 * 60))),
        ("1h 30m", Retention::Age(Duration::from_secs(90 * 60))),
    ] {
        let loaded = from_flag("storage.retention", text).unwrap();
        assert_eq!(loaded.config.storage.retention, retention, "{text}");
    }
}

/// What has two readings is refused, and each way out that the message shows is taken.
#[test]
fn units_with_two_readings_are_refused_with_both() {
    for (key, value, ways) in [
        ("storage.retention", "512M", &["512MB", "512MiB", "512min", "512months"][..]),
        ("storage.retention", "512m", &["512MB", "512MiB", "512min", "512months"]),
        ("storage.retention", "1G", &["1GB", "1GiB"]),
        ("storage.retention", "90 m", &["90MB", "90MiB", "90min", "90months"]),
        ("storage.wal_segment_size_mb", "64m", &["64MB", "64MiB"]),
        ("storage.wal_segment_size_mb", "64 M", &["64MB", "64MiB"]),
        ("compaction.size_threshold_mb", "1g", &["1GB", "1GiB"]),
        ("network.max_frame_bytes", "512k", &["512KB", "512KiB"]),
        ("network.frame_memory_bytes", "256Mb", &["256MB"]),
        ("network.idle_timeout_secs", "5M", &["5min", "5months"]),
        ("network.idle_timeout_secs", "1h 5M", &["1h 5min", "1h 5months"]),
        ("replication.sync_timeout_ms", "1M", &["1min", "1months"]),
    ] {
        let setting = settings().find(|setting| setting.key == key).unwrap();
        let variable = setting.variable();
        let (section, name) = key.split_once('.').unwrap();
        for error in [
            from_flag(key, value),
            from_environment(&[(&*variable, value)]),
            from_yaml(&format!("{section}: {{{name}: {value}}}\n")),
        ] {
            let error = error.unwrap_err();
            let message = error.message();
            assert!(message.contains("has two readings"), "{key}={value}: {message}");
            assert_eq!(error.kind().exit_code(), 2);
            for way in ways {
                assert!(message.contains(way), "{way}: {message}");
                from_flag(key, way).unwrap();
            }
        }
    }
    // What is shown for a time of minutes can be read again.
    for age in ["90min", "1h 30min", "5min 3s"] {
        let config = from_flag("storage.retention", age).unwrap().config;
        let read_again = from_yaml(&config::print(&config)).unwrap().config;
        assert_eq!(read_again.storage.retention, config.storage.retention, "{age}");
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_file() {
    let yaml = written("\u{feff}network: {max_connections: 7}\n");
    assert_eq!(from_file(&yaml.path).unwrap().config.network.max_connections, 7);
    let secrets = written(&format!("\u{feff}{ABC}\n"));
    let config =
        from_yaml(&format!("auth: {{required: true, secrets_file: {:?}}}\n", secrets.path));
    LiveSettings::new(&config.unwrap().config).unwrap();
}

#[test]
fn files_that_are_no_text_are_invalid_and_say_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let utf16: Vec<u8> = "\u{feff}log: {}\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (path, part) in [
        (put("utf16", &utf16), "is UTF-16 (little-endian), not UTF-8; save it as UTF-8"),
        (put("latin1", b"# fine\n# caf\xe9\n"), "line 2 has the byte 0xe9"),
        (folder.path().to_owned(), "directory"),
        (put("file", b"").join("below"), "ot a directory"),
    ] {
        let error = from_file(&path).unwrap_err();
        assert!(error.message().contains(part), "{part}: {error}");
        assert_eq!((error.kind().exit_code(), error.retryable()), (2, false), "{error}");
        let secrets = format!("auth: {{required: true, secrets_file: {path:?}}}\n");
        let error = LiveSettings::new(&from_yaml(&secrets).unwrap().config).unwrap_err();
        assert!(error.message().contains(part), "{part}: {error}");
        assert_eq!((error.kind().exit_code(), error.retryable()), (2, false), "{error}");
    }
}

#[test]
fn values_that_cannot_be_read_are_named() {
    for (key, value, part) in [
        ("network.bind_addr", "7401", "host:port"),
        ("network.bind_addr", ":7401", "host:port"),
        ("network.bind_addr", "a b:7401", "host:port"),
        ("network.bind_addr", "h:99999", "host:port"),
        ("network.bind_addr", "", "is empty"),
        ("network.max_connections", "many", "whole number"),
        ("network.max_connections", "-1", "whole number"),
        ("network.max_connections", "1.5", "whole number"),
        ("network.requests_per_second", "5000000000", "whole number"),
        ("network.idle_timeout_secs", "soon", "a time"),
        ("network.idle_timeout_secs", "99999999999", "too long"),
        ("network.max_frame_bytes", "big", "a size"),
        ("network.max_frame_bytes", "17MiB", "between"),
        ("network.max_frame_bytes", "0", "between"),
        ("network.max_frame_bytes_unauthenticated", "100", "between"),
        ("network.frame_memory_bytes", "1MiB", "at least"),
        ("network.max_in_flight_requests", "0", "at least 1"),
        ("network.max_buffered_response_bytes", "1", "at least"),
        ("network.handshake_timeout_secs", "0", "more than 0"),
        ("network.frame_timeout_secs", "0", "more than 0"),
        ("storage.wal_segment_size_mb", "0", "more than 0"),
        ("storage.wal_segment_size_mb", "99999999999999", "too large"),
        ("storage.retention", "some", "forever"),
        ("storage.retention", "1d2", "forever"),
        ("metrics.enabled", "maybe", "true or false"),
        ("log.level", "infoo", "did you mean info?"),
        ("log.format", "xml", "auto, json, pretty"),
        ("replication.role", "leader", "standalone"),
    ] {
        let error = from_flag(key, value).unwrap_err();
        let message = error.message();
        assert!(message.contains(part) && message.contains(key), "{key}={value}: {message}");
        assert_eq!(error.context()["setting"], key);
        assert_eq!(error.kind().exit_code(), 2);
    }
    let error = from_environment(&[("RSTMDB_MAX_CONNECTIONS", "1k")]).unwrap_err();
    assert!(error.message().contains("the environment variable RSTMDB_MAX_CONNECTIONS must be"));
}

#[test]
fn an_unknown_key_is_a_warning_that_names_it_and_an_error_when_strict() {
    let file = written(
        "network:\n  max_conections: 5\n  bind_addr: 127.0.0.1:1\nnetwrk:\n  a: 1\nwhatever: 7\nstorage:\n  max_machine_versions: 3\n",
    );
    let mut sources = Sources {
        file: Some(file.path.clone()),
        environment: pairs(&[
            ("RSTMDB_BND", "x"),
            ("RSTMDB_SERVICE_HOST", "10.0.0.1"),
            ("RSTMDB_PORT_7401_TCP", "tcp://10.0.0.1:7401"),
            ("RSTMDB_TOKEN", "secret"),
        ]),
        ..Sources::default()
    };
    let loaded = Config::load(&sources).unwrap();
    assert_eq!(loaded.config.network.bind_addr.as_str(), "127.0.0.1:1");
    assert_eq!(loaded.config.limits.machine_versions_max, 3);
    let path = file.path.display();
    let expected = [
        format!(
            "{path}, line 2: there is no setting \"network.max_conections\"; did you mean network.max_connections?"
        ),
        format!(
            "{path}, line 5: there is no setting \"netwrk\"; `rstmdb --print-example-config` shows all"
        ),
        format!(
            "{path}, line 6: there is no setting \"whatever\"; `rstmdb --print-example-config` shows all"
        ),
        "the environment variable RSTMDB_BND is not a setting; did you mean RSTMDB_BIND?"
            .to_owned(),
    ];
    assert_eq!(loaded.warnings, expected);
    sources.strict = true;
    let error = Config::load(&sources).unwrap_err();
    assert!(error.message().contains("max_conections") && error.message().contains("--strict"));
    let error = from_flag("network.bnd_addr", "h:1").unwrap_err();
    assert!(error.message().contains("did you mean network.bind_addr?"), "{error}");
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_by_kind() {
    let error = from_file(Path::new("no/such/file.yaml")).unwrap_err();
    assert_eq!(error.kind().exit_code(), 3);
    assert!(error.message().contains("no/such/file.yaml"));
    for (text, part) in [
        ("network: [\n", "is not YAML"),
        ("network:\n\tbind_addr: x\n", "is not YAML"),
        ("network: {max_connections: 1, max_connections: 2}\n", "is not YAML: line 1"),
        ("- a\n", "line 1: expected sections"),
        ("network: 7\n", "line 1: expected sections"),
        ("network: {[a]: 7}\n", "line 1: expected sections"),
        ("network:\n  max_connections: [1]\n", "line 2: network.max_connections must be a number"),
        ("network:\n  max_connections:\n", "line 2: network.max_connections is empty"),
    ] {
        let error = from_yaml(text).unwrap_err();
        assert!(error.message().contains(part), "{text:?}: {error}");
        assert_eq!(error.kind().exit_code(), 2, "{text:?}");
    }
}

#[test]
fn starts_that_cannot_work_are_refused() {
    for (yaml, part) in [
        ("auth: {required: true}", "there is no token"),
        ("tls: {enabled: true}", "tls.cert_path is not set"),
        ("tls: {enabled: true, cert_path: a}", "tls.key_path is not set"),
        (
            "tls: {enabled: true, cert_path: a, key_path: b, require_client_cert: true}",
            "tls.client_ca_path is not set",
        ),
        ("replication: {role: replica}", "replication.upstream is not set"),
        ("replication: {role: primary, mode: sync, sync_replicas: 0}", "sync_replicas is 0"),
        (
            "{replication: {role: primary}, storage: {allow_flush_all: true}}",
            "storage.allow_flush_all can't be true",
        ),
        (
            "{replication: {role: primary}, storage: {fsync_policy: never}}",
            "fsync_policy must be every_write",
        ),
        ("replication: {role: primary, sync_timeout_ms: 0}", "sync_timeout_ms must be more than 0"),
        ("replication: {role: primary, tls_cert_path: /c}", "belong together"),
    ] {
        let error = from_yaml(yaml).unwrap_err();
        assert!(error.message().contains(part), "{yaml}: {error}");
    }
    assert!(from_yaml("storage: {allow_flush_all: true}").is_ok());
    assert!(from_yaml("tls: {require_client_cert: true}").is_ok(), "nothing listens with TLS");
}

#[test]
fn settings_of_replication_are_taken_and_what_does_nothing_is_said() {
    let roles =
        ["{role: primary, mode: sync}", "{role: replica, upstream: 'h:1', auth_token: hush}"];
    for replication in roles {
        let loaded = from_yaml(&format!("replication: {replication}")).unwrap();
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    }
    let loaded = from_yaml("replication: {poll_interval_ms: 5}").unwrap();
    assert!(loaded.warnings[0].starts_with("replication.poll_interval_ms has no effect"));
}

#[test]
fn tokens_come_from_file_environment_and_secrets_and_are_never_shown() {
    let secrets = written(&format!(
        "# tokens\n\nops:{}\n{}  # of nobody\n",
        hash_of("operations"),
        hash_of("nobody's")
    ));
    let file = written(&format!(
        "auth:\n  required: true\n  secrets_file: {:?}\n  token_hashes:\n  - {ABC}\n  - ci:{}\n  - {{name: web, hash: {}}}\n  - app: {}\n",
        secrets.path,
        hash_of("continuous"),
        hash_of("website"),
        hash_of("application"),
    ));
    let sources = Sources {
        file: Some(file.path.clone()),
        environment: pairs(&[("RSTMDB_AUTH_TOKEN_HASH", &hash_of("added"))]),
        ..Sources::default()
    };
    let config = Config::load(&sources).unwrap().config;
    assert_eq!(config.auth.token_hashes.len(), 5);
    let settings = LiveSettings::new(&config).unwrap();
    let live = settings.load();
    assert!(live.auth_required);
    for (token, name) in [
        ("abc", Some("ba7816bf")),
        ("continuous", Some("ci")),
        ("website", Some("web")),
        ("application", Some("app")),
        ("operations", Some("ops")),
        ("nobody's", Some(&hash_of("nobody's")[..8])),
        ("added", Some(&hash_of("added")[..8])),
        ("another", None),
        (ABC, None),
    ] {
        let identity = live.tokens.verify(token);
        assert_eq!(identity.map(|identity| identity.name.to_string()).as_deref(), name, "{token}");
    }
    let mut shown = config::print(&config);
    shown.push_str(&format!("{config:?}{live:?}"));
    assert!(shown.contains("# 5 secrets not shown"));
    for token in ["abc", "continuous", "website", "application", "operations", "added"] {
        assert!(!shown.contains(&hash_of(token)[8..24]), "{token}");
    }
}

fn hash_of(token: &str) -> String {
    use std::fmt::Write;
    let digest = <sha2::Sha256 as sha2::Digest>::digest(token.as_bytes());
    digest.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

#[test]
fn malformed_hashes_stop_the_start_without_being_printed() {
    let bad = &ABC[..60];
    let error = from_yaml(&format!("auth: {{token_hashes: [{ABC}, {bad}]}}")).unwrap_err();
    assert!(error.message().contains("auth.token_hashes has an entry, number 2,"), "{error}");
    let environment = from_environment(&[("RSTMDB_AUTH_TOKEN_HASH", bad)]).unwrap_err();
    assert!(environment.message().contains("RSTMDB_AUTH_TOKEN_HASH"), "{environment}");
    let secrets = written(&format!("{ABC}\n{bad}\n"));
    let key = "auth.secrets_file";
    let config = from_flag(key, secrets.path.to_str().unwrap()).unwrap().config;
    let file = LiveSettings::new(&config).unwrap_err();
    assert!(file.message().contains("line 2"), "{file}");
    for error in [error, environment, file] {
        assert!(!format!("{error:?}").contains(&ABC[..20]), "{error:?}");
    }
    let config = from_flag(key, "no/such/file").unwrap().config;
    assert!(LiveSettings::new(&config).unwrap_err().message().contains("no/such/file"));
    // A file without a token is none.
    let empty = written("# none\n");
    let mut config = from_flag(key, empty.path.to_str().unwrap()).unwrap().config;
    assert!(LiveSettings::new(&config).is_ok());
    config.auth.required = true;
    assert!(LiveSettings::new(&config).unwrap_err().message().contains("there is no token"));
}

#[test]
fn a_printed_configuration_loads_again_and_is_the_same() {
    let sources = Sources {
        overrides: pairs(&[
            ("network.bind_addr", "[::1]:7401"),
            ("network.idle_timeout_secs", "1500ms"),
            ("network.max_frame_bytes", "1000000"),
            ("storage.data_dir", "./a dir: with # odd \"name\"\\"),
            ("storage.fsync_policy", "every_n:3"),
            ("storage.retention", "36h"),
            ("storage.wal_segment_size_mb", "100KiB"),
            ("log.level", "info,hyper[{a=1}]=debug"),
            ("log.format", "pretty"),
            ("tls.cert_path", "null"),
            ("limits.states_max", "3"),
        ]),
        ..Sources::default()
    };
    let config = Config::load(&sources).unwrap().config;
    assert_eq!(config.log.format, LogFormat::Pretty);
    assert_eq!(config.tls.cert_path, Some(PathBuf::from("null")));
    // A relative path means something else where it is printed to.
    let config = config.absolute();
    let here = std::env::current_dir().unwrap();
    assert_eq!(config.tls.cert_path, Some(here.join("null")));
    let printed = config::print(&config);
    let loaded = from_yaml(&printed).unwrap();
    assert_eq!(loaded.config, config, "{printed}");
    assert!(loaded.warnings.is_empty());
}

#[test]
fn the_example_lists_every_setting_and_means_the_defaults() {
    let example = config::example();
    assert_eq!(from_yaml(&example).unwrap().config, Config::default());
    // With the defaults uncommented it says the same.
    let uncommented: Vec<_> = example
        .lines()
        .map(|line| match line.strip_prefix("  # ") {
            Some(rest) if settings().any(|s| rest.starts_with(&format!("{}: ", s.name()))) => {
                format!("  {rest}")
            }
            _ => line.to_owned(),
        })
        .collect();
    let file = written(&uncommented.join("\n"));
    let loaded = from_file(&file.path).unwrap();
    let mut expected = Config::default();
    expected.storage.data_dir = file.path.parent().unwrap().join("data");
    assert_eq!(loaded.config, expected);
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let reference = config::reference();
    for setting in settings() {
        assert!(
            uncommented.iter().any(|line| line.starts_with(&format!("  {}: ", setting.name())))
        );
        assert!(reference.contains(&format!("| `{}` |", setting.key)), "{}", setting.key);
        assert!(reference.contains(&*setting.variable()) && example.contains(&*setting.variable()));
    }
}

#[test]
fn the_engine_gets_what_was_set() {
    let yaml = "
storage: {fsync_policy: never, retention: forever, wal_segment_size_mb: 2, free_bytes_min: 5, allow_flush_all: true,
  allow_instance_recreate: false, idempotency_window_secs: 9, idempotency_keys_max: 8, watch_ring_bytes: 7}
compaction: {events_threshold: 3, size_threshold_mb: 4, min_interval_secs: 5}
limits: {states_max: 6}
";
    let options = from_yaml(yaml).unwrap().config.engine_options();
    assert_eq!(options.fsync, FsyncPolicy::Never);
    assert_eq!(options.retention, Retention::Forever);
    assert_eq!(options.segment_bytes_max, 2 << 20);
    assert_eq!(options.free_bytes_min, 5);
    assert!(options.allow_flush_all && !options.allow_instance_recreate);
    assert_eq!(options.idempotency_window, Duration::from_secs(9));
    assert_eq!(options.idempotency_keys_max, 8);
    assert_eq!(options.watch_ring_bytes, 7);
    assert_eq!(options.limits.states_max, 6);
    assert_eq!((options.checkpoint_changes, options.checkpoint_log_bytes), (3, 4 << 20));
    assert_eq!(options.checkpoint_interval_min, Duration::from_secs(5));
    assert!(options.checkpoint_at_close, "the next start is quick");
    let disabled = yaml.replace("compaction: {", "compaction: {enabled: false, ");
    let options = from_yaml(&disabled).unwrap().config.engine_options();
    assert_eq!((options.checkpoint_changes, options.checkpoint_log_bytes), (0, 0));
}

#[test]
fn what_may_be_stored_fits_the_frames_that_tell_of_it() {
    let load = |settings: &[(&str, &str)]| {
        let overrides = settings.iter().map(|(key, value)| ((*key).into(), (*value).into()));
        Config::load(&Sources { overrides: overrides.collect(), ..Sources::default() })
    };
    for (settings, named) in [
        (&[("limits.context_bytes_max", "17MiB")][..], "limits.context_bytes_max"),
        (&[("limits.payload_bytes_max", "17MiB")], "limits.payload_bytes_max"),
        (
            &[("limits.context_bytes_max", "9MiB"), ("limits.payload_bytes_max", "9MiB")],
            "limits.payload_bytes_max",
        ),
        (&[("limits.definition_bytes_max", "17MiB")], "limits.definition_bytes_max"),
        (&[("limits.answer_bytes_max", "17MiB")], "limits.answer_bytes_max"),
        (&[("limits.name_bytes_max", "1MiB")], "limits.name_bytes_max"),
        (&[("limits.context_bytes_max", "17179869184GiB")], "limits.context_bytes_max"),
    ] {
        let error = load(settings).unwrap_err();
        assert!(error.message().contains(named), "{error}");
        assert!(error.context()["setting"].as_str().unwrap().starts_with("limits."), "{error}");
    }
    assert_eq!(load(&[("limits.context_bytes_max", "11MiB")]).unwrap().warnings, [""; 0]);
    let wide = load(&[("limits.context_bytes_max", "16MiB")]).unwrap();
    assert!(wide.warnings[0].contains("a frame has for an event"), "{:?}", wide.warnings);
    // No context is taken that an answer could not tell.
    assert!((15 << 20..16 << 20).contains(&wide.config.engine_options().limits.context_bytes_max));
}

#[test]
fn a_relative_path_is_meant_from_where_it_is_written() {
    let file = written(
        "storage:\n  data_dir: ./data\nauth:\n  secrets_file: ../tokens\n\
         tls: {cert_path: /etc/cert.pem, key_path: key.pem}\n",
    );
    let folder = file.path.parent().unwrap();
    let loaded = from_file(&file.path).unwrap();
    assert_eq!(loaded.warnings, [""; 0]);
    let config = loaded.config;
    assert_eq!(config.storage.data_dir, folder.join("data"));
    assert_eq!(config.auth.secrets_file, Some(folder.join("../tokens")));
    assert_eq!(config.tls.cert_path, Some(PathBuf::from("/etc/cert.pem")));
    assert_eq!(config.tls.key_path, Some(folder.join("key.pem")));
    // What came of it is shown, and what is printed loads as the same.
    let printed = config::print(&config);
    assert!(printed.contains(folder.join("data").to_str().unwrap()), "{printed}");
    assert_eq!(from_yaml(&printed).unwrap().config, config);
    // From the working directory elsewhere.
    let given = from_environment(&[("RSTMDB_DATA", "some/data")]).unwrap().config;
    assert_eq!(given.storage.data_dir, PathBuf::from("some/data"));
    let given = from_flag("storage.data_dir", "some/data").unwrap().config;
    assert_eq!(given.storage.data_dir, PathBuf::from("some/data"));
    assert_eq!(Config::default().storage.data_dir, PathBuf::from("./data"));
    // Tests run in the folder of the crate: it has `src`, and nothing is beside the file.
    let warnings = from_yaml("storage: {data_dir: src}\n").unwrap().warnings;
    assert!(warnings[0].contains("beside the file"), "{warnings:?}");
    assert!(warnings[0].contains("/src"), "{warnings:?}");
}
