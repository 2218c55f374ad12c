//! The same commands on a server: the same screens, and what only a network has.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code fails by panicking"
)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};
use std::sync::Arc;

use common::relay::cutting;
use common::{ORDER, Place};
use insta::assert_snapshot;
use rstmdb_engine::{Engine, Location};
use rstmdb_server::config::TokenHash;
use rstmdb_server::config::{Address, Config};
use rstmdb_testkit::server::{Certificates, TestServer};
use rstmdb_testkit::wire::await_condition;
use serde_json::Value;

fn in_memory() -> (TestServer, Place) {
    let server = TestServer::in_memory(|_| {});
    let place = Place::on_server(server.address());
    (server, place)
}

/// An address that no other test has, so that a restart finds its port free again.
///
/// All of 127.0.0.0/8 is this machine on Linux, and connections of others come from 127.0.0.1.
fn own_address(port: u16) -> Address {
    if !cfg!(target_os = "linux") {
        return Address::local(port);
    }
    let process = std::process::id();
    format!("127.{}.{}.3:{port}", 1 + (process >> 8) % 250, process % 256).parse().unwrap()
}

/// A server on a directory, on this port.
fn on_directory(directory: &Path, port: u16) -> TestServer {
    let mut config = TestServer::config();
    config.network.bind_addr = own_address(port);
    let location = Location::directory(directory.to_str().unwrap());
    let engine = Engine::open(location, config.engine_options()).unwrap();
    TestServer::start(Arc::new(engine), config).unwrap()
}

#[test]
fn screens_are_those_of_a_directory() {
    let (_server, remote) = in_memory();
    remote.add_orders();
    let here = Place::with_orders();
    let batch = r#"[{"op":"GET_INSTANCE","params":{"instance_id":"o-1"}},
        {"op":"APPLY_EVENT","params":{"instance_id":"o-1","event":"PAY"}}]"#;
    let screens: &[&[&str]] = &[
        &["put-machine", "-n", "order", "-v", "1", ORDER],
        &["get-machine", "-n", "order"],
        &["list-machines"],
        &["create-instance", "-m", "order", "-V", "1", "-i", "o-4", "-c", "{\"total\":1}"],
        &["get-instance", "o-1"],
        &["list-instances", "--limit", "2"],
        &["count-instances"],
        &["apply-event", "-i", "o-4", "-e", "CANCEL", "--expected-state", "created"],
        &["apply-event", "-i", "o-4", "-e", "PAY"],
        &["permitted", "o-3", "-p", "{\"amount\":5}"],
        &["batch", batch],
        &["delete-instance", "o-4"],
        &["get-instance", "o-4"],
        &["history", "o-1", "--limit", "1"],
        &["wal-read", "-f", "2", "-l", "3"],
        &["watch-all", "--replay"],
        &["watch-all", "--replay", "--lifecycle", "--no-ctx", "--from-offset", "3"],
        &["watch-all", "--replay", "--machines", "order", "--to-states", "shipped"],
        &["watch-all", "--replay", "--machines", "nope"],
        &["watch-instance", "o-1", "--replay", "--lifecycle"],
        &["watch-instance", "o-9", "--replay"],
        &["diagram", "order", "--counts"],
        &["unwatch", "sub-1"],
        &["ping"],
        &["ping", "--wait"],
        &["replication-status"],
        &["flush-all"],
    ];
    for arguments in screens {
        let (one, other) = (here.run(arguments), remote.run(arguments));
        let stderr = |text: &str| text.replace("FOLDER/data", "PLACE").replace("SERVER", "PLACE");
        assert_eq!(one.code, other.code, "{arguments:?}: {}", other.stderr);
        assert_eq!(one.stdout, other.stdout, "{arguments:?}");
        assert_eq!(stderr(&one.stderr), stderr(&other.stderr), "{arguments:?}");
    }
    let info = remote.ok(&["info"]);
    assert!(info.contains("backend               remote"), "{info}");
    assert!(remote.ok(&["stats"]).contains("│ order   ┆       1 ┆ shipped ┆     1 │"));
    assert!(remote.ok(&["compact", "-f"]).contains("segments deleted"));
    assert!(remote.ok(&["snapshot-instance", "o-1"]).contains("checksum"));
}

