//! The program: flags, start and stop, signals, reading the configuration again.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};

use serde_json::json;
use support::running::{Folder, Running, program, run, text};
use support::{call, frame, http};

/// The SHA-256 of `abc`.
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

#[test]
fn help_shows_every_flag_and_examples() {
    let output = run(&["--help"]);
    assert!(output.status.success());
    let lines: Vec<_> = text(&output.stdout).lines().map(str::trim_end).collect();
    insta::assert_snapshot!(lines.join("\n"));
    let version = run(&["--version"]);
    let expected = format!("rstmdb {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(text(&version.stdout), expected);
}

#[test]
fn a_configuration_is_checked_and_printed_without_a_start() {
    let folder = Folder::new();
    let data = folder.path().join("data");
    let file = folder.put(
        "rstmdb.yaml",
        &format!(
            "network: {{max_conections: 1}}\nauth: {{token_hashes: [{ABC}], required: true}}\nstorage: {{data_dir: {data:?}}}\n"
        ),
    );
    let file = file.to_str().unwrap();
    let checked = run(&["--config", file, "--check-config"]);
    assert_eq!(text(&checked.stdout), "the configuration can be used\n");
    assert!(text(&checked.stderr).starts_with("warning: "), "{}", text(&checked.stderr));
    assert!(text(&checked.stderr).contains("did you mean network.max_connections?"));
    let strict = run(&["--config", file, "--check-config", "--strict"]);
    assert_eq!(strict.status.code(), Some(2));
    assert!(text(&strict.stderr).starts_with("error: "));

    let printed = run(&["--config", file, "--print-config"]);
    assert!(printed.status.success());
    assert!(!text(&printed.stdout).contains(&ABC[..8]));
    let again = folder.put("again.yaml", &text(&printed.stdout).replace("required: true", ""));
    let again = run(&["--config", again.to_str().unwrap(), "--print-config", "--strict"]);
    let without = |output: &Output| -> Vec<String> {
        let changed = ["required", "token_hashes", "not shown"];
        let lines = text(&output.stdout).lines().map(str::to_owned);
        lines.filter(|line| !changed.iter().any(|word| line.contains(word))).collect()
    };
    assert_eq!(without(&printed), without(&again));
    assert!(!data.exists(), "nothing was started");

    // Files that the configuration names are read too.
    let missing = run(&["--set", "auth.secrets_file=no/such/file", "--check-config"]);
    assert_eq!(missing.status.code(), Some(2));
    let example = run(&["--print-example-config"]);
    let example = folder.put("example.yaml", text(&example.stdout));
    assert!(
        run(&["--config", example.to_str().unwrap(), "--strict", "--check-config"])
            .status
            .success()
    );
}

#[test]
fn the_environment_configures_and_a_wrong_variable_is_named() {
    let print = |name: &str, value: &str| {
        program().env(name, value).arg("--print-config").output().unwrap()
    };
    let output = print("RSTMDB_BIND", "0.0.0.0:7401");
    assert!(text(&output.stdout).contains("  bind_addr: 0.0.0.0:7401\n"));
    let output = print("RSTMDB_MAX_CONNECTIONS", "lots");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("RSTMDB_MAX_CONNECTIONS"), "{}", text(&output.stderr));
    let output = print("RSTMDB_CONFIG", "no/such/file.yaml");
    assert_eq!(output.status.code(), Some(3));
    let output = print("RSTMDB_CONFIG", "");
    assert!(output.status.success());
}

