//! Things that once went wrong.

use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use rstmdb_engine::{Background, Engine, Options};
use rstmdb_testkit::faulty::FaultyStorage;
use rstmdb_testkit::sample::{LOOP, location};
use rstmdb_types::error::reason;
use rstmdb_types::*;

fn open(disk: &FaultyStorage, options: Options) -> Engine {
    let options = Options { free_bytes_min: 0, checkpoint_log_bytes: 0, ..options };
    Engine::open(location(disk), options).unwrap()
}

fn inline() -> Options {
    Options { background: Background::Inline, ..Options::default() }
}

fn prepare(engine: &Engine, ids: &[&str]) {
    engine.put_machine(PutMachineRequest::new("m", 1, Json::parse(LOOP).unwrap())).wait().unwrap();
    for id in ids {
        engine.create_instance(CreateInstanceRequest::new(*id, "m", 1)).wait().unwrap();
    }
}

fn apply(engine: &Engine, id: &str, key: &str) -> Result<ApplyEventResult> {
    engine.apply_event(ApplyEventRequest::new(id, "E").with_key(key)).wait()
}

fn keyed(id: &str, key: String) -> BatchOperation {
    BatchOperation::ApplyEvent(ApplyEventRequest::new(id, "E").with_key(key))
}

/// A checkpoint that began before a flush and ended after it lacked instances that the log before the
/// flush still named: the database could not be opened again.
#[test]
fn a_flush_during_a_checkpoint_leaves_a_database_that_opens() {
    for round in 0..3 {
        let disk = FaultyStorage::new(round);
        let options = Options { allow_flush_all: true, ..Options::default() };
        let engine = open(&disk, options.clone());
        prepare(&engine, &[]);
        let ids: Vec<String> = (0..20_000).map(|n| format!("i-{n}")).collect();
        for part in ids.chunks(1000) {
            let create = |id: &String| {
                BatchOperation::CreateInstance(CreateInstanceRequest::new(id.as_str(), "m", 1))
            };
            let ops = part.iter().map(create).collect();
            let request = BatchRequest { mode: BatchMode::Atomic, ops, idempotency_key: None };
            engine.batch(request).wait().unwrap();
        }
        std::thread::scope(|scope| {
            scope.spawn(|| engine.compact(CompactRequest { force_snapshot: true }).wait().unwrap());
            while !disk.paths().iter().any(|path| path.ends_with(".ckpt.tmp")) {
                std::thread::yield_now();
            }
            for id in ids.iter().step_by(500) {
                engine.apply_event(ApplyEventRequest::new(id.as_str(), "E")).wait().unwrap();
            }
            engine.flush_all(FlushAllRequest {}).wait().unwrap();
            prepare(&engine, &["i-1", "i-2"]);
        });
        let expected = engine.count_instances(CountInstancesRequest::default()).wait().unwrap();
        engine.close().unwrap();
        let engine = open(&disk, options);
        let found = engine.count_instances(CountInstancesRequest::default()).wait().unwrap();
        assert_eq!(found, expected, "round {round}");
        engine.close().unwrap();
    }
}

/// Keys of a batch that failed had made older ones give way.
#[test]
fn a_refused_batch_leaves_remembered_keys_alone() {
    let options = Options { idempotency_keys_max: 100, ..inline() };
    let engine = open(&FaultyStorage::new(1), options);
    prepare(&engine, &["a"]);
    for n in 0..100 {
        assert!(apply(&engine, "a", &format!("k{n}")).unwrap().applied);
    }
    let mut ops: Vec<_> = (0..100).map(|n| keyed("a", format!("batch{n}"))).collect();
    ops.push(keyed("missing", "last".to_owned()));
    let request = BatchRequest { mode: BatchMode::Atomic, ops, idempotency_key: None };
    assert!(engine.batch(request).wait().is_err());
    for n in 0..100 {
        assert!(!apply(&engine, "a", &format!("k{n}")).unwrap().applied, "k{n} was forgotten");
    }
}

/// The bound was divided by the number of partitions, so one busy instance forgot young keys.
#[test]
fn the_bound_on_keys_is_that_of_the_database_and_holds_after_a_restart() {
    let disk = FaultyStorage::new(1);
    for partitions in [1, 64] {
        let options = Options { idempotency_keys_max: 1000, partitions, ..inline() };
        let engine = open(&disk, options.clone());
        let id = format!("busy-{partitions}");
        prepare(&engine, &[&id]);
        for n in 0..1100 {
            assert!(apply(&engine, &id, &format!("k{n}")).unwrap().applied);
        }
        let check = |engine: &Engine| {
            for n in 100..1100 {
                assert!(!apply(engine, &id, &format!("k{n}")).unwrap().applied, "k{n}");
            }
        };
        check(&engine);
        engine.close().unwrap();
        let engine = open(&disk, options.clone());
        check(&engine);
        engine.compact(CompactRequest { force_snapshot: true }).wait().unwrap();
        engine.close().unwrap();
        let engine = open(&disk, options);
        check(&engine);
        assert!(apply(&engine, &id, "k0").unwrap().applied, "the oldest gave way");
        engine.close().unwrap();
    }
}

