//! The server as a service: what a service manager hears of it, what packages set, what a reload answers.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use rstmdb_testkit::mounted::Mounted;
use serde_json::json;
use support::running::{Folder, Running, program, text};
use support::{call, http};

const TOKEN: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// The socket by which a service manager is told.
struct Manager(UnixDatagram);

impl Manager {
    fn new(path: &Path) -> Manager {
        let socket = UnixDatagram::bind(path).unwrap();
        // What never comes is a failure and no hang.
        socket.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        Manager(socket)
    }

    /// Waits for a message that says this.
    fn wait_for(&self, wanted: &str) -> String {
        let mut heard = Vec::new();
        loop {
            let mut bytes = [0; 4096];
            let count = match self.0.recv(&mut bytes) {
                Ok(count) => count,
                Err(error) => panic!("no {wanted:?} came ({error}), but {heard:?}"),
            };
            let said = text(&bytes[..count]).to_owned();
            if said.contains(wanted) {
                return said;
            }
            heard.push(said);
        }
    }
}

#[test]
fn a_service_manager_hears_of_start_life_and_stop() {
    let folder = Folder::new();
    let socket = folder.path().join("notify");
    let manager = Manager::new(&socket);
    let mut command = program();
    command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "300000");
    let mut running = Running::starting_as(command, folder.path(), &[]);
    assert!(manager.wait_for("STATUS=opening").contains("data"));
    let ready = manager.wait_for("READY=1");
    running.ready();
    assert!(ready.contains(&format!("STATUS=serving {}", running.address)), "{ready}");
    manager.wait_for("WATCHDOG=1");
    manager.wait_for("WATCHDOG=1");
    running.signal("-TERM");
    manager.wait_for("STOPPING=1");
    assert_eq!(running.ended().0, Some(0));
}

