//! Servers that follow one another, over sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use rstmdb_server::Server;
use rstmdb_server::node::NodeStanding;
use rstmdb_testkit::wire::await_condition;
use serde_json::{Value, json};
use support::{call, config, http};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The SHA-256 of `abc`.
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// A server in this process, which stops with it.
struct Up {
    address: SocketAddr,
    metrics: SocketAddr,
    calls: std::sync::Arc<rstmdb_server::calls::Calls>,
    stop: Option<oneshot::Sender<()>>,
    stopped: Option<JoinHandle<rstmdb_types::Result<()>>>,
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

const QUICK: [(&str, &str); 4] = [
    ("replication.reconnect_delay_secs", "20ms"),
    ("replication.reconnect_max_delay_secs", "50ms"),
    ("replication.heartbeat_interval_secs", "50ms"),
    ("replication.lag_check_interval_secs", "20ms"),
];

impl Up {
    fn start(runtime: &Runtime, folder: &Path, settings: &[(&str, &str)]) -> Up {
        let settings: Vec<_> = QUICK.iter().chain(settings).copied().collect();
        let config = config(folder, &settings);
        let server = runtime.block_on(Server::start(config)).unwrap();
        let (stop, stopping) = oneshot::channel::<()>();
        let (address, metrics) = (server.address(), server.metrics_address().unwrap());
        let calls = server.calls().clone();
        let stopped = runtime.spawn(server.run_until(async {
            let _ = stopping.await;
        }));
        Up { address, metrics, calls, stop: Some(stop), stopped: Some(stopped) }
    }

    fn primary(runtime: &Runtime, folder: &Path, settings: &[(&str, &str)]) -> Up {
        let settings: Vec<_> =
            [("replication.role", "primary")].iter().chain(settings).copied().collect();
        Up::start(runtime, folder, &settings)
    }

    fn replica_of(
        upstream: &Up,
        runtime: &Runtime,
        folder: &Path,
        settings: &[(&str, &str)],
    ) -> Up {
        let address = upstream.address.to_string();
        let own = [("replication.role", "replica"), ("replication.upstream", &*address)];
        let settings: Vec<_> = own.iter().chain(settings).copied().collect();
        Up::start(runtime, folder, &settings)
    }

    fn standing(&self) -> std::sync::Arc<NodeStanding> {
        self.calls.node().standing()
    }

    fn client(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let hello = json!({"protocol_version": 1, "features": ["extended"]});
        assert_eq!(call(&mut stream, "HELLO", hello)["status"], "ok");
        stream
    }

    fn ask(&self, op: &str, params: Value) -> Value {
        let mut client = self.client();
        let mut answer = call(&mut client, op, params);
        // What is told of the nodes comes in between.
        while answer["type"] == "topology" {
            answer = support::read_frame(&mut client);
        }
        answer
    }

    fn stop(&mut self, runtime: &Runtime) {
        drop(self.stop.take());
        if let Some(stopped) = self.stopped.take() {
            runtime.block_on(stopped).unwrap().unwrap();
        }
    }

    fn offset(&self) -> u64 {
        self.standing().committed
    }

