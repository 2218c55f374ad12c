//! Where a history begins and ends, and what a change costs in the log.

use rstmdb_engine::FsyncPolicy::EveryWrite;
use rstmdb_engine::maintenance::{repair, verify};
use rstmdb_engine::{Engine, Options, Retention};
use rstmdb_testkit::calls::call;
use rstmdb_testkit::faulty::{Crash, FaultyStorage};
use rstmdb_testkit::sample::*;
use rstmdb_types::{
    ApplyEventRequest, InfoRequest, LogPosition, Operation, Text, WalReadRequest, WalStatsRequest,
    WatchAllRequest, WatchInstanceRequest,
};
use serde_json::{Value, json};

/// The epoch frames of the log: number, history id, first offset.
fn epochs(disk: &FaultyStorage) -> Vec<[u64; 3]> {
    let all = segments(disk).into_iter().flat_map(|segment| frames(disk, segment));
    let word = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    all.filter(|frame| frame.bytes[5] == 3)
        .map(|frame| [64, 72, 80].map(|at| word(&frame.bytes, at)))
        .collect()
}

fn manifest(disk: &FaultyStorage) -> Value {
    let text = String::from_utf8(disk.contents("MANIFEST").unwrap()).unwrap();
    serde_json::from_str(text.lines().next().unwrap()).unwrap()
}

fn listed(disk: &FaultyStorage) -> Vec<(String, u64)> {
    let manifest = manifest(disk);
    let history = manifest["history"].as_array().unwrap().iter();
    history
        .map(|begins| {
            (begins["id"].as_str().unwrap().to_owned(), begins["first"].as_u64().unwrap())
        })
        .collect()
}

fn in_manifest(epochs: &[[u64; 3]]) -> Vec<(String, u64)> {
    epochs.iter().map(|[_, id, first]| (format!("{id:016x}"), *first)).collect()
}

fn compact(engine: &Engine) {
    call(engine, Operation::Compact, &json!({"force_snapshot": true})).unwrap();
}

#[test]
fn the_first_change_after_an_opening_begins_a_history_and_opening_alone_none() {
    let (disk, engine) = database(3, EveryWrite);
    engine.close().unwrap();
    for round in 0..3 {
        for _ in 0..2 {
            open(&disk, EveryWrite).unwrap().close().unwrap();
        }
        let engine = open(&disk, EveryWrite).unwrap();
        apply(&engine, 10 + round).unwrap();
        apply(&engine, 20 + round).unwrap();
        compact(&engine);
        engine.close().unwrap();
    }
    let all = epochs(&disk);
    let what: Vec<_> = all.iter().map(|[number, _, first]| (*number, *first)).collect();
    assert_eq!(what, [(1, 1), (2, 6), (3, 9), (4, 12)]);
    let mut ids: Vec<_> = all.iter().map(|[_, id, _]| id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4);
    assert_eq!(listed(&disk), in_manifest(&all));
    // Without the manifest's list, checkpoint and log still tell it.
    edit(&disk, "MANIFEST", |bytes| {
        let mut manifest: Value =
            serde_json::from_str(std::str::from_utf8(bytes).unwrap().lines().next().unwrap())
                .unwrap();
        manifest["history"] = json!([]);
        let json = manifest.to_string();
        *bytes = format!("{json}\n{:08x}\n", crc32c::crc32c(json.as_bytes())).into_bytes();
    });
    let engine = open(&disk, EveryWrite).unwrap();
    compact(&engine);
    let [told @ .., (_, mark)] = &listed(&disk)[..] else { panic!("no history") };
    assert_eq!(told, in_manifest(&all));
    assert_eq!(*mark, 15, "the mark of the checkpoint begins one");
}