/// The remembered result of a batch was stored as a tree, which nests less deep than contexts may.
#[test]
fn the_result_of_a_batch_can_be_read_back_whatever_it_holds() {
    let disk = FaultyStorage::new(1);
    let engine = open(&disk, inline());
    prepare(&engine, &[]);
    let deep = |depth: usize| {
        Json::parse(&format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth))).unwrap()
    };
    let create = |depth| CreateInstanceRequest::new("deep", "m", 1).with_ctx(deep(depth));
    let refused = engine.create_instance(create(limits::DEPTH_MAX + 1)).wait().unwrap_err();
    assert_eq!(refused.reason(), Some(reason::LIMIT_EXCEEDED));
    let get = GetInstanceRequest { instance_id: "deep".into() };
    let request = BatchRequest {
        mode: BatchMode::Atomic,
        ops: vec![
            BatchOperation::CreateInstance(create(limits::DEPTH_MAX)),
            BatchOperation::GetInstance(get),
        ],
        idempotency_key: Some("once".into()),
    };
    let first = engine.batch(request.clone()).wait().unwrap();
    let again = engine.batch(request.clone()).wait().unwrap();
    assert_eq!(format!("{again:?}"), format!("{first:?}"));
    engine.close().unwrap();
    let engine = open(&disk, inline());
    let again = engine.batch(request).wait().unwrap();
    assert_eq!(format!("{again:?}"), format!("{first:?}"));
    assert!(Json::parse(r#"{"$serde_json::private::RawValue":"1"}"#).is_err());
}

struct Counted;

impl Wake for Counted {
    fn wake(self: Arc<Self>) {}
}

/// Each poll of an idle watch left a waker behind.
#[test]
fn a_watch_keeps_one_waker_and_gives_it_back() {
    let engine = open(&FaultyStorage::new(1), inline());
    prepare(&engine, &["a"]);
    let (_, mut events) = engine.watch_all(WatchAllRequest::default()).unwrap();
    let wakers: Vec<Arc<Counted>> = (0..100).map(|_| Arc::new(Counted)).collect();
    for counted in &wakers {
        let waker = Waker::from(counted.clone());
        assert!(events.poll_next(&mut Context::from_waker(&waker)).is_pending());
    }
    let kept = |counted: &&Arc<Counted>| Arc::strong_count(counted) > 1;
    assert_eq!(wakers.iter().filter(kept).count(), 1);
    drop(events);
    assert_eq!(wakers.iter().filter(kept).count(), 0);
}

/// A compaction that had waited for another went on after the database was closed.
#[test]
fn nothing_is_written_after_closing() {
    for seed in 0..50 {
        let disk = FaultyStorage::new(seed);
        let engine = open(&disk, Options::default());
        prepare(&engine, &["a"]);
        let at_closing = std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..3 {
                        let _ = engine.compact(CompactRequest { force_snapshot: true }).wait();
                    }
                });
            }
            engine.close().unwrap();
            disk.mutating_calls()
        });
        assert_eq!(disk.mutating_calls(), at_closing, "seed {seed}");
    }
}

/// What clients of RCP 0.3 stored with integers that do not fit 64 bits stays as it is, through log and checkpoint.
#[test]
fn guards_with_large_integers_that_are_stored_stay_floats() {
    let guarded = r#"{"states":["s"],"initial":"s","transitions":[{"from":"s","event":"E","to":"s",
        "guard":"ctx.n >= 18446744073709551616"}]}"#;
    let disk = FaultyStorage::new(7);
    let engine = open(&disk, inline());
    let put = PutMachineRequest::new("m", 1, Json::parse(guarded).unwrap());
    let error = engine.put_machine(put.clone()).wait().unwrap_err();
    assert_eq!(error.reason(), Some(reason::INVALID_GUARD));
    let plain = Command { plain_rules: true, ..engine.command(put) };
    Engine::submit(&engine, plain).wait().unwrap();
    for (id, ctx) in [("more", r#"{"n":1e20}"#), ("less", r#"{"n":18000000000000000000}"#)] {
        let mut create = CreateInstanceRequest::new(id, "m", 1);
        create.initial_ctx = Some(Json::parse(ctx).unwrap());
        engine.create_instance(create).wait().unwrap();
    }
    let mut engine = engine;
    for compacts in [false, true, true] {
        assert!(engine.apply_event(ApplyEventRequest::new("more", "E")).wait().is_ok());
        let refused = engine.apply_event(ApplyEventRequest::new("less", "E")).wait().unwrap_err();
        assert_eq!(refused.code(), ErrorCode::GuardFailed);
        if compacts {
            engine.compact(CompactRequest { force_snapshot: true }).wait().unwrap();
        }
        engine.close().unwrap();
        engine = open(&disk, inline());
    }
    engine.close().unwrap();
}