    fn await_offset(&self, offset: u64) {
        await_condition("the replica has come as far", || self.offset() >= offset);
    }
}

fn folders<const N: usize>() -> [TempDir; N] {
    std::array::from_fn(|_| tempfile::tempdir().unwrap())
}

fn machine(server: &Up) {
    let definition = json!({"states": ["a", "b"], "initial": "a", "transitions": [
        {"from": "a", "event": "GO", "to": "b"}, {"from": "b", "event": "GO", "to": "a"}
    ]});
    let put = json!({"machine": "m", "version": 1, "definition": definition});
    assert_eq!(server.ask("PUT_MACHINE", put)["status"], "ok");
}

fn create(server: &Up, id: &str) -> Value {
    server.ask("CREATE_INSTANCE", json!({"instance_id": id, "machine": "m", "version": 1}))
}

fn created(server: &Up, id: &str) -> u64 {
    let answer = create(server, id);
    answer["result"]["wal_offset"].as_u64().unwrap_or_else(|| panic!("{answer}"))
}

fn has(server: &Up, id: &str) -> bool {
    let answer = server.ask("GET_INSTANCE", json!({"instance_id": id}));
    match answer["error"]["code"].as_str() {
        None => true,
        Some(
            "INSTANCE_NOT_FOUND" | "REPLICATION_TIMEOUT" | "REPLICATION_ERROR" | "WAL_IO_ERROR",
        ) => false,
        Some(_) => panic!("{answer}"),
    }
}

#[test]
fn a_replica_follows_from_nothing_reads_and_sends_writers_to_the_primary() {
    let [one, two] = folders();
    let runtime = runtime();
    let primary = Up::primary(&runtime, one.path(), &[]);
    machine(&primary);
    let offset = created(&primary, "before");
    let replica = Up::replica_of(&primary, &runtime, two.path(), &[]);
    replica.await_offset(offset);
    let watched = {
        let mut client = replica.client();
        assert_eq!(call(&mut client, "WATCH_ALL", json!({}))["status"], "ok");
        let applied = primary.ask("APPLY_EVENT", json!({"instance_id": "before", "event": "GO"}));
        assert_eq!(applied["result"]["to_state"], "b", "{applied}");
        loop {
            let told = support::read_frame(&mut client);
            if told["type"] == "event" {
                break told;
            }
        }
    };
    assert_eq!(watched["to_state"], "b", "{watched}");
    assert_eq!(
        replica.ask("GET_INSTANCE", json!({"instance_id": "before"}))["result"]["state"],
        "b"
    );
    let history = replica.ask("HISTORY", json!({"instance_id": "before"}));
    assert_eq!(history["result"]["events"].as_array().unwrap().len(), 2, "{history}");
    let refused = create(&replica, "here");
    assert_eq!(refused["error"]["code"], "READ_ONLY_MODE", "{refused}");
    assert_eq!(refused["error"]["details"]["reason"], "replica", "{refused}");
    assert_eq!(
        refused["error"]["details"]["context"]["address"],
        primary.address.to_string(),
        "{refused}"
    );

    let status = primary.ask("REPLICATION_STATUS", json!({}))["result"].clone();
    assert_eq!(
        (status["role"].as_str(), status["mode"].as_str()),
        (Some("primary"), Some("async"))
    );
    assert_eq!(status["connected_replicas"], 1, "{status}");
    await_condition("the replica acknowledged all", || {
        let status = primary.ask("REPLICATION_STATUS", json!({}))["result"].clone();
        status["replicas"][0]["lag_entries"] == 0
            && status["replicas"][0]["last_acked_sequence"] == status["primary_sequence"]
    });
    let status = replica.ask("REPLICATION_STATUS", json!({}))["result"].clone();
    assert_eq!(status["role"], "replica", "{status}");
    assert_eq!(status["upstream"], primary.address.to_string());
    assert_eq!(status["lag_entries"], 0, "{status}");
    assert!(status["lag_seconds"].is_u64() && status["lag_ms"].is_u64(), "{status}");
    await_condition("the replica is ready", || {
        http(replica.metrics, "GET", "/health/ready").0.contains("200")
    });
    let is = |server: &Up, path: &str| http(server.metrics, "GET", path).0.contains(" 200 ");
    for (path, on_primary, on_replica) in [
        ("/primary", true, false),
        ("/replica", false, true),
        ("/replica?max_lag=1h", false, true),
        ("/replica?max_lag=0s", false, false),
        ("/replica?max_lag=soon", false, false),
        ("/read-only", true, true),
        ("/leader", false, false),
    ] {
        assert_eq!((is(&primary, path), is(&replica, path)), (on_primary, on_replica), "{path}");
    }
}

#[test]
fn either_side_may_stop_and_come_again() {
    let [one, two, three] = folders();
    let runtime = runtime();
    let mut primary = Up::primary(&runtime, one.path(), &[]);
    machine(&primary);
    let address = primary.address.to_string();
    let mut replica = Up::replica_of(&primary, &runtime, two.path(), &[]);
    // One behind another.
    let last = Up::replica_of(&replica, &runtime, three.path(), &[]);
    last.await_offset(created(&primary, "one"));
    replica.stop(&runtime);
    let offset = created(&primary, "two");
    let replica = Up::start(
        &runtime,
        two.path(),
        &[
            ("replication.role", "replica"),
            ("replication.upstream", &address),
            ("network.bind_addr", &replica.address.to_string()),
        ],
    );
    last.await_offset(offset);
    // Changes may come before the word of where the one in the middle gets them from.
    await_condition("it is known where to write", || {
        create(&last, "x")["error"]["details"]["context"]["address"] == address
    });
    primary.stop(&runtime);
    assert!(has(&replica, "two"));
    let primary = Up::primary(&runtime, one.path(), &[("network.bind_addr", &address)]);
    let offset = created(&primary, "three");
    last.await_offset(offset);
    assert!(has(&last, "three"));
    // A purge of the log does not leave behind who was away.
    assert_eq!(primary.standing().epoch, replica.standing().epoch);
}

#[test]
fn what_was_alone_becomes_a_primary_and_a_replica_gets_a_checkpoint() {
    let [one, two] = folders();
    let runtime = runtime();
    let mut alone = Up::start(
        &runtime,
        one.path(),
        &[("storage.retention", "1B"), ("storage.wal_segment_size_mb", "1")],
    );
    machine(&alone);
    for number in 0..300 {
        created(&alone, &format!("old-{number}"));
    }
    assert_eq!(alone.ask("COMPACT", json!({}))["status"], "ok");
    // One that is alone can be followed, too.
    let mut early = Up::replica_of(&alone, &runtime, two.path(), &[]);
    early.await_offset(created(&alone, "early"));
    early.stop(&runtime);
    alone.stop(&runtime);
    let primary = Up::primary(&runtime, one.path(), &[("storage.retention", "1B")]);
    let old = primary.ask("GET_INSTANCE", json!({"instance_id": "old-7"}));
    assert_eq!(old["status"], "ok", "{old}");
    let offset = created(&primary, "new");
    assert_eq!(primary.ask("COMPACT", json!({}))["status"], "ok");
    let replica = Up::replica_of(&primary, &runtime, two.path(), &[]);
    replica.await_offset(offset);
    assert!(has(&replica, "old-299") && has(&replica, "new"));
}

#[test]
fn a_write_waits_for_replicas_in_mode_sync() {
    let [one, two] = folders();
    let runtime = runtime();
    let sync = [("replication.mode", "sync"), ("replication.sync_timeout_ms", "200ms")];
    let primary = Up::primary(&runtime, one.path(), &sync);
    let early = primary.ask("PUT_MACHINE", json!({"machine": "m", "version": 1, "definition": {}}));
    assert_eq!(early["error"]["details"]["reason"], "too_few_replicas", "{early}");
    assert!(http(primary.metrics, "GET", "/health/ready").1.contains("waiting"));
    let mut replica = Up::replica_of(&primary, &runtime, two.path(), &[]);
    await_condition("writes are taken", || primary.standing().leader.is_some());
    machine(&primary);
    let offset = created(&primary, "both");
    // It was on the replica's disk before it was acknowledged.
    replica.await_offset(offset);
    let its_address = replica.address.to_string();
    replica.stop(&runtime);
    let keyed =
        json!({"instance_id": "late", "machine": "m", "version": 1, "idempotency_key": "k"});
    let refused = primary.ask("CREATE_INSTANCE", keyed.clone());
    assert_eq!(refused["error"]["code"], "REPLICATION_TIMEOUT", "{refused}");
    let unseen = primary.ask("GET_INSTANCE", json!({"instance_id": "late"}));
    assert_eq!(unseen["error"]["code"], "REPLICATION_TIMEOUT", "nothing of it is shown: {unseen}");
    assert!(has(&primary, "both"));
    let upstream = primary.address.to_string();
    let replica = Up::start(
        &runtime,
        two.path(),
        &[
            ("replication.role", "replica"),
            ("replication.upstream", &upstream),
            ("network.bind_addr", &its_address),
        ],
    );
    await_condition("the change counts", || has(&primary, "late"));
    let again = primary.ask("CREATE_INSTANCE", keyed);
    assert_eq!(again["status"], "ok", "{again}");
    replica.await_offset(again["result"]["wal_offset"].as_u64().unwrap());
}

#[test]
fn a_primary_goes_on_without_replicas_where_it_may() {
    let [one, two] = folders();
    let runtime = runtime();
    let settings = [
        ("replication.mode", "sync"),
        ("replication.sync_timeout_ms", "50ms"),
        ("replication.on_timeout", "degrade"),
    ];
    let primary = Up::primary(&runtime, one.path(), &settings);
    let mut replica = Up::replica_of(&primary, &runtime, two.path(), &[]);
    await_condition("writes are taken", || primary.standing().leader.is_some());
    machine(&primary);
    replica.stop(&runtime);
    // The first may be told that it took too long.
    create(&primary, "one");
    await_condition("it goes on", || {
        create(&primary, "two")["status"] == "ok" || has(&primary, "two")
    });
    assert!(primary.standing().is_degraded);
    assert!(http(primary.metrics, "GET", "/health/ready").1.contains("degraded"));
    let _replica = Up::replica_of(&primary, &runtime, two.path(), &[]);
    await_condition("it waits for replicas again", || !primary.standing().is_degraded);
}

#[test]
fn a_primary_without_enough_replicas_takes_no_writes_where_they_are_asked_for() {
    let [one, two] = folders();
    let runtime = runtime();
    let primary = Up::primary(&runtime, one.path(), &[("replication.min_in_sync_replicas", "1")]);
    let refused =
        primary.ask("PUT_MACHINE", json!({"machine": "m", "version": 1, "definition": {}}));
    assert_eq!(refused["error"]["details"]["reason"], "too_few_replicas", "{refused}");
    assert_eq!(refused["error"]["retryable"], true, "{refused}");
    let mut replica = Up::replica_of(&primary, &runtime, two.path(), &[]);
    await_condition("writes are taken", || primary.standing().writes.is_none());
    machine(&primary);
    replica.stop(&runtime);
    await_condition("none are taken", || primary.standing().writes.is_some());
    assert_eq!(create(&primary, "x")["error"]["details"]["reason"], "too_few_replicas");
}

/// Why a replica does not follow.
fn problem(replica: &Up, word: &str) -> String {
    await_condition(word, || {
        replica.standing().not_ready.as_ref().is_some_and(|why| why.reason.contains(word))
    });
    replica.standing().not_ready.clone().unwrap().reason
}

#[test]
fn who_may_not_follow_is_told_why() {
    let folders = folders::<5>();
    let [one, two, three, four, five] = &folders;
    let runtime = runtime();
    let primary = Up::primary(&runtime, one.path(), &[("replication.auth_token_hashes", ABC)]);
    machine(&primary);
    let offset = created(&primary, "one");
    let stranger = Up::replica_of(&primary, &runtime, two.path(), &[]);
    problem(&stranger, "replication.auth_token_hashes");
    let wrong =
        Up::replica_of(&primary, &runtime, three.path(), &[("replication.auth_token", "abd")]);
    problem(&wrong, "replication.auth_token_hashes");
    let right =
        Up::replica_of(&primary, &runtime, four.path(), &[("replication.auth_token", "abc")]);
    right.await_offset(offset);
    // Its token is for nothing else where clients have tokens of their own.
    let other = Up::start(&runtime, five.path(), &[]);
    machine(&other);
    let mut foreign = {
        let mut first = Up::replica_of(&other, &runtime, two.path().join("other").as_path(), &[]);
        first.await_offset(1);
        first.stop(&runtime);
        first
    };
    foreign.stop(&runtime);
    let foreign = Up::replica_of(
        &primary,
        &runtime,
        two.path().join("other").as_path(),
        &[("replication.auth_token", "abc")],
    );
    problem(&foreign, "different databases");
}

#[test]
fn the_token_of_a_replica_opens_nothing_else() {
    let [one] = folders();
    let runtime = runtime();
    let other = "cb8379ac2098aa165029e3938a51da0bcecfc008fd6795f401178647f96c5b34";
    let settings = [
        ("auth.required", "true"),
        ("auth.token_hashes", other),
        ("replication.auth_token_hashes", ABC),
    ];
    let primary = Up::primary(&runtime, one.path(), &settings);
    let mut client = primary.client();
    let auth = json!({"method": "bearer", "token": "abc"});
    assert_eq!(call(&mut client, "AUTH", auth)["status"], "ok");
    assert_eq!(call(&mut client, "LIST_MACHINES", json!({}))["error"]["code"], "UNAUTHORIZED");
    // And who did not say that it is a replica does not become one.
    let refused = call(&mut client, "REPLICATE", json!({}));
    assert_eq!(refused["error"]["code"], "UNAUTHORIZED", "{refused}");
}

#[test]
fn a_replica_that_is_too_far_behind_answers_no_reads() {
    let [one, two] = folders();
    let runtime = runtime();
    let mut primary = Up::primary(&runtime, one.path(), &[]);
    machine(&primary);
    let offset = created(&primary, "one");
    let replica =
        Up::replica_of(&primary, &runtime, two.path(), &[("replication.max_lag_seconds", "300ms")]);
    replica.await_offset(offset);
    await_condition("reads are answered", || has(&replica, "one"));
    let mut client = replica.client();
    let read = |client: &mut TcpStream, wish: Value| {
        let mut request = json!({"type": "request", "id": "1", "op": "GET_INSTANCE", "params": {"instance_id": "one"}});
        for (name, value) in wish.as_object().unwrap() {
            request[name] = value.clone();
        }
        std::io::Write::write_all(client, &support::frame(&request.to_string())).unwrap();
        support::read_frame(client)
    };
    let ahead = read(&mut client, json!({"read": "session", "min_offset": offset + 1}));
    assert_eq!(ahead["error"]["details"]["reason"], "lag_exceeded", "{ahead}");
    assert_eq!(read(&mut client, json!({"read": "session", "min_offset": offset}))["status"], "ok");
    let stale = read(&mut client, json!({"read": "bounded", "max_lag_ms": 0}));
    assert_eq!(stale["error"]["details"]["reason"], "lag_exceeded", "{stale}");
    primary.stop(&runtime);
    await_condition("reads are refused", || {
        let answer = replica.ask("GET_INSTANCE", json!({"instance_id": "one"}));
        answer["error"]["details"]["reason"] == "lag_exceeded"
    });
    let (head, body) = http(replica.metrics, "GET", "/health/ready");
    assert!(head.contains("503") && body.contains("lagging"), "{head} {body}");
    assert_eq!(replica.ask("REPLICATION_STATUS", json!({}))["status"], "ok");
}

/// Whether a server takes writes.
fn leads(server: &Up) -> bool {
    server.standing().role.takes_writes() && server.standing().leader.is_some()
}

#[test]
fn a_planned_promotion_loses_nothing_and_the_old_primary_follows() {
    let [one, two, three] = folders();
    let runtime = runtime();
    let mut primary = Up::primary(&runtime, one.path(), &[]);
    machine(&primary);
    created(&primary, "first");
    let mut replica = Up::replica_of(&primary, &runtime, two.path(), &[]);
    // One that goes on to follow the old primary.
    let last = Up::replica_of(&primary, &runtime, three.path(), &[]);
    replica.await_offset(2);
    last.await_offset(2);
    let (old, new) = (primary.address, replica.address);
    let acknowledged = std::thread::scope(|scope| {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        // Writes wherever they are taken, and notes what was acknowledged.
        let writer = scope.spawn(move || {
            let mut acknowledged = Vec::new();
            let mut address = old;
            let mut number = 0;
            while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                let mut client = TcpStream::connect(address).unwrap();
                let id = format!("w-{number}");
                let create = json!({"instance_id": id, "machine": "m", "version": 1});
                let answer = call(&mut client, "CREATE_INSTANCE", create);
                if answer["status"] == "ok" {
                    acknowledged.push(id);
                    number += 1;
                } else {
                    assert_eq!(answer["error"]["code"], "READ_ONLY_MODE", "{answer}");
                    address = if address == old { new } else { old };
                }
            }
            acknowledged
        });
        await_condition("some are written", || has(&primary, "w-20"));
        let promoted = replica.ask("REPLICA_PROMOTE", json!({}));
        assert_eq!(promoted["result"]["role"], "primary", "{promoted}");
        assert_eq!(promoted["result"]["lost"], 0, "{promoted}");
        let before = replica.offset();
        await_condition("more are written", || replica.offset() > before + 20);
        stop.send(()).unwrap();
        writer.join().unwrap()
    });
    for id in &acknowledged {
        assert!(has(&replica, id), "{id} was acknowledged");
    }
    await_condition("the old primary follows", || !leads(&primary));
    let offset = created(&replica, "after");
    primary.await_offset(offset);
    last.await_offset(offset);
    assert_eq!(create(&primary, "x")["error"]["details"]["context"]["address"], new.to_string());
    assert_eq!(create(&last, "x")["error"]["details"]["context"]["address"], new.to_string());
    assert_eq!(primary.standing().epoch, replica.standing().epoch);
    // It holds after a restart, though the configuration says what was before.
    primary.stop(&runtime);
    replica.stop(&runtime);
    let (old, new) = (old.to_string(), new.to_string());
    let replica = Up::start(
        &runtime,
        two.path(),
        &[
            ("replication.role", "replica"),
            ("replication.upstream", &old),
            ("network.bind_addr", &new),
        ],
    );
    let primary = Up::primary(&runtime, one.path(), &[("network.bind_addr", &old)]);
    assert!(leads(&replica) && !leads(&primary));
    primary.await_offset(created(&replica, "restarted"));
    // And back again.
    let back = primary.ask("REPLICA_PROMOTE", json!({}));
    assert_eq!(back["result"]["role"], "primary", "{back}");
    replica.await_offset(created(&primary, "back"));
}