#[test]
fn spellings_of_the_existing_command_line_are_accepted() {
    let (server, mut place) = in_memory();
    place.environment.clear();
    let address = server.address().to_string();
    let definition = place.file("order.json", ORDER);
    let definition = format!("@{definition}");
    let cases: &[&[&str]] = &[
        &["put-machine", "-n", "order", "-v", "1", &definition],
        &["get-machine", "-n", "order", "-v", "1"],
        &["create-instance", "-m", "order", "-V", "1", "-i", "o-1", "-c", "{\"total\":1}"],
        &[
            "apply-event",
            "-i",
            "o-1",
            "-e",
            "PAY",
            "-p",
            "{\"amount\":1}",
            "--expected-state",
            "created",
        ],
        &["wal-read", "-f", "0", "-l", "2"],
        &["compact", "-f"],
        &["replication-status"],
        &["delete-instance", "o-1"],
        &["unwatch", "sub-1"],
    ];
    for arguments in cases {
        let arguments: Vec<&str> =
            ["-s", &address, "-t", "any"].into_iter().chain(arguments.iter().copied()).collect();
        place.ok(&arguments);
    }
    place.set("RSTMDB_SERVER", &address);
    let script = "c -m order -i o-2\ng o-2\na -i o-2 -e CANCEL\nli\nws\npm -n x -v 1 {}\ngm -n order\n\
                  lm\nd o-2\nrc\nq\n";
    let ran = place.run_with_input(&["repl"], script);
    assert_eq!(ran.code, 2, "only the empty definition is refused: {}", ran.stderr);
    assert_eq!(ran.stderr.matches("error:").count(), 1, "{}", ran.stderr);
}

#[test]
fn what_goes_wrong_on_the_way_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::create(folder.path());
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    std::fs::create_dir(folder.path().join("other")).unwrap();
    let stranger = path(&Certificates::create(&folder.path().join("other")).ca);
    let (ca, cert, key) =
        (path(&certificates.ca), path(&certificates.client_cert), path(&certificates.client_key));
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let plain = TestServer::in_memory(|_| {});
    let token = TokenHash::of(Some("ci"), "right");
    let closed = TestServer::in_memory(|config: &mut Config| {
        config.auth.required = true;
        config.auth.token_hashes = vec![token.clone()];
    });
    let secure = TestServer::in_memory(|config| config.tls = certificates.listener());
    let mutual = TestServer::in_memory(|config| {
        config.tls = certificates.listener();
        config.tls.require_client_cert = true;
        config.tls.client_ca_path = Some(certificates.ca.clone());
    });
    let address = |server: &TestServer| server.address().to_string();
    let (plain, closed) = (address(&plain), address(&closed));
    let (secure, mutual) = (address(&secure), address(&mutual));
    let mut text = String::new();
    let mut screen = |title: &str, words: &[&str]| {
        let mut place = Place::new();
        place.environment.clear();
        let arguments: Vec<&str> = words.iter().copied().chain(["list-machines"]).collect();
        let ran = place.run(&arguments);
        let mut shown = format!("# {title}\n{}{}[{}]\n\n", ran.stdout, ran.stderr, ran.code);
        for address in [&nobody, &plain, &closed, &secure, &mutual] {
            shown = shown.replace(address.as_str(), "SERVER");
        }
        text.push_str(&shown.replace(folder.path().to_str().unwrap(), "FOLDER"));
    };
    screen("nobody listens", &["-s", &nobody]);
    screen("no token", &["-s", &closed]);
    screen("a wrong token", &["-s", &closed, "-t", "s3cret"]);
    screen("the right token", &["-s", &closed, "-t", "right"]);
    screen("a server with TLS, without", &["-s", &secure]);
    screen("an unknown authority", &["-s", &secure, "--ca-cert", &stranger]);
    screen("the right authority", &["-s", &secure, "--ca-cert", &ca]);
    screen("another name", &["-s", &secure, "--ca-cert", &ca, "--server-name", "example.com"]);
    screen("no authority", &["-s", &secure, "-k"]);
    screen("a file that is none", &["-s", &secure, "--ca-cert", "nope.pem"]);
    let marked = folder.path().join("marked.pem");
    let pem = std::fs::read_to_string(&certificates.ca).unwrap();
    std::fs::write(&marked, format!("\u{feff}{pem}")).unwrap();
    screen("a byte order mark", &["-s", &secure, "--ca-cert", &path(&marked)]);
    let utf16: Vec<u8> = "\u{feff}---".encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(&marked, utf16).unwrap();
    screen("UTF-16", &["-s", &secure, "--ca-cert", &path(&marked)]);
    screen("TLS on a server without", &["-s", &plain, "-k"]);
    screen("no client certificate", &["-s", &mutual, "--ca-cert", &ca]);
    let both = ["-s", &mutual, "--ca-cert", &ca, "--client-cert", &cert, "--client-key", &key];
    screen("a client certificate", &both);
    screen("half a client certificate", &["-s", &mutual, "--client-cert", &cert]);
    screen("two places", &["-s", &plain, "--path", "data"]);
    assert!(!text.contains("s3cret"), "{text}");
    assert_snapshot!(text);
}

