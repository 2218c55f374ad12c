//! Metrics and health: names, types and labels, what they count, and who may ask.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rstmdb_protocol::WireCommand;
use rstmdb_server::Server;
use rstmdb_server::calls::Calls;
use rstmdb_server::config::Config;
use rstmdb_server::health::{Health, serve};
use rstmdb_server::live::LiveSettings;
use rstmdb_server::metrics::{EngineFigures, Metrics, Recorder, Rejection};
use rstmdb_server::node::{NodeFollower, NodeStanding};
use rstmdb_types::{ErrorCode, InstanceCount, IoStats, WalStatsResult};
use serde_json::json;
use support::{call, config, http};

/// Name, type and label of what dashboards ask for.
const KNOWN: &str = "
    rstmdb_connections_total counter -
    rstmdb_connections_active gauge -
    rstmdb_requests_total counter operation
    rstmdb_errors_total counter code
    rstmdb_request_duration_seconds histogram operation
    rstmdb_subscriptions_active gauge type
    rstmdb_events_forwarded_total counter type
    rstmdb_instances_total gauge -
    rstmdb_machines_total gauge -
    rstmdb_wal_entries gauge -
    rstmdb_wal_segments gauge -
    rstmdb_wal_size_bytes gauge -
    rstmdb_wal_bytes_written_total counter -
    rstmdb_wal_bytes_read_total counter -
    rstmdb_wal_writes_total counter -
    rstmdb_wal_reads_total counter -
    rstmdb_wal_fsyncs_total counter -
    rstmdb_replication_lag_entries gauge -
    rstmdb_replication_lag_seconds gauge -
    rstmdb_replication_connected_replicas gauge -
    rstmdb_replication_entries_sent_total counter -
    rstmdb_replication_sync_timeouts_total counter -
    rstmdb_replication_slow_replica_disconnects_total counter -";

/// What Linux adds.
const PROCESS: &str = "
    process_cpu_seconds_total counter -
    process_open_fds gauge -
    process_max_fds gauge -
    process_virtual_memory_bytes gauge -
    process_resident_memory_bytes gauge -
    process_start_time_seconds gauge -
    process_threads gauge -";

fn figures() -> EngineFigures {
    EngineFigures {
        instances: 3,
        machines: 2,
        writable: true,
        damaged: false,
        clock_steps: 3,
        wal: WalStatsResult {
            entry_count: 7,
            segment_count: 1,
            total_size_bytes: 500,
            latest_offset: 7,
            first_offset: Some(1),
            io_stats: IoStats { bytes_written: 400, bytes_read: 5, writes: 6, reads: 1, fsyncs: 4 },
        },
        counts: [("m", 1, "a", 1), ("m", 2, "a", 1), ("m", 2, "b", 1)]
            .map(|(machine, version, state, count)| InstanceCount {
                machine: machine.into(),
                version,
                state: state.into(),
                count,
            })
            .into(),
        free_bytes: Some(1000),
        checkpoint_offset: 4,
        checkpoint_at: 5000,
        oldest_at: 2999,
    }
}

/// Every metric with a value, so that every series is there.
fn counted() -> Metrics {
    let metrics = Metrics::new().unwrap();
    metrics.request(0).duration.observe(0.002);
    metrics.request(0).requests.inc();
    metrics.error(ErrorCode::Conflict).inc();
    metrics.rejected(Rejection::Connections).inc();
    for all in [false, true] {
        metrics.subscriptions(all).inc();
        metrics.events_forwarded(all).inc();
    }
    metrics.token_requests("ci").inc();
    metrics.certificate_ends("rcp", 4_000_000_000);
    let follower = NodeFollower { name: "kitchen".into(), ..NodeFollower::default() };
    let followers = vec![follower];
    metrics.show_node(&NodeStanding { followers, ..NodeStanding::default() }, 7);
    metrics
}

/// `name type label` of a text.
fn shapes(text: &str) -> BTreeSet<String> {
    let mut types = BTreeMap::new();
    let mut shapes = BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            types.insert(name, kind);
        } else if !line.starts_with('#') {
            let series = line.rsplit_once(' ').unwrap().0;
            let (name, labels) =
                series.trim_end_matches('}').split_once('{').unwrap_or((series, ""));
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let name = base.filter(|base| types.contains_key(base)).unwrap_or(name);
            let labels = labels.split(',').map(|label| label.split('=').next().unwrap());
            let labels: Vec<_> = labels.filter(|label| !["", "le"].contains(label)).collect();
            let label = if labels.is_empty() { "-".to_owned() } else { labels.join(",") };
            shapes.insert(format!("{name} {} {label}", types[name]));
        }
    }
    shapes
}