#[test]
fn a_forced_promotion_sets_aside_what_the_old_primary_had_alone() {
    let [one, two] = folders();
    let runtime = runtime();
    let mut primary = Up::primary(&runtime, one.path(), &[]);
    machine(&primary);
    let shared = created(&primary, "shared");
    let mut replica = Up::replica_of(&primary, &runtime, two.path(), &[]);
    replica.await_offset(shared);
    let (old, new) = (primary.address.to_string(), replica.address.to_string());
    replica.stop(&runtime);
    let alone = created(&primary, "alone");
    let hello = json!({"protocol_version": 1, "features": ["extended"]});
    let hello = call(&mut TcpStream::connect(primary.address).unwrap(), "HELLO", hello);
    let history = hello["result"]["history_id"].clone();
    primary.stop(&runtime);
    let replica = Up::start(
        &runtime,
        two.path(),
        &[
            ("replication.role", "replica"),
            ("replication.upstream", &old),
            ("network.bind_addr", &new),
        ],
    );
    let planned = replica.ask("REPLICA_PROMOTE", json!({}));
    let message = planned["error"]["message"].as_str().unwrap();
    assert!(message.contains("nothing was changed") && message.contains("force"), "{planned}");
    assert!(!leads(&replica));
    let odd = replica.ask("REPLICA_PROMOTE", json!({"lose_up_to": 3}));
    assert_eq!(odd["error"]["code"], "BAD_REQUEST", "{odd}");
    let forced = replica.ask("REPLICA_PROMOTE", json!({"force": true}));
    assert_eq!(forced["result"]["role"], "primary", "{forced}");
    let here = created(&replica, "here");
    // The old one comes back, takes the writes for a moment, and is told.
    let primary = Up::primary(&runtime, one.path(), &[("network.bind_addr", &old)]);
    await_condition("the old primary gave way", || !leads(&primary));
    primary.await_offset(here);
    await_condition("it has what the other one wrote", || has(&primary, "here"));
    assert!(has(&primary, "shared") && !has(&primary, "alone"));
    let kept = std::fs::read_dir(one.path().join("data")).unwrap();
    let kept: Vec<_> =
        kept.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(kept.iter().any(|name| name.starts_with("repair-")), "{kept:?}");
    // Who watched what is gone is told so, and never sees other events under known numbers.
    let resumed = json!({"from_offset": alone + 1, "history_id": history});
    let refused = replica.ask("WATCH_ALL", resumed);
    assert_eq!(refused["error"]["details"]["reason"], "history_diverged", "{refused}");
}