#[test]
fn histories_reach_as_far_back_as_the_log() {
    let (disk, engine) = database(3, EveryWrite);
    engine.close().unwrap();
    for round in 0..3 {
        let options = Options { retention: Retention::Bytes(1), ..options(EveryWrite) };
        let engine = Engine::open(location(&disk), options).unwrap();
        apply(&engine, 10 + round).unwrap();
        compact(&engine);
        engine.close().unwrap();
        let first = manifest(&disk)["first_offset"].as_u64().unwrap();
        let [.., last] = &listed(&disk)[..] else { panic!("no history") };
        assert!(last.1 <= first, "{last:?} {first}");
        assert_eq!(listed(&disk).len(), 1);
    }
}

#[test]
fn a_cut_keeps_the_database_and_ends_its_history() {
    let (disk, engine) = database(3, EveryWrite);
    engine.close().unwrap();
    let engine = open(&disk, EveryWrite).unwrap();
    apply(&engine, 10).unwrap();
    engine.close().unwrap();
    let before = epochs(&disk);
    let id = manifest(&disk)["database_id"].clone();
    repair(&location(&disk), 5, true).unwrap();
    assert_eq!(epochs(&disk), before[..1], "an epoch is about what comes after it");
    let engine = open(&disk, EveryWrite).unwrap();
    assert_eq!(apply(&engine, 11).unwrap(), 6);
    engine.close().unwrap();
    let after = epochs(&disk);
    assert_eq!((after.len(), after[1][2]), (2, 6));
    assert_ne!(after[1][1], before[1][1]);
    assert_eq!(manifest(&disk)["database_id"], id);
    assert!(verify(&location(&disk)).unwrap().ok);
}

#[test]
fn what_a_crash_took_back_is_another_history() {
    let (disk, engine) = database(3, rstmdb_engine::FsyncPolicy::Never);
    let shown = epochs(&disk);
    let disk = disk.crash(Crash::KEEP_NONE);
    drop(engine);
    assert!(epochs(&disk).is_empty());
    let engine = open(&disk, EveryWrite).unwrap();
    begin(&engine);
    let now = epochs(&disk);
    assert_eq!((now[0][0], now[0][2]), (1, 1));
    assert_ne!(now[0][1], shown[0][1]);
}

fn info(engine: &Engine) -> (u64, Option<Text>) {
    let info = engine.info(InfoRequest {}).wait().unwrap();
    (info.latest_offset.unwrap(), info.history_id)
}

fn from(from_offset: u64, history_id: &str) -> WatchAllRequest {
    let history_id = Some(history_id.into());
    WatchAllRequest { from_offset: Some(from_offset), history_id, ..WatchAllRequest::default() }
}

/// The reason that a place is refused for, and the offset up to which it would not be.
fn refused(engine: &Engine, request: WatchAllRequest) -> (String, Option<u64>) {
    let place = |error: rstmdb_types::Error, member: &str| {
        let safe = error.context().get(member).and_then(Value::as_u64);
        (error.reason().unwrap_or_default().to_owned(), safe)
    };
    let of = |error: rstmdb_types::Error| match request.history_id {
        Some(_) => place(error, "safe_offset"),
        None => place(error, "latest_offset"),
    };
    let log = WalReadRequest {
        history_id: request.history_id.clone(),
        ..WalReadRequest::new(request.from_offset.unwrap())
    };
    let read = of(engine.wal_read(log).wait().unwrap_err());
    let one = WatchInstanceRequest {
        from_offset: request.from_offset,
        history_id: request.history_id.clone(),
        ..WatchInstanceRequest::new("a")
    };
    assert_eq!(of(engine.watch_instance(one).unwrap_err()), read);
    assert_eq!(of(engine.watch_all(request.clone()).unwrap_err()), read);
    read
}

