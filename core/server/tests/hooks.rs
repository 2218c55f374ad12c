//! What is called outside of the server: programs and addresses that are told, and the lease of a primary.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rstmdb_testkit::process::{Launch, ServerProcess};
use rstmdb_testkit::wire::{Wire, await_condition};
use serde_json::{Value, json};

/// Adds what it is told to a file, on a line of its own.
fn noting(file: &Path) -> String {
    format!(
        "echo \"$RSTMDB_EVENT $RSTMDB_OLD_ROLE $RSTMDB_NEW_ROLE $RSTMDB_NODE $RSTMDB_NAME\" >> {}",
        file.display()
    )
}

fn server(folder: &Path, name: &str, node: u16) -> Launch {
    Launch::new(env!("CARGO_BIN_EXE_rstmdb"), &folder.join(name))
        .set("replication.name", name)
        .set("replication.node", node)
        .set("replication.reconnect_delay_secs", "20ms")
        .set("replication.reconnect_max_delay_secs", "50ms")
        .set("replication.heartbeat_interval_secs", "50ms")
        .set("replication.lag_check_interval_secs", "20ms")
}

fn replica_of(upstream: &ServerProcess, folder: &Path, name: &str, node: u16) -> Launch {
    server(folder, name, node)
        .set("replication.role", "replica")
        .set("replication.upstream", upstream.address())
}

fn ask(server: &ServerProcess, op: &str, params: Value) -> Result<Value, Value> {
    Wire::hello(server.address(), &["extended"]).call(op, params)
}

fn write(server: &ServerProcess, number: u64) -> Result<Value, Value> {
    let definition = json!({"states": ["a"], "initial": "a", "transitions": []});
    ask(server, "PUT_MACHINE", json!({"machine": "m", "version": number, "definition": definition}))
}

/// Waits until a file has these lines.
fn await_lines(file: &Path, wanted: &[&str]) {
    await_condition(&format!("{} says {wanted:?}", file.display()), || {
        std::fs::read_to_string(file).is_ok_and(|text| text.lines().eq(wanted.iter().copied()))
    });
}

/// Whether the log of a server says so by now.
fn says(server: &ServerProcess, what: &str) -> bool {
    server.log().iter().any(|line| line.contains(what))
}

#[test]
fn programs_are_told_what_becomes_of_a_server_and_one_may_forbid_a_promotion() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let (one, two, allowed) = (file("one.txt"), file("two.txt"), file("allowed"));
    let primary = server(folder.path(), "one", 1)
        .set("replication.role", "primary")
        .set("hooks.on_role_change", noting(&one))
        .start();
    await_lines(&one, &["role_change standalone primary 1 one"]);
    let asked = format!(
        "{}; test -e {} || {{ echo not today >&2; exit 75; }}",
        noting(&two),
        allowed.display()
    );
    let replica = replica_of(&primary, folder.path(), "two", 2)
        .set("hooks.on_role_change", noting(&two))
        .set("hooks.on_promote_request", asked)
        .start();
    write(&primary, 1).unwrap();
    await_condition("the replica has it", || replica.page("/health/ready").0 == 200);
    let refused = ask(&replica, "REPLICA_PROMOTE", json!({})).unwrap_err();
    assert_eq!(refused["code"], "CONFLICT", "{refused}");
    let message = refused["message"].as_str().unwrap();
    assert!(
        message.contains("on_promote_request forbids it: exit code 75: not today"),
        "{message}"
    );
    write(&primary, 2).unwrap();
    std::fs::write(&allowed, "").unwrap();
    ask(&replica, "REPLICA_PROMOTE", json!({})).unwrap();
    write(&replica, 3).unwrap();
    await_lines(
        &two,
        &[
            "role_change standalone replica 2 two",
            "promote_request replica replica 2 two",
            "promote_request replica replica 2 two",
            "role_change replica primary 2 two",
        ],
    );
    await_lines(
        &one,
        &["role_change standalone primary 1 one", "role_change primary replica 1 one"],
    );
}

#[test]
fn a_hook_that_fails_or_hangs_is_named_and_the_next_is_called() {
    let folder = tempfile::tempdir().unwrap();
    let primary = server(folder.path(), "one", 1).set("replication.role", "primary").start();
    let marks = folder.path().join("marks");
    let replica = replica_of(&primary, folder.path(), "two", 2)
        .set("hooks.timeout_secs", "200ms")
        .set("hooks.on_role_change", "sleep 1000")
        .set("hooks.on_promote_request", format!("echo x >> {}; exit 3", marks.display()))
        .start();
    write(&primary, 1).unwrap();
    await_condition("the replica has it", || replica.page("/health/ready").0 == 200);
    // One that fails forbids nothing.
    ask(&replica, "REPLICA_PROMOTE", json!({})).unwrap();
    assert_eq!(std::fs::read_to_string(&marks).unwrap(), "x\n");
    await_condition("it is logged", || {
        says(&replica, "hooks.on_role_change failed: it took longer than 0.2 s")
            && says(&replica, "hooks.on_promote_request failed: exit status: 3")
    });
}