#[test]
fn a_replica_can_be_detached_and_follow_again() {
    let [one, two] = folders();
    let runtime = runtime();
    let primary = Up::primary(&runtime, one.path(), &[]);
    machine(&primary);
    let replica = Up::replica_of(&primary, &runtime, two.path(), &[]);
    replica.await_offset(1);
    let detached = replica.ask("REPLICA_FOLLOW", json!({}));
    assert_eq!(detached["result"]["role"], "replica", "{detached}");
    problem(&replica, "follows nobody");
    let offset = created(&primary, "missed");
    assert!(!has(&replica, "missed"));
    assert_eq!(create(&replica, "x")["error"]["code"], "READ_ONLY_MODE");
    let wrong = replica.ask("REPLICA_FOLLOW", json!({"upstream": "nowhere"}));
    assert_eq!(wrong["error"]["details"]["context"]["field"], "upstream", "{wrong}");
    let again = replica.ask("REPLICA_FOLLOW", json!({"upstream": primary.address.to_string()}));
    assert_eq!(again["status"], "ok", "{again}");
    replica.await_offset(offset);
    let refused = primary.ask("REPLICA_FOLLOW", json!({}));
    assert_eq!(refused["error"]["code"], "CONFLICT", "{refused}");
}

#[test]
fn a_replica_follows_over_tls() {
    let [one, two, three] = folders();
    let runtime = runtime();
    let authority = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let (cert, key) = (one.path().join("cert.pem"), one.path().join("key.pem"));
    std::fs::write(&cert, authority.cert.pem()).unwrap();
    std::fs::write(&key, authority.signing_key.serialize_pem()).unwrap();
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let tls = [("tls.enabled", "true"), ("tls.cert_path", cert), ("tls.key_path", key)];
    let primary = Up::primary(&runtime, one.path(), &tls);
    let trusting = [("replication.tls_enabled", "true"), ("replication.tls_ca_path", cert)];
    let replica = Up::replica_of(&primary, &runtime, two.path(), &trusting);
    await_condition("the replica follows", || primary.standing().followers.len() == 1);
    await_condition("it is ready", || replica.standing().not_ready.is_none());
    let plain = Up::replica_of(&primary, &runtime, three.path(), &[]);
    problem(&plain, "TLS");
}