#[test]
fn a_server_that_cannot_start_is_never_ready() {
    let folder = Folder::new();
    let socket = folder.path().join("notify");
    let manager = Manager::new(&socket);
    manager.0.set_nonblocking(true).unwrap();
    // Each is wrong for good: the unit does not start it again after these codes.
    let unreadable = folder.put("unreadable.yaml", "");
    std::fs::set_permissions(&unreadable, PermissionsExt::from_mode(0o000)).unwrap();
    let is_root = std::fs::File::open(&unreadable).is_ok();
    let tls = ["--set", "tls.enabled=true", "--set", "tls.cert_path=x", "--set", "tls.key_path=x"];
    let cases = [
        (vec!["--config", "no/such/file.yaml"], 3),
        (vec!["--set", "auth.required=true", "--set", "auth.secrets_file=/no/such/file"], 2),
        (vec!["--set", "network.max_frame_bytes=1"], 2),
        (tls.to_vec(), 2),
        (vec!["--config", unreadable.to_str().unwrap()], 2),
        (vec!["--no-such-flag"], 2),
    ];
    for (arguments, code) in cases {
        if is_root && arguments.contains(&unreadable.to_str().unwrap()) {
            continue;
        }
        let mut command = program();
        command.env("NOTIFY_SOCKET", &socket).args(["--bind", "127.0.0.1:0"]);
        command.args(["--metrics-bind", "off", "--data"]).arg(folder.path().join("data"));
        let output = command.args(&arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
        let mut bytes = [0; 4096];
        while let Ok(count) = manager.0.recv(&mut bytes) {
            assert!(!text(&bytes[..count]).contains("READY"), "{arguments:?}");
        }
    }
}

/// The journal is told how grave a line is; a file is not.
#[test]
fn lines_for_the_journal_begin_with_their_priority() {
    let folder = Folder::new();
    let log = folder.put("log", "");
    let file = std::fs::metadata(&log).unwrap();
    let said = |stream: String| {
        let stderr = std::fs::File::create(&log).unwrap();
        let mut command = program();
        command.args(["--set", "replication.poll_interval_ms=5", "--set", "tls.enabled=true"]);
        command.args(["--set", "tls.cert_path=/no/such", "--set", "tls.key_path=/no/such"]);
        command.env("JOURNAL_STREAM", stream).stderr(stderr).stdout(Stdio::null());
        command.args(["--log-format", "pretty"]);
        assert_eq!(command.status().unwrap().code(), Some(2));
        std::fs::read_to_string(&log).unwrap()
    };
    let journal = said(format!("{}:{}", file.dev(), file.ino()));
    let priorities: Vec<_> = journal.lines().map(|line| line.get(..3).unwrap()).collect();
    assert_eq!(priorities, ["<4>", "<3>"], "{journal}");
    assert!(journal.lines().last().unwrap().starts_with("<3>error: "), "{journal}");
    assert!(!said("1:1".to_owned()).contains('<'));
}

fn output(variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = program();
    command.envs(variables.iter().copied()).args(arguments).output().unwrap()
}

#[test]
fn what_a_package_sets_gives_way_to_the_file_and_what_wins_over_the_file_is_said() {
    let folder = Folder::new();
    let file = folder.put("rstmdb.yaml", "network: {bind_addr: 127.0.0.1:1}\nlog: {level: warn}\n");
    let config = ["--config", file.to_str().unwrap()];
    let print = |variables: &[(&str, &str)], more: &[&str]| {
        let output = output(variables, &[&config[..], more, &["--print-config"]].concat());
        text(&output.stdout).to_owned()
    };
    let package =
        [("RSTMDB_DEFAULT_BIND", "0.0.0.0:2"), ("RSTMDB_DEFAULT_DATA", "/var/lib/rstmdb")];
    let printed = print(&package, &[]);
    assert!(printed.contains("bind_addr: 127.0.0.1:1\n"), "the file wins: {printed}");
    assert!(printed.contains("data_dir: /var/lib/rstmdb\n"), "{printed}");
    let both = [package[0], ("RSTMDB_BIND", "127.0.0.1:3")];
    assert!(print(&both, &[]).contains("bind_addr: 127.0.0.1:3\n"));
    assert!(print(&both, &["--bind", "127.0.0.1:4"]).contains("bind_addr: 127.0.0.1:4\n"));

    let check = |variables: &[(&str, &str)], more: &[&str]| {
        let output =
            output(variables, &[&config[..], more, &["--check-config", "--strict"]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stderr).to_owned()
    };
    assert_eq!(check(&package, &[]), "", "a default that gives way needs no word");
    let said = check(&both, &["--set", "log.level=info"]);
    let place = |line| format!("{}, line {line}", file.display());
    let lines = [
        format!(
            "{}: network.bind_addr has no effect, the environment variable RSTMDB_BIND wins",
            place(1)
        ),
        format!("{}: log.level has no effect, the command line wins", place(2)),
    ];
    for line in lines {
        assert!(said.contains(&line), "{line}\n{said}");
    }
    // Tokens of the environment are beside those of the file; what is the same twice is no matter.
    folder
        .put("rstmdb.yaml", &format!("auth: {{token_hashes: [{TOKEN}]}}\nlog: {{level: warn}}\n"));
    let other = TOKEN.replace("ba", "ab");
    assert_eq!(check(&[("RSTMDB_AUTH_TOKEN_HASH", &other), ("RUST_LOG", "warn")], &[]), "");

    // A start says it too.
    folder.put("rstmdb.yaml", "network: {max_connections: 5}\n");
    let mut command = program();
    command.env("RSTMDB_MAX_CONNECTIONS", "7");
    let mut running = Running::starting_as(command, folder.path(), &config);
    running.wait_for("network.max_connections has no effect");
    // A slip in the name of a default is warned about as any other.
    let output = output(&[("RSTMDB_DEFAULT_BINDD", "x")], &["--check-config"]);
    assert!(text(&output.stderr).contains("did you mean RSTMDB_DEFAULT_BIND?"));
}

/// Starts a server with a control socket, and a folder for its files.
fn controlled(folder: &Folder, yaml: &str) -> (Running, String) {
    let file = folder.put("rstmdb.yaml", yaml).to_str().unwrap().to_owned();
    let mut command = program();
    command.env("RSTMDB_DEFAULT_SERVER_CONTROL_SOCKET", folder.path().join("control"));
    let mut running = Running::starting_as(command, folder.path(), &["--config", &file]);
    running.ready();
    (running, file)
}

fn reload(folder: &Folder, file: &str) -> (Option<i32>, String) {
    order(folder, file, &["--reload"])
}

/// Gives the running server an order.
fn order(folder: &Folder, file: &str, flags: &[&str]) -> (Option<i32>, String) {
    let control = folder.path().join("control");
    let control = ("RSTMDB_DEFAULT_SERVER_CONTROL_SOCKET", control.to_str().unwrap());
    let output = output(&[control], &[&["--config", file], flags].concat());
    (output.status.code(), [text(&output.stdout), text(&output.stderr)].concat())
}

fn metric(running: &Running, name: &str) -> String {
    let (_, text) = http(running.metrics, "GET", "/metrics");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("{name}: {text}")).to_owned()
}

#[test]
fn a_reload_that_is_refused_fails_and_closes_what_it_was_to_close() {
    let folder = Folder::new();
    let (mut running, file) = controlled(&folder, "network: {max_subscriptions: 5}\n");
    let mode = std::fs::metadata(folder.path().join("control")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(metric(&running, "rstmdb_config_last_reload_successful"), "1");
    let mut stranger = running.connect();
    assert_eq!(call(&mut stranger, "INFO", json!({}))["status"], "ok");

    folder.put("rstmdb.yaml", "network: {max_subscriptions: 6}\nserver: {worker_threads: 3}\n");
    let (code, said) = reload(&folder, &file);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("needs a restart: server.worker_threads"), "{said}");
    // Its file may have been seen to change before.
    assert!(said.contains("the configuration was read again"), "{said}");

    // A mistake elsewhere changes nothing.
    folder.put("rstmdb.yaml", "network: {max_subscriptions: many}\n");
    let (code, said) = reload(&folder, &file);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("network.max_subscriptions must be"), "{said}");
    assert_eq!(metric(&running, "rstmdb_config_last_reload_successful"), "0");
    assert_eq!(call(&mut stranger, "INFO", json!({}))["status"], "ok");

    // But who asks for tokens gets a server that is closed, whatever is wrong beside it.
    for yaml in [
        "auth: {required: true, secrets_file: ./no-such-file}\n",
        "network: {max_subscriptions: many}\nauth: {required: true, token_hashes: [x]}\n",
        "auth: {required: true}\n",
        "auth: {required: ture}\n",
    ] {
        folder.put("rstmdb.yaml", yaml);
        let (code, said) = reload(&folder, &file);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("nobody is served without a token"), "{said}");
        assert_eq!(call(&mut stranger, "INFO", json!({}))["error"]["code"], "UNAUTHORIZED");
        assert_eq!(
            call(&mut running.connect(), "INFO", json!({}))["error"]["code"],
            "UNAUTHORIZED"
        );
        folder.put("rstmdb.yaml", "network: {max_subscriptions: 6}\n");
        assert_eq!(reload(&folder, &file).0, Some(0));
        assert_eq!(call(&mut stranger, "INFO", json!({}))["status"], "ok", "as it was");
    }
    assert_eq!(metric(&running, "rstmdb_config_last_reload_successful"), "1");
    let at: u64 =
        metric(&running, "rstmdb_config_last_reload_success_timestamp_seconds").parse().unwrap();
    assert!(at > 1_600_000_000, "{at}");

    // The same on a signal. The log has lines of all the attempts before: this name is in none of them.
    folder.put("rstmdb.yaml", "auth: {required: true, secrets_file: ./comes-later}\n");
    running.signal("-HUP");
    let refusal = running.wait_for("comes-later");
    assert!(refusal["message"].as_str().unwrap().contains("nobody is served without a token"));
    // The file that was missing comes, and nobody has to say so.
    folder.put("comes-later", &format!("a:{TOKEN}\n"));
    running.wait_for_reload();
    let auth = json!({"method": "bearer", "token": "abc"});
    assert_eq!(call(&mut running.connect(), "AUTH", auth)["status"], "ok");
    assert_eq!(call(&mut stranger, "INFO", json!({}))["error"]["code"], "UNAUTHORIZED");
    running.signal("-TERM");
    assert_eq!(running.ended().0, Some(0));
    assert!(!folder.path().join("control").exists());
    let (code, said) = reload(&folder, &file);
    assert_eq!(code, Some(8), "{said}");
    assert!(said.contains("does the server run?"), "{said}");
}