#[test]
fn a_place_is_an_offset_in_its_history() {
    let (disk, engine) = database(3, EveryWrite);
    let before = info(&open(&FaultyStorage::new(2), EveryWrite).unwrap());
    assert_eq!(before, (0, None), "nothing was written, so there is no history yet");
    let first = info(&engine).1.unwrap();
    assert_eq!(info(&engine), (5, Some(format!("{:016x}", epochs(&disk)[0][1]).into())));
    engine.close().unwrap();

    let engine = open(&disk, EveryWrite).unwrap();
    assert_eq!(info(&engine), (5, Some(first.clone())), "an opening alone begins none");
    let (began, mut watch) = engine.watch_all(from(6, &first)).unwrap();
    assert_eq!(began.history_id.as_ref(), Some(&first));
    apply(&engine, 10).unwrap();
    let second = info(&engine).1.unwrap();
    assert_ne!(second, first);
    let event = watch.next_blocking().unwrap().unwrap();
    assert_eq!((event.wal_offset, event.history_id.as_ref()), (6, Some(&second)));
    assert_eq!(watch.position(), LogPosition { next: 7, history_id: Some(second.clone()) });

    // Each history has what came before it, and nothing of what came after it.
    let diverged = |safe| ("history_diverged".to_owned(), safe);
    for (offset, id, read) in [(1, &first, 5), (6, &first, 6), (5, &second, 6), (7, &second, 7)] {
        let (began, watch) = engine.watch_all(from(offset, id)).unwrap();
        assert_eq!((began.wal_offset, watch.resume_offset()), (7, offset));
        let log = WalReadRequest {
            history_id: Some(id.clone()),
            limit: Some(u64::from(read >= offset) * (read + 1 - offset)),
            ..WalReadRequest::new(offset)
        };
        let page = engine.wal_read(log).wait().unwrap();
        let last = if page.next_offset <= 6 { &first } else { &second };
        assert_eq!(page.history_id.as_ref(), Some(last), "{page:?}");
    }
    assert_eq!(refused(&engine, from(7, &first)), diverged(Some(5)));
    assert_eq!(refused(&engine, from(8, &second)), diverged(Some(6)));
    assert_eq!(refused(&engine, from(2, "0123456789abcdef")), diverged(None));
    assert_eq!(refused(&engine, from(2, "not one")), diverged(None));
    let future = WatchAllRequest { from_offset: Some(8), ..WatchAllRequest::default() };
    assert_eq!(refused(&engine, future), ("offset_ahead".to_owned(), Some(6)));
}

#[test]
fn a_replay_tells_the_history_of_each_event() {
    let (disk, engine) = database(3, EveryWrite);
    engine.close().unwrap();
    for round in 0..3 {
        let engine = open(&disk, EveryWrite).unwrap();
        apply(&engine, 10 + round).unwrap();
        engine.close().unwrap();
    }
    let engine = open(&disk, EveryWrite).unwrap();
    let first = WatchAllRequest { from_offset: Some(1), ..WatchAllRequest::default() };
    let (_, mut watch) = engine.watch_all(first).unwrap();
    let ids = epochs(&disk).into_iter().map(|[_, id, _]| format!("{id:016x}"));
    let ids: Vec<Text> = ids.map(Into::into).collect();
    for (offset, id) in (3..9).zip([0, 0, 0, 1, 2, 3]) {
        let event = watch.next_blocking().unwrap().unwrap();
        assert_eq!((event.wal_offset, event.history_id.as_ref()), (offset, Some(&ids[id])));
        let place = watch.position();
        // Wherever it is left, it can be taken up again.
        engine.watch_all(from(place.next, &place.history_id.unwrap())).unwrap();
    }
}

#[test]
fn what_a_copy_does_not_share_is_refused() {
    let (disk, engine) = database(3, EveryWrite);
    let copy = disk.image().restart();
    let shared = info(&engine).1.unwrap();
    for number in 10..13 {
        apply(&engine, number).unwrap();
    }
    assert_eq!(info(&engine), (8, Some(shared.clone())));
    let copy = open(&copy, EveryWrite).unwrap();
    assert_eq!(refused(&copy, from(9, &shared)), ("history_diverged".to_owned(), Some(5)));
    for number in 20..50 {
        apply(&copy, number).unwrap();
    }
    assert_eq!(refused(&copy, from(9, &shared)), ("history_diverged".to_owned(), Some(5)));
    assert_eq!(refused(&copy, from(7, &shared)), ("history_diverged".to_owned(), Some(5)));
    copy.watch_all(from(6, &shared)).unwrap();
}

