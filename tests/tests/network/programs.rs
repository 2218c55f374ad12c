//! Random programs on servers, and the host of servers: what `tests/conformance/SPEC.md` promises
//! runners of other languages.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use rstmdb_testkit::compare::{compare, compare_many};
use rstmdb_testkit::exchange::check;
use rstmdb_testkit::host;
use rstmdb_testkit::target::{DatabaseTarget, Target};
use rstmdb_types::{Json, Operation};
use serde_json::{Value, json};

/// Each step is a round trip, so there are fewer programs.
#[test]
fn the_engine_behind_a_server_agrees_with_the_model() {
    let root = tempfile::tempdir().unwrap();
    compare_many("rstmdb-tests --test network programs::the_engine", 3_000_000, 5, &|program| {
        let directory = tempfile::tempdir_in(root.path()).unwrap();
        compare(program, &|program| {
            DatabaseTarget::served(directory.path(), program.options.clone()).unwrap()
        })
    });
}

/// A host for the life of the test process.
fn host_in(root: &tempfile::TempDir) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let root = root.path().to_owned();
    std::thread::spawn(move || host::serve(listener, &root));
    address
}

#[test]
fn a_hosted_server_answers_programs_as_the_model_does() {
    let root = tempfile::tempdir().unwrap();
    let address = host_in(&root).to_string();
    check(&|options| Box::new(DatabaseTarget::hosted(&address, options).unwrap()));
}

#[test]
fn the_host_refuses_what_it_does_not_know() {
    let root = tempfile::tempdir().unwrap();
    let stream = TcpStream::connect(host_in(&root)).unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    let mut ask = |line: &str| -> Value {
        (&stream).write_all(format!("{line}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        lines.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    };
    for (line, expected) in [
        ("nonsense", "expected"),
        (r#"{"reopen": true}"#, "start comes first"),
        (r#"{"start": {"fsnyc": "never"}}"#, "fsnyc"),
        (r#"{"start": {"fsync": "sometimes"}}"#, "sometimes"),
        (r#"{"start": {"retention": {"bytse": 1}}}"#, "retention"),
        (r#"{"start": {}, "reopen": true}"#, "one member"),
    ] {
        let answer = ask(line);
        assert!(answer["error"].as_str().unwrap().contains(expected), "{line}: {answer}");
    }
    assert!(ask(r#"{"start": {}}"#)["url"].as_str().unwrap().starts_with("rstmdb://127.0.0.1:"));
    assert_eq!(ask(r#"{"advance_ms": 5}"#), json!({"ok": true}));
    assert!(ask(r#"{"start": {}}"#)["error"].as_str().unwrap().contains("has a server"));
}

#[test]
fn servers_of_a_host_don_t_share_anything() {
    let root = tempfile::tempdir().unwrap();
    let address = host_in(&root).to_string();
    let open = || DatabaseTarget::hosted(&address, &json!({})).unwrap();
    let (mut one, mut other) = (open(), open());
    let machine = json!({"machine": "m", "version": 1,
        "definition": {"states": ["s"], "initial": "s", "transitions": []}});
    one.call(Operation::PutMachine, &Json::from_value(&machine)).unwrap();
    one.reopen().unwrap();
    let count = |target: &mut DatabaseTarget| {
        let listed = target.call(Operation::ListMachines, &Json::empty_object()).unwrap();
        listed.to_value()["items"].as_array().unwrap().len()
    };
    assert_eq!((count(&mut one), count(&mut other)), (1, 0));
}