/// The server waits for other things too meanwhile: what was read of a request is not lost.
#[test]
fn a_request_at_the_control_socket_may_come_in_pieces() {
    let folder = Folder::new();
    let (mut running, _) = controlled(&folder, "network: {max_subscriptions: 5}\n");
    let mut asking = UnixStream::connect(folder.path().join("control")).unwrap();
    asking.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    for piece in ["rel", "oa"] {
        asking.write_all(piece.as_bytes()).unwrap();
        // Twice: once it is certain that the server looked at the socket before.
        for _ in 0..2 {
            running.signal("-HUP");
            running.wait_for("the configuration was read again");
        }
    }
    asking.write_all(b"d\n").unwrap();
    let mut said = String::new();
    asking.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("done\n"), "{said:?}");
    // Who goes away in the middle is in nobody's way.
    let mut leaving = UnixStream::connect(folder.path().join("control")).unwrap();
    leaving.write_all(b"rel").unwrap();
    drop(leaving);
    let mut next = UnixStream::connect(folder.path().join("control")).unwrap();
    next.write_all(b"reload\n").unwrap();
    said.clear();
    next.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("done\n"), "{said:?}");
}

#[test]
fn the_control_socket_of_a_killed_server_is_taken_over_and_that_of_another_is_not() {
    let folder = Folder::new();
    let (mut killed, file) = controlled(&folder, "");
    killed.child.kill().unwrap();
    killed.child.wait().unwrap();
    assert!(folder.path().join("control").exists());
    let (running, _) = controlled(&folder, "");
    assert_eq!(reload(&folder, &file).0, Some(0));
    let other = folder.path().join("other");
    let control = folder.path().join("control");
    let control = format!("server.control_socket={}", control.display());
    let refused = output(
        &[],
        &[
            "--data",
            other.to_str().unwrap(),
            "--bind",
            "127.0.0.1:0",
            "--metrics-bind",
            "off",
            "--set",
            &control,
        ],
    );
    assert_eq!(refused.status.code(), Some(8));
    assert!(text(&refused.stderr).contains("another server uses it"), "{}", text(&refused.stderr));
    let refused = output(&[], &["--reload", "--config", &file]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("server.control_socket is not set"));
    drop(running);
}