#[test]
fn tokens_and_tls_come_from_the_environment_and_are_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::create(folder.path());
    let server = TestServer::in_memory(|config| {
        config.tls = certificates.listener();
        config.auth.required = true;
        config.auth.token_hashes = vec![TokenHash::of(None, "pa55phrase")];
    });
    let mut place = Place::on_server(server.address());
    place.set("RSTMDB_TOKEN", "pa55phrase");
    place.set("RSTMDB_CA_CERT", certificates.ca.display());
    assert_eq!(place.ok(&["ping"]), "PONG\n");
    place.ok(&["list-machines"]);
    for arguments in [&["--help"] as &[&str], &["help-markdown"], &["ping", "--help"], &["nope"]] {
        let ran = place.run(arguments);
        assert!(!format!("{ran:?}").contains("pa55phrase"), "{arguments:?}: {ran:?}");
    }
    let url = format!("rstmdb://wr0ng@{}", server.address());
    let ran = place.run(&["-s", &url, "list-machines"]);
    assert_eq!(ran.code, 7, "{}", ran.stderr);
    assert!(!ran.stderr.contains("wr0ng"), "{}", ran.stderr);
}

#[test]
fn what_works_on_files_says_so() {
    let (_server, place) = in_memory();
    let error = place.error(2, &["repair", "--to", "1"]);
    assert!(error["message"].as_str().unwrap().contains("--path"), "{error}");
    // A server looks at its own files.
    place.ok(&["verify"]);
    let address = place.environment[0].1.clone();
    for command in ["bench", "demo"] {
        let error = place.error(2, &["-s", &address, command]);
        assert!(error["message"].as_str().unwrap().contains("--path"), "{error}");
    }
    let error = place.error(2, &["-s", &address, "--fsync", "never", "ping"]);
    assert!(error["message"].as_str().unwrap().contains("storage.fsync_policy"), "{error}");
    let mut both = Place::on_server(&address);
    both.set("RSTMDB_PATH", "data");
    let error = both.error(2, &["ping"]);
    assert!(error["message"].as_str().unwrap().contains("both set"), "{error}");
    both.ok(&["-s", &address, "ping"]);
}

#[test]
fn the_second_of_two_servers_answers() {
    let (server, mut place) = in_memory();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    place.environment.clear();
    let both = format!("{nobody},{}", server.address());
    assert_eq!(place.ok(&["-s", &both, "ping"]), "PONG\n");
}

#[test]
fn ping_waits_until_the_server_answers() {
    // Who is there first is no server: it hangs up.
    let other = TcpListener::bind(own_address(0).as_str()).unwrap();
    let address = other.local_addr().unwrap();
    let place = Place::on_server(address);
    let ran = place.run(&["ping", "--wait", "--timeout", "0s"]);
    assert_eq!(ran.code, 8, "{}", ran.stderr);
    assert!(ran.stderr.contains("no answer within 0s"), "{}", ran.stderr);

    let mut waiting = place.command(&["ping", "--wait", "--timeout", "10m"]);
    let waiting = waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The attempt of the first run may still be in the queue.
    for _ in 0..3 {
        drop(other.accept().unwrap());
    }
    drop(other);
    let server = TestServer::in_memory(|config| {
        config.network.bind_addr = own_address(address.port());
    });
    let ran = place.ran(waiting.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "PONG\n"), "{}", ran.stderr);
    server.stop().unwrap();
}