fn listed(text: &str) -> BTreeSet<String> {
    text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

#[test]
fn known_names_types_and_labels_stay() {
    let shapes = shapes(&counted().render(Some(&figures())).unwrap());
    let missing: Vec<_> = listed(KNOWN).difference(&shapes).cloned().collect();
    assert_eq!(missing, [""; 0]);
    if cfg!(target_os = "linux") {
        let missing: Vec<_> = listed(PROCESS).difference(&shapes).cloned().collect();
        assert_eq!(missing, [""; 0]);
    }
    let own: Vec<_> = shapes.into_iter().filter(|shape| shape.starts_with("rstmdb_")).collect();
    insta::assert_snapshot!(own.join("\n"));
}

/// The name of each metric that `text` speaks of.
fn names_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let ours = words.filter(|word| word.starts_with("rstmdb_") || word.starts_with("process_"));
    ours.map(|word| word.strip_suffix("_bucket").unwrap_or(word).to_owned()).collect()
}

/// What Prometheus itself says of our rules and names, where it is installed; in CI it must be.
#[test]
fn prometheus_takes_the_rules_and_the_names() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/prometheus");
    let rules = std::fs::read_to_string(format!("{folder}/rules.yml")).unwrap();
    let shapes = shapes(&counted().render(Some(&figures())).unwrap());
    let names: BTreeSet<_> = shapes.iter().map(|shape| shape.split(' ').next().unwrap()).collect();
    let expressions = rules.lines().filter(|line| line.trim_start().starts_with("expr:"));
    for name in expressions.flat_map(names_in) {
        assert!(names.contains(&*name), "a rule asks for {name}");
    }
    // Every alert has a test.
    let tests = std::fs::read_to_string(format!("{folder}/rules_test.yml")).unwrap();
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.contains(&format!("alertname: {alert}\n")), "{alert} has no test");
    }

    let promtool = |arguments: &[&str], input: &str| {
        let mut command = Command::new("promtool");
        command.args(arguments).current_dir(folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        child.stdin.take().unwrap().write_all(input.as_bytes())?;
        let output = child.wait_with_output()?;
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        Ok::<_, std::io::Error>((output.status.success(), said.concat()))
    };
    if let Err(error) = promtool(&["--version"], "") {
        let why = format!(
            "promtool is not here ({error}), so rules and names were not shown to it; `make tools` fetches it, or install Prometheus (Debian: apt-get install prometheus)"
        );
        assert!(std::env::var_os("CI").is_none(), "{why}");
        return eprintln!("{why}");
    }
    for arguments in [
        &["check", "rules", "rules.yml"][..],
        &["test", "rules", "rules_test.yml"],
        &["check", "config", "prometheus.yml"],
    ] {
        let (is_good, said) = promtool(arguments, "").unwrap();
        assert!(is_good, "{arguments:?}: {said}");
    }
    let text = counted().render(Some(&figures())).unwrap();
    let (_, said) = promtool(&["check", "metrics"], &text).unwrap();
    // Names that dashboards of others ask for stay as they are.
    let compatible = ["rstmdb_instances_total ", "rstmdb_machines_total "];
    let problems =
        said.lines().filter(|line| !compatible.iter().any(|name| line.starts_with(name)));
    assert_eq!(problems.collect::<Vec<_>>(), [""; 0]);
}

/// Every name in a dashboard is one of ours.
#[test]
fn the_dashboard_asks_for_metrics_that_exist() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/grafana/rstmdb.json");
    let text = std::fs::read_to_string(path).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let shapes = shapes(&counted().render(Some(&figures())).unwrap());
    let names: BTreeSet<_> = shapes.iter().map(|shape| shape.split(' ').next().unwrap()).collect();
    let mut asked = BTreeSet::new();
    let panels = dashboard["panels"].as_array().unwrap();
    for target in panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten() {
        let expression = target["expr"].as_str().unwrap();
        for name in names_in(expression) {
            assert!(names.contains(&*name), "{name} in {expression}");
            asked.insert(name);
        }
    }
    let ours =
        names.iter().filter(|name| name.starts_with("rstmdb_") && !name.contains("replication"));
    let unseen: Vec<_> = ours.filter(|name| !asked.contains(**name)).collect();
    assert!(unseen.is_empty(), "no panel shows {unseen:?}");
}