/// An address that answers each POST with a status, and what was sent to it.
fn listener(status: &'static str) -> (String, mpsc::Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (told, heard) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut piece = [0; 1024];
            let body = loop {
                let length = stream.read(&mut piece).unwrap();
                request.extend_from_slice(&piece[..length]);
                let text = String::from_utf8_lossy(&request).into_owned();
                if let Some((_, body)) = text.split_once("\r\n\r\n")
                    && let Ok(body) = serde_json::from_str::<Value>(body)
                {
                    break body;
                }
                assert!(length > 0, "{text}");
            };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 3\r\n\r\nno\n");
            stream.write_all(answer.as_bytes()).unwrap();
            if told.send(body).is_err() {
                return;
            }
        }
    });
    (format!("http://{address}/hook"), heard)
}

#[test]
fn addresses_are_told_and_may_forbid() {
    let folder = tempfile::tempdir().unwrap();
    let primary = server(folder.path(), "one", 1).set("replication.role", "primary").start();
    let ((lag, lags), (promote, promotions)) =
        (listener("204 No Content"), listener("409 Conflict"));
    let replica = replica_of(&primary, folder.path(), "two", 2)
        .set("replication.max_lag_seconds", 1)
        .set("hooks.on_lag", lag)
        .set("hooks.on_promote_request", promote)
        .start();
    write(&primary, 1).unwrap();
    await_condition("the replica has it", || replica.page("/health/ready").0 == 200);
    let offset = ask(&replica, "REPLICATION_STATUS", json!({})).unwrap()["last_applied_sequence"]
        .as_u64()
        .unwrap();
    let refused = ask(&replica, "REPLICA_PROMOTE", json!({})).unwrap_err();
    assert!(refused["message"].as_str().unwrap().contains("409 Conflict: no"), "{refused}");
    assert_eq!(promotions.recv().unwrap()["event"], "promote_request");
    drop(primary);
    let told = lags.recv().unwrap();
    assert_eq!((&told["event"], &told["name"]), (&json!("lag"), &json!("two")), "{told}");
    assert_eq!(told["offset"], offset.to_string());
    assert!(told["reason"].as_str().unwrap().contains("max_lag_seconds"), "{told}");
}

#[test]
fn a_primary_takes_writes_only_while_it_holds_the_lease() {
    let ttl = Duration::from_millis(600);
    let folder = tempfile::tempdir().unwrap();
    let lease = folder.path().join("lease");
    let asked = folder.path().join("asked");
    let command = format!(
        "echo \"$RSTMDB_EVENT $RSTMDB_NODE $RSTMDB_TTL_SECS\" > {}; test -e {}",
        asked.display(),
        lease.display()
    );
    let primary = server(folder.path(), "one", 1)
        .set("replication.role", "primary")
        .set("fence.ttl_secs", "600ms")
        .set("fence.command", command)
        .start();
    let refused = write(&primary, 1).unwrap_err();
    assert_eq!(refused["code"], "READ_ONLY_MODE", "{refused}");
    assert_eq!(refused["retryable"], true, "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("the lease of fence.*"), "{refused}");
    ask(&primary, "LIST_MACHINES", json!({})).unwrap();
    await_lines(&asked, &["fence 1 0.6"]);
    assert_eq!(primary.page("/primary").0, 503);
    std::fs::write(&lease, "").unwrap();
    await_condition("the lease is held", || write(&primary, 1).is_ok());
    await_condition("balancers are told", || primary.page("/primary").0 == 200);
    std::fs::remove_file(&lease).unwrap();
    await_condition("the lease is over", || write(&primary, 2).is_err());
    await_condition("balancers are told", || primary.page("/primary").0 == 503);
    std::fs::write(&lease, "").unwrap();
    await_condition("the lease is held", || write(&primary, 2).is_ok());
    // It stands still while the lease ends: what comes then is refused, whatever is done first.
    let mut wire = Wire::hello(primary.address(), &["extended"]);
    primary.signal("STOP");
    std::fs::remove_file(&lease).unwrap();
    let begun = Instant::now();
    await_condition("the lease is over", || begun.elapsed() > ttl);
    let definition = json!({"states": ["a"], "initial": "a", "transitions": []});
    wire.ask("PUT_MACHINE", &json!({"machine": "m", "version": 3, "definition": definition}));
    primary.signal("CONT");
    let answer = wire.answer();
    assert_eq!(answer["error"]["code"], "READ_ONLY_MODE", "{answer}");
}

#[test]
fn settings_that_can_not_work_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let primary = || server(folder.path(), "one", 1).set("replication.role", "primary");
    for (launch, wanted) in [
        (primary().set("hooks.on_lag", "https://example.com/"), "for others use a command"),
        (
            primary().set("hooks.on_lag", "http://user:pass@example.com/"),
            "without a name and password",
        ),
        (primary().set("hooks.timeout_secs", 0), "hooks.timeout_secs must be more than 0"),
        (
            primary().set("fence.command", "true").set("fence.url", "http://127.0.0.1:1/"),
            "are both set; set one of them",
        ),
        (primary().set("fence.command", "http://127.0.0.1:1/"), "set fence.url to it"),
        (primary().set("fence.url", "true"), "set fence.command to a command"),
        (primary().set("fence.ttl_secs", 0), "fence.ttl_secs must be more than 0"),
        (
            server(folder.path(), "one", 1).set("fence.command", "true"),
            "set replication.role; a group needs no lease",
        ),
    ] {
        let (status, log) = launch.try_start().expect_err("it started");
        let said = log.join("\n");
        assert!(!status.success() && said.contains(wanted), "{wanted}: {said}");
    }
}