#[test]
fn a_quiet_instance_is_followed_from_a_history_that_the_log_forgot() {
    let (disk, engine) = database(3, EveryWrite);
    let old = info(&engine).1;
    call(
        &engine,
        Operation::CreateInstance,
        &json!({"instance_id": "b", "machine": "m", "version": 1}),
    )
    .unwrap();
    engine.close().unwrap();
    for round in 0..2 {
        let options = Options { retention: Retention::Bytes(1), ..options(EveryWrite) };
        let engine = Engine::open(location(&disk), options).unwrap();
        for number in 0..80 {
            apply(&engine, 100 * round + number).unwrap();
        }
        compact(&engine);
        engine.close().unwrap();
    }
    let engine = open(&disk, EveryWrite).unwrap();
    let all = engine.watch_all(from(7, old.as_ref().unwrap())).unwrap_err();
    assert_eq!(all.reason(), Some("offset_compacted"));
    let one = WatchInstanceRequest {
        from_offset: Some(7),
        history_id: old.clone(),
        ..WatchInstanceRequest::new("b")
    };
    assert_eq!(engine.watch_instance(one).unwrap().0.history_id, old);
}

#[test]
fn an_expected_offset_may_be_expected_in_its_history() {
    let (disk, engine) = database(3, EveryWrite);
    let copy = open(&disk.image().restart(), EveryWrite).unwrap();
    let shared = info(&engine).1;
    apply(&engine, 10).unwrap();
    apply(&copy, 20).unwrap();
    let event = |history_id: Option<Text>| ApplyEventRequest {
        expected_wal_offset: Some(6),
        history_id,
        ..ApplyEventRequest::new("a", "E")
    };
    let reason = |engine: &Engine, history_id: Option<Text>| {
        let applied = engine.apply_event(event(history_id)).wait();
        applied
            .map(|applied| applied.wal_offset)
            .map_err(|error| error.reason().unwrap().to_owned())
    };
    let diverged = Err("history_diverged".to_owned());
    assert_eq!(reason(&copy, shared.clone()), diverged, "offset 6 is another change here");
    assert_eq!(reason(&copy, Some("ffffffffffffffff".into())), diverged);
    assert_eq!(reason(&engine, info(&copy).1), diverged);
    assert_eq!(reason(&engine, shared.clone()), Ok(7));
    assert_eq!(reason(&engine, shared), Err("expected_wal_offset".to_owned()));
    assert_eq!(reason(&copy, None), Ok(7));
}

/// Bytes of the log for each event beyond its payload: small ones, on many instances, as the
/// benchmarks have them.
fn cost(in_flight: usize) -> f64 {
    const INSTANCES: usize = 512;
    let (_disk, engine) = database(0, EveryWrite);
    let id = |number: usize| format!("{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    for number in 0..INSTANCES {
        let request = json!({"instance_id": id(number), "machine": "m", "version": 1});
        call(&engine, Operation::CreateInstance, &request).unwrap();
    }
    let payload = json!({"n": 125});
    let written = || engine.wal_stats(WalStatsRequest {}).wait().unwrap().io_stats.bytes_written;
    let before = written();
    for round in 0..3 * INSTANCES / in_flight {
        let event = |number: usize| {
            let id = id((round * in_flight + number) % INSTANCES);
            engine.apply_event(ApplyEventRequest::new(id, "E").with_payload(payload.clone()))
        };
        let pending: Vec<_> = (0..in_flight).map(event).collect();
        pending.into_iter().for_each(|one| drop(one.wait().unwrap()));
    }
    let bytes = (written() - before) as f64 / (3 * INSTANCES) as f64;
    bytes - payload.to_string().len() as f64
}

#[test]
fn an_event_costs_little_beyond_its_payload() {
    let (alone, together) = (cost(1), cost(256));
    println!("alone {alone:.1}, 256 together {together:.1} bytes");
    assert!(alone <= 105.0, "{alone}");
    assert!(together <= 45.0, "{together}");
}