#[test]
fn series_of_known_labels_are_there_from_the_start_and_figures_are_copied() {
    let metrics = Metrics::new().unwrap();
    // A rate has no first value: what begins with 1 is an increase of nothing.
    let text = metrics.render(None).unwrap();
    let operations = WireCommand::all().map(WireCommand::wire_name).chain(["UNKNOWN"]);
    let operations = operations.flat_map(|name| {
        ["requests_total", "request_duration_seconds_count"]
            .map(|metric| format!("rstmdb_{metric}{{operation=\"{name}\"}} 0"))
    });
    let codes =
        ErrorCode::ALL.iter().map(|code| format!("rstmdb_errors_total{{code=\"{code}\"}} 0"));
    let reasons = ["disk_full", "writes_stopped", "write_failed", "outcome_unknown", "other"];
    let reasons = reasons.map(|why| format!("rstmdb_writes_refused_total{{reason=\"{why}\"}} 0"));
    let kinds = ["instance", "all"].into_iter().flat_map(|kind| {
        ["subscriptions_active", "events_forwarded_total"]
            .map(|metric| format!("rstmdb_{metric}{{type=\"{kind}\"}} 0"))
    });
    let rejected = ["max_connections", "tls_handshake"]
        .map(|why| format!("rstmdb_connections_rejected_total{{reason=\"{why}\"}} 0"));
    for line in operations.chain(codes).chain(reasons).chain(kinds).chain(rejected) {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    for (index, command) in WireCommand::all().enumerate() {
        metrics.request(index).requests.inc();
        let line = format!("rstmdb_requests_total{{operation=\"{}\"}} 1", command.wire_name());
        assert!(metrics.render(None).unwrap().contains(&line), "{line}");
    }
    metrics.request(usize::MAX).requests.inc();
    for code in ErrorCode::ALL {
        metrics.error(*code).inc();
    }
    metrics.refused_write("disk_full").inc();
    metrics.refused_write("of a newer release").inc();
    let text = metrics.render(Some(&figures())).unwrap();
    assert!(text.contains("rstmdb_requests_total{operation=\"UNKNOWN\"} 1"));
    for code in ErrorCode::ALL {
        assert!(text.contains(&format!("rstmdb_errors_total{{code=\"{code}\"}} 1")), "{code}");
    }
    // Twice, since counters of the engine are not added up anew.
    for text in [text, metrics.render(Some(&figures())).unwrap()] {
        for line in [
            "rstmdb_instances_total 3",
            "rstmdb_instances{machine=\"m\",state=\"a\"} 2",
            "rstmdb_instances{machine=\"m\",state=\"b\"} 1",
            "rstmdb_machines_total 2",
            "rstmdb_writable 1",
            "rstmdb_wal_entries 7",
            "rstmdb_wal_first_entry 1",
            "rstmdb_wal_oldest_timestamp_seconds 2",
            "rstmdb_checkpoint_timestamp_seconds 5",
            "rstmdb_checkpoint_lag_entries 3",
            "rstmdb_disk_free_bytes 1000",
            "rstmdb_wal_bytes_written_total 400",
            "rstmdb_wal_fsyncs_total 4",
            "rstmdb_writes_refused_total{reason=\"disk_full\"} 1",
            "rstmdb_writes_refused_total{reason=\"other\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}

#[test]
fn a_million_states_make_no_million_series_and_what_is_gone_has_none() {
    let metrics = Metrics::new().unwrap();
    let count = |index: usize| InstanceCount {
        machine: format!("m{index}").into(),
        version: 1,
        state: "a".into(),
        count: 1,
    };
    let many = EngineFigures { counts: (0..5000).map(count).collect(), ..figures() };
    let text = metrics.render(Some(&many)).unwrap();
    let series = text.lines().filter(|line| line.starts_with("rstmdb_instances{"));
    assert_eq!(series.count(), 1001);
    assert!(text.contains("rstmdb_instances{machine=\"other\",state=\"other\"} 4000"), "{text}");
    let none = EngineFigures { counts: Vec::new(), ..figures() };
    assert!(!metrics.render(Some(&none)).unwrap().contains("rstmdb_instances{"));
}

#[test]
fn a_recorder_adds_up_when_asked_and_when_dropped() {
    let metrics = Arc::new(Metrics::new().unwrap());
    let mut recorder = Recorder::new(metrics.clone());
    for _ in 0..3 {
        recorder.request(2, Some(Duration::from_micros(70)));
    }
    recorder.request(5, None);
    recorder.commit_wait(Duration::from_millis(1));
    assert_eq!(metrics.request(2).requests.get(), 0);
    recorder.flush();
    assert_eq!(metrics.request(2).requests.get(), 3);
    assert_eq!(metrics.request(2).duration.get_sample_count(), 3);
    assert_eq!(metrics.request(5).requests.get(), 1);
    assert_eq!(metrics.request(5).duration.get_sample_count(), 0);
    assert_eq!(metrics.commit_wait.get_sample_count(), 1);
    recorder.request(2, Some(Duration::from_secs(20)));
    drop(recorder);
    assert_eq!(metrics.request(2).requests.get(), 4);
    assert!(metrics.request(2).duration.get_sample_sum() > 20.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_counts_what_it_serves() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(config(folder.path(), &[])).await.unwrap();
    let (address, metrics) = (server.address(), server.metrics_address().unwrap());
    let asked = tokio::task::spawn_blocking(move || {
        let mut client = TcpStream::connect(address).unwrap();
        let definition = json!({"states": ["a", "b"], "initial": "a",
            "transitions": [{"from": "a", "event": "GO", "to": "b"}]});
        call(
            &mut client,
            "PUT_MACHINE",
            json!({"machine": "m", "version": 1, "definition": definition}),
        );
        call(
            &mut client,
            "CREATE_INSTANCE",
            json!({"instance_id": "i", "machine": "m", "version": 1}),
        );
        call(&mut client, "APPLY_EVENT", json!({"instance_id": "i", "event": "GO"}));
        let refused = call(&mut client, "APPLY_EVENT", json!({"instance_id": "i", "event": "GO"}));
        assert_eq!(refused["error"]["code"], "INVALID_TRANSITION");
        // A connection adds up what it counted after it has answered.
        let mut left = 1000;
        loop {
            let (head, text) = http(metrics, "GET", "/metrics");
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
            let kind = "content-type: text/plain; version=0.0.4; charset=utf-8";
            assert!(head.contains(kind), "{head}");
            if text.contains("rstmdb_requests_total{operation=\"APPLY_EVENT\"} 2") {
                break text;
            }
            left -= 1;
            assert!(left > 0, "not counted: {text}");
        }
    });
    let text = asked.await.unwrap();
    for line in [
        "rstmdb_connections_total 1",
        "rstmdb_connections_active 1",
        "rstmdb_instances_total 1",
        "rstmdb_machines_total 1",
        "rstmdb_wal_entries 3",
        "rstmdb_requests_total{operation=\"APPLY_EVENT\"} 2",
        "rstmdb_request_duration_seconds_count{operation=\"APPLY_EVENT\"} 2",
        "rstmdb_errors_total{code=\"INVALID_TRANSITION\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    let syncs = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap().parse::<u64>().unwrap()
    };
    assert!(syncs("rstmdb_wal_sync_duration_seconds_count") >= 3);
    assert!(syncs("rstmdb_commit_wait_duration_seconds_count") >= 3);
    server.run_until(async {}).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_says_whether_a_client_would_be_served() {
    let metrics = Arc::new(Metrics::new().unwrap());
    let settings = Arc::new(LiveSettings::new(&Config::default()).unwrap());
    let calls = Arc::new(Calls::new(settings, metrics));
    let state = Arc::new(Health::new(calls.clone()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(serve(listener, state.clone(), async move {
        let _ = stopped.await;
    }));
    let get = move |path: &'static str| async move {
        tokio::task::spawn_blocking(move || http(address, "GET", path)).await.unwrap()
    };
    for path in ["/health", "/healthz", "/health/live"] {
        let (head, body) = get(path).await;
        assert!(head.starts_with("HTTP/1.1 200") && body == "OK", "{path}: {head} {body}");
    }
    let (head, body) = get("/health/ready").await;
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    assert_eq!(body, r#"{"reason":"the server is starting","status":"starting"}"#);
    assert!(get("/metrics").await.1.contains("rstmdb_build_info"));
    assert!(get("/").await.1.contains("href=\"/metrics\""));
    assert!(get("/nothing").await.0.starts_with("HTTP/1.1 404"));

    let engine = rstmdb_engine::Engine::open(
        rstmdb_engine::Location::memory(),
        rstmdb_engine::Options::default(),
    );
    let engine = Arc::new(engine.unwrap());
    calls.install(engine.clone());
    let (head, body) = get("/health/ready").await;
    assert!(head.starts_with("HTTP/1.1 200") && body == r#"{"status":"ready"}"#, "{head} {body}");
    let (head, body) =
        tokio::task::spawn_blocking(move || http(address, "HEAD", "/metrics")).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200") && body.is_empty(), "{head} {body}");

    engine.close().unwrap();
    let (head, body) = get("/health/ready").await;
    assert!(head.starts_with("HTTP/1.1 503") && body.contains("unhealthy"), "{head} {body}");
    assert!(get("/metrics").await.0.starts_with("HTTP/1.1 200"));
    state.stopping();
    assert!(get("/health/ready").await.1.contains("stopping"));
    assert!(get("/health/live").await.0.starts_with("HTTP/1.1 200"));

    let idle = TcpStream::connect(address).unwrap();
    stop.send(()).unwrap();
    served.await.unwrap();
    drop(idle);
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
}