#[test]
fn a_wrong_token_ends_the_waiting() {
    let server = TestServer::in_memory(|config| {
        config.auth.required = true;
        config.auth.token_hashes = vec![TokenHash::of(None, "right")];
    });
    let place = Place::on_server(server.address());
    place.error(7, &["-t", "wrong", "ping", "--wait", "--timeout", "10m"]);
}

#[test]
fn hashes_of_tokens_are_those_of_the_server() {
    let place = Place::new();
    let hash = "1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0";
    assert_eq!(place.ok(&["hash-token", "s3cret"]), format!("{hash}\n"));
    let ran = place.run_with_input(&["hash-token", "--name", "ci"], "s3cret\n");
    assert_eq!(ran.stdout, format!("ci:{hash}\n"));
    assert!(ran.stdout.trim().parse::<TokenHash>().unwrap() == TokenHash::of(Some("ci"), "s3cret"));
    let ran = place.run_with_input(&["hash-token", "-", "--output", "json"], "s3cret");
    assert_eq!(ran.stdout, format!("{{\"hash\":\"{hash}\"}}\n"));
    assert_eq!(place.run_with_input(&["hash-token"], "\n").code, 2);
    assert_eq!(place.run_with_input(&["hash-token"], "a\nb\n").code, 2);
    place.error(2, &["hash-token", "s3cret", "--name", "two\nlines"]);
    assert!(!place.path().exists());
}

/// A command that runs on, and the lines it prints.
struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Running {
    fn start(place: &Place, arguments: &[&str]) -> Running {
        let mut command = place.command(arguments);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Running { child, lines }
    }

    fn type_in(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(self.lines.read_line(&mut line).unwrap(), 0, "the output ended");
        line
    }

    fn event(&mut self) -> Value {
        serde_json::from_str(&self.line()).unwrap()
    }

    fn interrupt(mut self) -> Option<i32> {
        let process = self.child.id().to_string();
        let status = std::process::Command::new("kill").args(["-INT", &process]).status();
        assert!(status.unwrap().success());
        self.child.wait().unwrap().code()
    }
}

#[test]
fn a_watch_goes_on_over_a_restart_and_ends_at_ctrl_c() {
    let folder = tempfile::tempdir().unwrap();
    let server = on_directory(folder.path(), 0);
    let port = server.address().port();
    let place = Place::on_server(server.address());
    place.add_orders();
    let mut watch = Running::start(&place, &["watch", "--no-ctx"]);
    let mut tail = Running::start(&place, &["tail", "o-3", "-n", "1"]);
    assert_eq!(tail.event()["kind"], "created");
    await_condition("both follow", || {
        server.metrics().subscriptions(true).get() + server.metrics().subscriptions(false).get()
            == 2
    });
    place.ok(&["apply-event", "-i", "o-2", "-e", "SHIP"]);
    assert_eq!(watch.event()["instance_id"], "o-2");
    server.stop().unwrap();

    let server = on_directory(folder.path(), port);
    place.ok(&["ping", "--wait", "--timeout", "10m"]);
    place.ok(&["apply-event", "-i", "o-3", "-e", "CANCEL"]);
    assert_eq!(watch.event()["event"], "CANCEL");
    assert_eq!(tail.event()["event"], "CANCEL");
    assert_eq!(watch.interrupt(), Some(0));
    assert_eq!(tail.interrupt(), Some(0));
    drop(server);
}

#[test]
fn tail_of_all_shows_the_last_changes_first() {
    let (_server, place) = in_memory();
    place.add_orders();
    let mut tail = Running::start(&place, &["tail", "-n", "2"]);
    let names: Vec<Value> = (0..2).map(|_| tail.event()["event"].clone()).collect();
    assert_eq!(names, ["PAY", "SHIP"]);
    place.ok(&["delete-instance", "o-3"]);
    assert_eq!(tail.event()["kind"], "deleted");
    assert_eq!(tail.interrupt(), Some(0));
}