#[test]
fn a_revoked_token_ends_its_sessions_where_that_is_asked_for() {
    let folder = Folder::new();
    let other = TOKEN.replace("ba", "ab");
    let secrets = folder.put("tokens", &format!("a:{TOKEN}\nb:{other}\n"));
    let yaml = |ends: bool| {
        format!(
            "auth: {{required: true, secrets_file: {}, end_revoked: {ends}}}\n",
            secrets.display()
        )
    };
    let (running, file) = controlled(&folder, &yaml(false));
    let session = || {
        let mut client = running.connect();
        let hello = json!({"protocol_version": 1, "client_name": "x", "features": ["rstmdb"]});
        call(&mut client, "HELLO", hello);
        let auth = json!({"method": "bearer", "token": "abc"});
        assert_eq!(call(&mut client, "AUTH", auth)["status"], "ok");
        assert_eq!(call(&mut client, "WATCH_ALL", json!({}))["status"], "ok");
        client
    };
    let mut first = session();
    folder.put("tokens", &format!("b:{other}\n"));
    assert_eq!(reload(&folder, &file).0, Some(0));
    assert_eq!(call(&mut first, "PING", json!({}))["status"], "ok", "it stays what it is");
    folder.put("rstmdb.yaml", &yaml(true));
    assert_eq!(reload(&folder, &file).0, Some(0));
    // Its watch says where to resume, then nothing more comes.
    let mut rest = Vec::new();
    first.read_to_end(&mut rest).unwrap();

    folder.put("tokens", &format!("a:{TOKEN}\nb:{other}\n"));
    assert_eq!(reload(&folder, &file).0, Some(0));
    let mut second = session();
    folder.put("tokens", &format!("c:{TOKEN}\n"));
    assert_eq!(reload(&folder, &file).0, Some(0));
    assert_eq!(call(&mut second, "PING", json!({}))["status"], "ok", "only its name is another");
}

