//! Programs for runners of other languages, and the host of servers: what
//! `tests/conformance/SPEC.md` promises them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use rstmdb_testkit::exchange::{Exchange, run};
use rstmdb_testkit::host::{self, HostedTarget, read_options};
use rstmdb_testkit::target::{EngineTarget, Target};
use rstmdb_types::{Json, Operation};
use serde_json::{Value, json};

const SEEDS: std::ops::Range<u64> = 100..130;

/// A host for the life of the test process.
fn host_in(root: &tempfile::TempDir) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let root = root.path().to_owned();
    std::thread::spawn(move || host::serve(listener, &root));
    address
}

fn check(open: &dyn Fn(&Value) -> Box<dyn Target>) {
    for seed in SEEDS {
        let exchange = Exchange::generate(seed);
        let answers = run(&exchange.program, &mut *open(&exchange.program["options"])).unwrap();
        let pairs = exchange.answers.lines().zip(answers.lines()).enumerate();
        for (index, (model, database)) in pairs {
            assert_eq!(database, model, "seed {seed}: {}", exchange.program["steps"][index]);
        }
        assert_eq!(answers, exchange.answers, "seed {seed}");
    }
}

#[test]
fn a_database_in_memory_answers_programs_as_the_model_does() {
    check(&|options| Box::new(EngineTarget::memory(read_options(options).unwrap().0).unwrap()));
}

#[test]
fn a_database_in_a_directory_answers_programs_as_the_model_does() {
    let root = tempfile::tempdir().unwrap();
    check(&|options| {
        let directory = tempfile::tempdir_in(root.path()).unwrap().keep();
        let options = read_options(options).unwrap().0;
        Box::new(EngineTarget::directory(&directory, options).unwrap())
    });
}

#[test]
fn a_hosted_server_answers_programs_as_the_model_does() {
    let root = tempfile::tempdir().unwrap();
    let address = host_in(&root).to_string();
    check(&|options| Box::new(HostedTarget::open(&address, options).unwrap()));
}

/// What does not survive the way through a language is not in a program, and what is hard is.
#[test]
fn programs_hold_what_every_language_can_write() {
    let mut largest = false;
    let mut least = false;
    for seed in SEEDS {
        let exchange = Exchange::generate(seed);
        let text = exchange.program.to_string();
        assert_eq!(text, Exchange::generate(seed).program.to_string(), "a seed is a program");
        assert!(!text.contains("$generated") && !text.contains("$offset_of"), "{text}");
        largest |= exchange.answers.contains(&u64::MAX.to_string());
        least |= exchange.answers.contains(&i64::MIN.to_string());
        let mut portable = |number: &serde_json::Number| {
            let text = number.to_string();
            let plain = number.as_i64().is_some() || number.as_u64().is_some();
            assert!(plain || text.contains('.') && !text.contains(['e', 'E']), "{text}");
        };
        numbers(&exchange.program, &mut portable);
        for line in exchange.answers.lines() {
            numbers(&serde_json::from_str(line).unwrap(), &mut portable);
        }
    }
    assert!(largest && least, "the borders of the integers");
}

fn numbers(value: &Value, look: &mut dyn FnMut(&serde_json::Number)) {
    match value {
        Value::Number(number) => look(number),
        Value::Array(items) => items.iter().for_each(|item| numbers(item, look)),
        Value::Object(members) => members.values().for_each(|item| numbers(item, look)),
        _ => {}
    }
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
    let open = || HostedTarget::open(&address, &json!({})).unwrap();
    let (mut one, mut other) = (open(), open());
    let machine = json!({"machine": "m", "version": 1,
        "definition": {"states": ["s"], "initial": "s", "transitions": []}});
    one.call(Operation::PutMachine, &Json::from_value(&machine)).unwrap();
    one.reopen().unwrap();
    let count = |target: &mut HostedTarget| {
        let listed = target.call(Operation::ListMachines, &Json::empty_object()).unwrap();
        listed.to_value()["items"].as_array().unwrap().len()
    };
    assert_eq!((count(&mut one), count(&mut other)), (1, 0));
}