#[test]
fn the_shell_survives_a_restart_of_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let server = on_directory(folder.path(), 0);
    let port = server.address().port();
    let place = Place::on_server(server.address());
    let mut shell = Running::start(&place, &["shell"]);
    shell.type_in("ping");
    assert_eq!(shell.line(), "PONG\n");
    server.stop().unwrap();
    let server = on_directory(folder.path(), port);
    shell.type_in("ping");
    assert_eq!(shell.line(), "PONG\n");
    shell.type_in("reconnect");
    shell.type_in("ping --output json");
    assert_eq!(shell.line(), "{\"pong\":true}\n");
    shell.type_in("quit");
    assert_eq!(shell.child.wait().unwrap().code(), Some(0));
    drop(server);
}

#[test]
fn an_import_over_the_network_ends_the_same() {
    let (server, remote) = in_memory();
    let here = Place::new();
    let mut log = String::from("ticket,activity,changed_at,by\n");
    for step in 0..4 {
        for case in 0..900 {
            let activity = ["Open", "Assign", "Wait", "Close", "Reopen"][(case * 7 + step) % 5];
            log.push_str(&format!("{case},{activity},2024-01-0{}T00:00:00Z,ann\n", step + 1));
        }
    }
    let columns = ["--case", "ticket", "--activity", "activity", "--time", "changed_at"];
    let import = |place: &Place| {
        let file = place.file("log.csv", &log);
        let arguments: Vec<&str> = ["import-log", &file].into_iter().chain(columns).collect();
        place.json(&arguments)
    };
    let (one, other) = (import(&here), import(&remote));
    assert_eq!(other["events_applied"], 3600, "{other}");
    assert_eq!(one["counts"], other["counts"]);
    for case in ["0", "17", "899"] {
        let [one, other] = [&here, &remote].map(|place| place.json(&["get-instance", case]));
        for member in ["state", "ctx", "version", "last_event_id"] {
            assert_eq!(one[member], other[member], "{case}");
        }
    }
    let again = import(&remote);
    assert_eq!((&again["events_applied"], &again["events_existing"]), (&0.into(), &3600.into()));
    assert_eq!(again["instances_existing"], 900);
    assert_eq!(again["counts"], other["counts"]);
    server.stop().unwrap();
}

#[test]
fn an_import_survives_lost_answers_without_applying_a_row_twice_or_out_of_turn() {
    // A third of the rows is refused: those must not pass when a batch is sent again.
    let definition = r#"{"states": ["new", "open", "shut"], "initial": "new", "transitions": [
        {"from": ["new", "shut"], "event": "Open", "to": "open"},
        {"from": "open", "event": "Shut", "to": "shut"}]}"#;
    let mut log = String::from("ticket,activity,changed_at,by\n");
    for row in 0..6_000 {
        let activity = ["Open", "Open", "Shut", "Shut", "Open"][(row / 100) % 5];
        log.push_str(&format!("{},{activity},2024-01-01,row {row}\n", row % 100));
    }
    let server = TestServer::in_memory(|_| {});
    let cuts = vec![900, 60_000, 210_000, 100_000, 150_000, 40_000, 260_000, 130_000];
    let remote = Place::on_server(cutting(server.address(), cuts));
    let here = Place::new();
    let import = |place: &Place| {
        let file = place.file("log.csv", &log);
        let definition = place.file("definition.json", definition);
        let arguments = [
            "import-log",
            &file,
            "--case",
            "ticket",
            "--activity",
            "activity",
            "--time",
            "changed_at",
            "--definition",
            &definition,
        ];
        let ran = place.run(&[&arguments as &[&str], &["--output", "json"]].concat());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let losses = ran.stderr.matches("looking for what was stored").count();
        (serde_json::from_str::<Value>(&ran.stdout).unwrap(), losses)
    };
    let ((one, _), (other, losses)) = (import(&here), import(&remote));
    assert!(losses > 2, "only {losses} answers were lost: choose other cuts");
    for figure in ["events_applied", "events_refused", "instances_created", "counts"] {
        assert_eq!(one[figure], other[figure], "{figure}: {one} {other}");
    }
    for case in ["0", "50", "99"] {
        let events = |place: &Place| {
            let history = place.json(&["history", case, "--limit", "1000"]);
            let events = history["events"].as_array().unwrap().clone();
            events.iter().map(|event| event["event_id"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(events(&here), events(&remote), "{case}");
    }
}