#[test]
fn open_sessions_are_listed_and_one_can_be_ended() {
    let folder = Folder::new();
    let (running, file) = controlled(
        &folder,
        &format!("auth: {{required: false, token_hashes: ['worker:{TOKEN}']}}\n"),
    );
    let session = |name: &str| {
        let mut client = running.connect();
        let hello = json!({"protocol_version": 1, "client_name": name, "features": ["extended"]});
        call(&mut client, "HELLO", hello);
        client
    };
    let mut watcher = session("watcher \u{1b}[2J\n9 forged");
    let auth = json!({"method": "bearer", "token": "abc"});
    assert_eq!(call(&mut watcher, "AUTH", auth)["status"], "ok");
    assert_eq!(call(&mut watcher, "WATCH_ALL", json!({}))["status"], "ok");
    let mut other = session("other");
    let list = || {
        let (code, said) = order(&folder, &file, &["--sessions"]);
        assert_eq!(code, Some(0), "{said}");
        let rows = said.lines().map(|line| line.split_whitespace().map(str::to_owned).collect());
        rows.collect::<Vec<Vec<String>>>()
    };
    let rows = list();
    assert_eq!(rows[0], ["SESSION", "ADDRESS", "SECONDS", "WATCHES", "TOKEN", "CLIENT"]);
    assert_eq!(rows.len(), 3, "{rows:?}");
    let address = watcher.local_addr().unwrap().to_string();
    assert_eq!(
        (&rows[1][1], &rows[1][3..5]),
        (&address, &["1".to_owned(), "worker".to_owned()][..])
    );
    assert_eq!(rows[1][5..].join(" "), r"watcher \u{1b}[2J\n9 forged", "nothing moves a cursor");
    assert_eq!(rows[2][3..], ["0", "-", "other"]);

    let (code, said) = order(&folder, &file, &["--end-session", &rows[1][0]]);
    assert_eq!((code, said.trim()), (Some(0), &*format!("session {} ends", rows[1][0])));
    // Its watch says where to resume, then nothing more comes.
    let mut rest = Vec::new();
    watcher.read_to_end(&mut rest).unwrap();
    let rest = String::from_utf8_lossy(&rest);
    assert!(rest.contains(r#""type":"end""#), "{rest}");
    assert_eq!(call(&mut other, "PING", json!({}))["status"], "ok");
    drop(watcher);
    assert_eq!(list().len(), 2);
    let (code, said) = order(&folder, &file, &["--end-session", "4711"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("there is no session 4711; rstmdb --sessions lists them"), "{said}");

    // What a newer program may ask.
    let mut control = UnixStream::connect(folder.path().join("control")).unwrap();
    control.write_all(b"dance\n").unwrap();
    let mut answer = String::new();
    control.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "refused\nthis server does not know the request");
}

#[test]
fn a_default_address_of_metrics_may_be_taken_and_a_chosen_one_may_not() {
    let folder = Folder::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    let data = folder.path().join("data");
    let base = ["--data", data.to_str().unwrap(), "--bind", "127.0.0.1:0", "--log-format", "json"];
    let socket = folder.path().join("notify");
    let manager = Manager::new(&socket);
    let mut command = program();
    command.env("RSTMDB_DEFAULT_METRICS_BIND", &taken).env("NOTIFY_SOCKET", &socket);
    let mut child = command.args(base).stderr(Stdio::piped()).spawn().unwrap();
    manager.wait_for("READY=1");
    let kill = std::process::Command::new("kill").arg(child.id().to_string()).status();
    assert!(kill.unwrap().success());
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{log}");
    let warning = log.lines().find(|line| line.contains("metrics.bind_addr")).unwrap();
    assert!(warning.contains("WARN") && warning.contains("--metrics-bind HOST:PORT"), "{warning}");

    // Whatever has the address, who asks for health is told of the server.
    let mut command = program();
    command.env("RSTMDB_DEFAULT_METRICS_BIND", &taken).env("NOTIFY_SOCKET", &socket);
    let mut child = command.args(base).stderr(Stdio::null()).spawn().unwrap();
    let ready = manager.wait_for("READY=1");
    let address = ready.lines().find_map(|line| line.strip_prefix("STATUS=serving ")).unwrap();
    let address = address.split([' ', ',', ';']).next().unwrap();
    let answering = listener.try_clone().unwrap();
    let stranger = std::thread::spawn(move || {
        let (mut asked, _) = answering.accept().unwrap();
        assert_ne!(asked.read(&mut [0; 1024]).unwrap(), 0);
        asked.write_all(b"HTTP/1.1 404 Not Found\r\n\r\nno").unwrap();
    });
    let check = ["--bind", address, "--check-health"];
    let health = output(&[("RSTMDB_DEFAULT_METRICS_BIND", &*taken)], &check);
    child.kill().unwrap();
    child.wait().unwrap();
    stranger.join().unwrap();
    assert_eq!(text(&health.stdout), "it answers\n", "{}", text(&health.stderr));

    let file = folder.put("rstmdb.yaml", &format!("metrics: {{bind_addr: {taken}}}\n"));
    let by_file = ["--config", file.to_str().unwrap()];
    for (variables, more) in [
        (vec![("RSTMDB_METRICS_BIND", &*taken)], &[][..]),
        (vec![], &["--metrics-bind", &*taken][..]),
        (vec![], &by_file[..]),
    ] {
        let output = output(&variables, &[&base[..], more].concat());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(8), "{said}");
        assert!(
            said.contains("Address already in use") && said.contains("--metrics-bind"),
            "{said}"
        );
    }
    let mut base = base;
    base[3] = &taken;
    let output = output(&[], &base);
    assert_eq!(output.status.code(), Some(8));
    assert!(text(&output.stderr).contains("choose another address for network.bind_addr (--bind"));
}

#[test]
fn a_path_that_looks_like_something_else_is_refused_with_what_to_write() {
    let folder = Folder::new();
    for (path, way_out) in [
        ("~/x", "only a shell knows what ~ is"),
        ("$HOME/x", "only a shell knows variables"),
        ("undefined", "a value that is not there"),
        (":memory:", "a server keeps its data in files"),
        ("mem:", "a server keeps its data in files"),
        ("rstmdb://host", "looks like a server"),
        ("localhost:7401", "looks like a server"),
        ("10.0.0.1", "looks like a server"),
        ("file:///data", "write the path alone"),
        ("file:data", "write the path alone"),
        ("sqlite:x", "looks like a URL"),
    ] {
        let refused = |variables: &[(&str, &str)], arguments: &[&str]| {
            let mut command = program();
            command.current_dir(folder.path()).envs(variables.iter().copied());
            let output = command.args(arguments).arg("--check-config").output().unwrap();
            let said = text(&output.stderr).to_owned();
            assert_eq!(output.status.code(), Some(2), "{path}: {said}");
            assert!(said.contains(way_out), "{path}: {said}");
        };
        refused(&[], &["--data", path]);
        refused(&[("RSTMDB_DATA", path)], &[]);
        refused(&[("RSTMDB_DEFAULT_DATA", path)], &[]);
        for key in ["auth.secrets_file", "tls.cert_path", "server.control_socket"] {
            refused(&[], &["--set", &format!("{key}={path}")]);
        }
        let file = folder.put("rstmdb.yaml", &format!("storage: {{data_dir: \"{path}\"}}\n"));
        refused(&[], &["--config", file.to_str().unwrap()]);
        refused(&[], &["--config", path]);
        assert!(!folder.path().join(path).exists(), "{path}");
    }
    for path in ["./localhost:7401", "./~", "data", "/tmp/a:b", "a/b:c"] {
        assert!(output(&[], &["--data", path, "--check-config"]).status.success(), "{path}");
    }
}

#[test]
fn a_new_data_directory_is_nobody_elses_to_read() {
    let folder = Folder::new();
    let running = Running::start(folder.path(), &[]);
    let mode = std::fs::metadata(folder.path().join("data")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    drop(running);
}

/// A disk that fills up is said once, and again when there is room, and answered truly wherever one asks.
#[test]
fn a_full_disk_is_one_warning_and_shows_in_metrics_health_and_status() {
    let folder = Folder::new();
    let disk = match Mounted::memory(folder.path(), 16 << 10) {
        Ok(disk) => disk,
        Err(why) => return eprintln!("a_full_disk_is_one_warning skipped: {why}"),
    };
    let sockets = Folder::new();
    let manager = Manager::new(&sockets.path().join("notify"));
    let mut command = program();
    command.env("NOTIFY_SOCKET", sockets.path().join("notify"));
    let settings =
        ["--set", "storage.free_bytes_min=4MiB", "--set", "storage.wal_segment_size_mb=1"];
    let mut running = Running::starting_as(command, folder.path(), &settings);
    running.ready();
    let mut client = running.connect();
    let machine = json!({"states": ["a"], "initial": "a", "transitions": [{"from": "a", "event": "GO", "to": "a"}]});
    call(&mut client, "PUT_MACHINE", json!({"machine": "m", "version": 1, "definition": machine}));
    call(&mut client, "CREATE_INSTANCE", json!({"instance_id": "i", "machine": "m", "version": 1}));
    let mut apply = || {
        let payload = json!({"text": "x".repeat(60 << 10)});
        let event = json!({"instance_id": "i", "event": "GO", "payload": payload});
        call(&mut client, "APPLY_EVENT", event)["status"] == "ok"
    };
    // What is not the log's fills the disk.
    let junk = folder.path().join("junk");
    std::fs::write(&junk, vec![7; 8 << 20]).unwrap();
    assert_eq!(metric(&running, "rstmdb_writable"), "1");
    while apply() {}
    for _ in 0..50 {
        assert!(!apply());
    }
    assert_eq!(metric(&running, "rstmdb_writable"), "0");
    let refused: u64 =
        metric(&running, "rstmdb_writes_refused_total{reason=\"disk_full\"}").parse().unwrap();
    assert!(refused > 50, "{refused}");
    let free: i64 = metric(&running, "rstmdb_disk_free_bytes").parse().unwrap();
    assert!((0..4 << 20).contains(&free), "{free}");
    let (head, body) = http(running.metrics, "GET", "/health/ready");
    assert!(head.starts_with("HTTP/1.1 503") && body.contains("disk is full"), "{head} {body}");
    assert!(running.wait_for("writes are refused")["level"] == "WARN");
    manager.wait_for("but writes are refused: the disk is full");

    // Room is enough; nobody has to write for it to show.
    std::fs::remove_file(&junk).unwrap();
    running.wait_for("writes are accepted again");
    manager.wait_for("STATUS=serving");
    assert_eq!(metric(&running, "rstmdb_writable"), "1");
    assert!(http(running.metrics, "GET", "/health/ready").0.starts_with("HTTP/1.1 200"));
    assert!(apply());
    running.signal("-TERM");
    let (code, log) = running.ended();
    assert_eq!(code, Some(0), "{log}");
    let lines = |part: &str| log.lines().filter(|line| line.contains(part)).count();
    assert_eq!(lines("writes are refused"), 1, "{log}");
    assert_eq!(lines("a request failed: the disk is full"), 1, "{log}");
    drop(disk);
}

/// Bytes that change under a running server: what needs them fails, the rest goes on, and whoever watches over it is told.
#[test]
fn damage_that_is_found_is_one_warning_and_shows_in_metrics_and_health() {
    let folder = Folder::new();
    let running = Running::start(folder.path(), &["--set", "compaction.enabled=false"]);
    let mut client = running.connect();
    let machine = json!({"states": ["a"], "initial": "a", "transitions": [{"from": "a", "event": "GO", "to": "a"}]});
    call(&mut client, "PUT_MACHINE", json!({"machine": "m", "version": 1, "definition": machine}));
    call(&mut client, "CREATE_INSTANCE", json!({"instance_id": "i", "machine": "m", "version": 1}));
    let apply = |client: &mut std::net::TcpStream| {
        let payload = json!({"text": "x".repeat(1000)});
        let event = json!({"instance_id": "i", "event": "GO", "payload": payload});
        call(client, "APPLY_EVENT", event)["status"] == "ok"
    };
    (0..50).for_each(|_| assert!(apply(&mut client)));
    running.signal("-TERM");
    assert_eq!(running.ended().0, Some(0));

    // What was replayed at the start is read from the files again.
    let mut running = Running::start(folder.path(), &["--set", "compaction.enabled=false"]);
    let mut segments: Vec<_> = std::fs::read_dir(folder.path().join("data/log")).unwrap().collect();
    segments.sort_by_key(|segment| segment.as_ref().unwrap().path());
    let segment = segments[0].as_ref().unwrap().path();
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.windows(20).position(|found| found == [b'x'; 20]).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    assert_eq!(metric(&running, "rstmdb_damaged"), "0");

    let mut client = running.connect();
    for _ in 0..50 {
        let answer = call(&mut client, "WAL_READ", json!({"from_offset": 1, "limit": 100}));
        assert_eq!(answer["error"]["code"], "INTERNAL_ERROR", "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains("is damaged at byte"));
    }
    assert_eq!(running.wait_for("stored data is damaged")["level"], "WARN");
    assert_eq!(metric(&running, "rstmdb_damaged"), "1");
    // What needs none of it is served.
    assert_eq!(metric(&running, "rstmdb_writable"), "1");
    assert!(apply(&mut client));
    let (head, body) = http(running.metrics, "GET", "/health/ready");
    assert!(
        head.starts_with("HTTP/1.1 200") && body.contains("is damaged at byte"),
        "{head} {body}"
    );
    let errors = "rstmdb_errors_total{code=\"INTERNAL_ERROR\"}";
    assert_eq!(metric(&running, errors), "50");
    // A watch that comes to it ends, which is an error like any other.
    let mut watching = running.connect();
    assert_eq!(call(&mut watching, "WATCH_ALL", json!({"from_offset": 1}))["status"], "ok");
    watching.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(metric(&running, errors), "51");
    // The remedy that is said: what is in memory goes into a checkpoint.
    assert_eq!(call(&mut client, "COMPACT", json!({}))["status"], "ok");
    running.signal("-TERM");
    let (code, log) = running.ended();
    assert_eq!(code, Some(0), "{log}");
    let lines = |part: &str| log.lines().filter(|line| line.contains(part)).count();
    assert_eq!(lines("stored data is damaged"), 1, "{log}");
    assert_eq!(lines("a request failed: "), 1, "{log}");
    let running = Running::start(folder.path(), &[]);
    assert_eq!(metric(&running, "rstmdb_damaged"), "0", "until something needs it");
    assert!(apply(&mut running.connect()));
}