#[test]
fn a_start_that_cannot_be_says_why_in_one_line() {
    let folder = Folder::new();
    let running = Running::start(folder.path(), &[]);
    let data = folder.path().join("data");
    let other = folder.path().join("other");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let metrics = running.metrics.to_string();
    let file = folder.put("file", "no directory");
    for (data, bind, metrics, part) in [
        (&data, "127.0.0.1:0", "off", "in use"),
        (&other, taken.as_str(), "off", "network.bind_addr"),
        (&other, "127.0.0.1:0", metrics.as_str(), "metrics.bind_addr"),
        (&file, "127.0.0.1:0", "off", "file"),
    ] {
        let data = data.to_str().unwrap();
        let output =
            run(&["--data", data, "--bind", bind, "--metrics-bind", metrics, "--log-level", "off"]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(8), "{said}");
        assert!(said.starts_with("error: ") && said.contains(part), "{part}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    running.signal("-TERM");
    assert_eq!(running.ended().0, Some(0));
}

#[test]
fn a_configuration_that_is_no_text_file_is_invalid() {
    let folder = Folder::new();
    let latin1 = folder.path().join("latin1.yaml");
    std::fs::write(&latin1, b"# caf\xe9\n").unwrap();
    for path in [folder.path(), &latin1] {
        for more in [&["--check-config"][..], &["--data", "unused"]] {
            let config = ["--config", path.to_str().unwrap()];
            let output = run(&[&config[..], more].concat());
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{said}");
            assert!(said.starts_with("error: can't read the configuration file"), "{said}");
        }
    }
}

#[test]
fn either_signal_stops_cleanly_and_nothing_is_lost() {
    for signal in ["-TERM", "-INT"] {
        let folder = Folder::new();
        let mut running = Running::start(folder.path(), &["--set", "storage.fsync_policy=never"]);
        let warning = running.wait_for("storage.fsync_policy is never");
        assert_eq!(warning["level"], "WARN");
        let mut client = running.connect();
        let machine = json!({"machine": "m", "version": 1, "definition": {"states": ["a"], "initial": "a", "transitions": []}});
        assert_eq!(call(&mut client, "PUT_MACHINE", machine)["result"]["created"], true);
        let (head, _) = http(running.metrics, "GET", "/health/ready");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        running.signal(signal);
        let (code, log) = running.ended();
        assert_eq!(code, Some(0), "{log}");
        assert!(log.lines().last().unwrap().contains("\"stopped\""), "{log}");

        let again = Running::start(folder.path(), &[]);
        let machine =
            call(&mut again.connect(), "GET_MACHINE", json!({"machine": "m", "version": 1}));
        assert_eq!(machine["status"], "ok");
    }
}

#[test]
fn a_second_signal_stops_at_once() {
    let folder = Folder::new();
    let settings = ["server.shutdown_timeout_secs=1h", "limits.context_bytes_max=16MiB"];
    let mut running = Running::start(folder.path(), &["--set", settings[0], "--set", settings[1]]);
    let mut client = running.connect();
    let machine = json!({"machine": "m", "version": 1, "definition": {"states": ["a"], "initial": "a", "transitions": []}});
    call(&mut client, "PUT_MACHINE", machine);
    let ctx = json!({"text": "x".repeat(14 << 20)});
    let created = call(
        &mut client,
        "CREATE_INSTANCE",
        json!({"instance_id": "i", "machine": "m", "version": 1, "initial_ctx": ctx}),
    );
    assert_eq!(created["status"], "ok", "{created}");
    // An answer that does not fit into the buffers of the connection, and nobody takes it.
    let get =
        json!({"type": "request", "id": "1", "op": "GET_INSTANCE", "params": {"instance_id": "i"}});
    client.write_all(&frame(&get.to_string())).unwrap();
    client.read_exact(&mut [0; 18]).unwrap();
    running.signal("-TERM");
    running.wait_for("stopping");
    running.signal("-TERM");
    let (code, log) = running.ended();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("stopped at once by a second signal"));
}

#[test]
fn the_configuration_is_read_again_on_a_signal_and_when_its_file_changes() {
    let folder = Folder::new();
    let file = folder.put("rstmdb.yaml", "network: {max_subscriptions: 5}\n");
    let config = ["--config", file.to_str().unwrap()];
    let mut running = Running::start(folder.path(), &config);

    // On a signal, whether something changed or not.
    running.signal("-HUP");
    assert_eq!(running.wait_for_reload()["applied"], "");

    // By itself: what can change changes, what can't is named.
    folder.put(
        "rstmdb.yaml",
        "network: {max_subscriptions: 1}\nlog: {level: debug}\nserver: {worker_threads: 9}\n",
    );
    let restart = running.wait_for("needs a restart");
    assert!(restart["message"].as_str().unwrap().ends_with(": server.worker_threads"), "{restart}");
    let applied = running.wait_for_reload();
    assert_eq!(applied["applied"], "network.max_subscriptions, log.level");
    let mut client = running.connect();
    assert_eq!(call(&mut client, "WATCH_ALL", json!({}))["status"], "ok");
    let refused = call(&mut client, "WATCH_ALL", json!({}));
    assert_eq!(refused["status"], "error", "the new limit holds: {refused}");

    // A bad file changes nothing and says why.
    folder.put("rstmdb.yaml", "network: {max_subscriptions: many}\n");
    let problem = running.wait_for("read again but not changed");
    assert_eq!(problem["level"], "ERROR");
    assert!(problem["message"].as_str().unwrap().contains("network.max_subscriptions must be"));
    std::fs::remove_file(&file).unwrap();
    running.wait_for("can't read the configuration file");
    assert_eq!(call(&mut client, "PING", json!({}))["status"], "ok");
    assert_eq!(call(&mut client, "WATCH_ALL", json!({}))["status"], "error");

    folder.put("rstmdb.yaml", "network: {max_subscriptions: 2}\n");
    running.wait_for_reload();
    assert_eq!(call(&mut client, "WATCH_ALL", json!({}))["status"], "ok");
    running.signal("-TERM");
    assert_eq!(running.ended().0, Some(0));
}

#[test]
fn what_asks_for_the_configuration_during_a_start_is_neither_fatal_nor_forgotten() {
    let folder = Folder::new();
    let file = folder.put("rstmdb.yaml", "network: {max_subscriptions: 5}\n");
    // A start reads the tokens: from a pipe, it lasts until they have come.
    let pipe = folder.path().join("secrets");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let secrets = format!("auth.secrets_file={}", pipe.display());
    let config = ["--config", file.to_str().unwrap(), "--set", "auth.required=true"];
    let arguments = [&config[..], &["--set", &secrets]].concat();
    let mut running = Running::starting(folder.path(), &arguments);
    // Opens when the server has opened the other end.
    let mut tokens = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    running.signal("-HUP");
    folder.put("rstmdb.yaml", "network: {max_subscriptions: 12}\n");
    folder.put("secrets", &format!("{ABC}\n"));
    writeln!(tokens, "{ABC}").unwrap();
    drop(tokens);
    running.ready();
    let applied = running.wait_for_reload()["applied"].clone();
    assert_eq!(applied, "network.max_subscriptions");
    running.signal("-TERM");
    assert_eq!(running.ended().0, Some(0));
}

#[test]
fn tokens_come_and_go_with_the_secrets_file_and_reach_no_log() {
    let folder = Folder::new();
    let secrets = folder.put("secrets", &format!("ci:{ABC}\n"));
    let secrets = format!("auth.secrets_file={}", secrets.display());
    let arguments = ["--set", "auth.required=true", "--set", &secrets, "--log-level", "trace"];
    let mut running = Running::start(folder.path(), &arguments);
    let auth = |client: &mut TcpStream, token: &str| {
        call(client, "AUTH", json!({"method": "bearer", "token": token}))["status"].clone()
    };
    let mut first = running.connect();
    assert_eq!(call(&mut first, "INFO", json!({}))["error"]["code"], "UNAUTHORIZED");
    assert_eq!(auth(&mut first, "wrong-token"), "error");
    assert_eq!(auth(&mut first, "abc"), "ok");
    assert_eq!(call(&mut first, "INFO", json!({}))["status"], "ok");

    // SHA-256 of `def`.
    let other = "cb8379ac2098aa165029e3938a51da0bcecfc008fd6795f401178647f96c5b34";
    folder.put("secrets", &format!("# changed\n{other}\n"));
    running.wait_for_reload();
    let mut second = running.connect();
    assert_eq!(auth(&mut second, "abc"), "error");
    assert_eq!(auth(&mut second, "def"), "ok");

    folder.put("secrets", "# none is left\n");
    running.wait_for("there is no token");
    assert_eq!(auth(&mut running.connect(), "def"), "ok", "a bad file changes nothing");
    running.signal("-TERM");
    let (code, log) = running.ended();
    assert_eq!(code, Some(0));
    for secret in [&ABC[9..], &other[9..], "wrong-token"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[test]
fn a_certificate_that_has_expired_is_said_by_the_check_and_refused_where_it_is_strict() {
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2001, 1, 1);
    params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    let (cert, key_file) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    let file = folder.path().join("rstmdb.yaml");
    let yaml = "tls: {enabled: true, cert_path: cert.pem, key_path: key.pem}\n";
    std::fs::write(&file, yaml).unwrap();
    let file = file.to_str().unwrap();
    let checked = run(&["--config", file, "--check-config"]);
    assert!(checked.status.success());
    assert!(text(&checked.stderr).contains("warning: certificate 1 of tls.cert_path"));
    assert!(text(&checked.stderr).contains("has expired, on 2002-01-01"));
    for arguments in
        [&["--config", file, "--check-config", "--strict"][..], &["--config", file, "--strict"]]
    {
        let strict = run(arguments);
        assert_eq!(strict.status.code(), Some(2), "{}", text(&strict.stderr));
        assert!(text(&strict.stderr).contains("has expired"));
    }
    let server = Running::start(folder.path(), &["--config", file]);
    assert!(server.read.contains("has expired, on 2002-01-01"), "{}", server.read);
    // Whoever looks after the container is told what is so, TLS or not, wherever it listens.
    let metrics = server.metrics.to_string();
    let healthy = run(&["--config", file, "--metrics-bind", &metrics, "--check-health"]);
    assert!(healthy.status.success(), "{}", text(&healthy.stderr));
    assert!(text(&healthy.stdout).contains("ready"));
    let bind = server.address.to_string();
    let bound = ["--bind", &bind, "--metrics-bind", "off", "--check-health"];
    let healthy = run(&[&["--config", file], &bound[..]].concat());
    assert!(text(&healthy.stdout).contains("it takes connections"));
    server.signal("-TERM");
    assert_eq!(server.ended().0, Some(0));
    for arguments in [&bound[..], &["--metrics-bind", &metrics, "--check-health"]] {
        let gone = run(arguments);
        assert_eq!(gone.status.code(), Some(8), "{}", text(&gone.stderr));
        assert!(text(&gone.stderr).contains("does not serve"));
    }
    let plain = Running::start(folder.path(), &[]);
    let bind = plain.address.to_string();
    let healthy = run(&["--bind", &bind, "--metrics-bind", "off", "--check-health"]);
    assert_eq!(text(&healthy.stdout), "it answers\n");
}
