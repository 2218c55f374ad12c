//! Histories and replayed watches: cursors, paging, and compaction that deletes under the reading.

use std::sync::{Arc, Condvar, Mutex};

use rstmdb_engine::storage::{MemoryStorage, Storage};
use rstmdb_engine::{Background, Engine, Location, Options, Retention};
use rstmdb_testkit::clock::TestClock;
use rstmdb_testkit::faulty::{Call, FaultyStorage, When};
use rstmdb_testkit::sample::LOOP;
use rstmdb_types::error::reason;
use rstmdb_types::*;

/// Where a reader of the log is held up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Opening a segment, until one was removed.
    Open,
    /// Reading from a segment, until the compaction is over.
    Read,
}

#[derive(Debug, Default)]
struct Held {
    /// Which of the calls to come is held up.
    armed: Option<(At, usize)>,
    is_held: bool,
    removed: usize,
    is_compacted: bool,
}

#[derive(Debug, Default)]
struct Trap {
    held: Mutex<Held>,
    changed: Condvar,
}

impl Trap {
    fn change(&self, change: impl FnOnce(&mut Held)) {
        change(&mut self.held.lock().unwrap());
        self.changed.notify_all();
    }

    fn wait(&self, until: impl Fn(&Held) -> bool) {
        let held = self.held.lock().unwrap();
        drop(self.changed.wait_while(held, |held| !until(held)).unwrap());
    }

    fn step_on(&self, at: At) {
        let mut is_caught = false;
        self.change(|held| match held.armed {
            Some((armed, 0)) if armed == at => {
                held.armed = None;
                held.is_held = true;
                is_caught = true;
            }
            Some((armed, left)) if armed == at => held.armed = Some((armed, left - 1)),
            _ => {}
        });
        if is_caught {
            self.wait(|held| held.is_compacted || (at == At::Open && held.removed > 0));
        }
    }
}

/// A disk that holds up one reader of the log while a compaction goes on.
fn ambush(trap: Arc<Trap>) -> FaultyStorage {
    let disk = FaultyStorage::new(1);
    disk.observe(move |_, when, call, path| match (when, call) {
        _ if !path.starts_with("log/") || path.ends_with(".tmp") => {}
        (When::Before, Call::Open) => trap.step_on(At::Open),
        (When::Before, Call::Read) => trap.step_on(At::Read),
        (When::After, Call::Remove) => trap.change(|held| held.removed += 1),
        _ => {}
    });
    disk
}

fn open(storage: Arc<dyn Storage>, retention: Retention, background: Background) -> Engine {
    let clock = Arc::new(TestClock::default());
    let location = Location { storage, clock, name: "test".to_owned(), ..Location::memory() };
    let options = Options {
        background,
        segment_bytes_max: 8192,
        free_bytes_min: 0,
        checkpoint_log_bytes: 0,
        partitions: 2,
        retention,
        // Nothing stays in memory for watches.
        watch_ring_bytes: 0,
        ..Options::default()
    };
    let engine = Engine::open(location, options).unwrap();
    let machine = PutMachineRequest::new("m", 1, Json::parse(LOOP).unwrap());
    engine.put_machine(machine).wait().unwrap();
    for id in ["alice", "bob"] {
        let create = CreateInstanceRequest::new(id, "m", 1)
            .with_ctx(Json::parse(r#"{"first":true}"#).unwrap());
        engine.create_instance(create).wait().unwrap();
    }
    engine
}

fn apply(engine: &Engine, id: &str, n: usize) -> Offset {
    let payload = Json::parse(&format!("{{\"n\":{n}}}")).unwrap();
    let request = ApplyEventRequest::new(id, "E").with_payload(payload);
    engine.apply_event(request).wait().unwrap().wal_offset
}

fn request(id: &str, order: HistoryOrder, limit: u32) -> HistoryRequest {
    HistoryRequest { order, limit: Some(limit), ..HistoryRequest::new(id) }
}

fn check_context(event: &InstanceEvent) {
    let ctx = event.ctx.as_ref().expect("a context");
    assert_eq!(ctx.root().get("first"), Some(JsonRef::Bool(true)), "{event:?}");
    if let Some(n) = event.payload.root().get("n") {
        assert_eq!(ctx.root().get("n"), Some(n), "{event:?}");
    }
}

fn whole(engine: &Engine, mut request: HistoryRequest) -> Vec<InstanceEvent> {
    let mut events = Vec::new();
    loop {
        let page = engine.history(request.clone()).wait().unwrap();
        events.extend(page.events);
        request.cursor = page.next_cursor;
        if request.cursor.is_none() {
            return events;
        }
    }
}

#[test]
fn a_cursor_of_another_instance_is_refused() {
    let storage = Arc::new(MemoryStorage::new());
    let engine = open(storage, Retention::Forever, Background::Inline);
    for n in 0..10 {
        apply(&engine, "alice", n);
        apply(&engine, "bob", n);
    }
    let foreign: Vec<Offset> = whole(&engine, request("bob", HistoryOrder::Newest, 7))
        .iter()
        .map(|e| e.wal_offset)
        .collect();
    for order in [HistoryOrder::Newest, HistoryOrder::Oldest] {
        for cursor in foreign.iter().copied().chain([0, 1, 1000, Offset::MAX]) {
            let request = HistoryRequest { cursor: Some(cursor), ..request("alice", order, 3) };
            let error = engine.history(request).wait().unwrap_err();
            assert_eq!(error.code(), ErrorCode::BadRequest);
            assert_eq!(error.reason(), Some(reason::INVALID_CURSOR), "{order:?} {cursor}");
        }
        let events = whole(&engine, request("alice", order, 3));
        assert_eq!(events.len(), 11);
        assert!(events.iter().all(|event| event.instance_id == "alice"));
    }
}

#[test]
fn oldest_first_is_newest_first_reversed_and_reads_little() {
    let disk = Arc::new(FaultyStorage::new(1));
    let engine = open(disk, Retention::Forever, Background::Inline);
    for n in 0..3000 {
        apply(&engine, "alice", n);
        if n % 3 == 0 {
            apply(&engine, "bob", n);
        }
    }
    let stats = || engine.wal_stats(WalStatsRequest {}).wait().unwrap();
    let size = stats().total_size_bytes;
    let before = stats().io_stats.bytes_read;
    let oldest = whole(&engine, request("alice", HistoryOrder::Oldest, 100));
    let read = stats().io_stats.bytes_read - before;
    assert!(read <= 3 * size, "{read} bytes read of a log of {size}");
    let mut newest = whole(&engine, request("alice", HistoryOrder::Newest, 70));
    newest.reverse();
    assert_eq!(oldest.len(), 3001);
    assert_eq!(oldest, newest);
    oldest.iter().for_each(check_context);
    // What came since then is there too.
    let last = apply(&engine, "alice", 3000);
    let again = whole(&engine, request("alice", HistoryOrder::Oldest, 999));
    assert_eq!(again[..3001], oldest);
    assert_eq!(again[3001..].iter().map(|event| event.wal_offset).collect::<Vec<_>>(), [last]);
}

/// Reads with a compaction while the reading is held up.
fn ambushed<T>(at: At, nth: usize, read: impl FnOnce(&Engine) -> T) -> T {
    let trap = Arc::new(Trap::default());
    let engine = open(Arc::new(ambush(trap.clone())), Retention::Bytes(1), Background::Threads);
    for n in 0..600 {
        apply(&engine, "alice", n);
    }
    trap.change(|held| held.armed = Some((at, nth)));
    std::thread::scope(|scope| {
        let compaction = scope.spawn(|| {
            trap.wait(|held| held.is_held);
            let compacted = engine.compact(CompactRequest::default()).wait();
            trap.change(|held| held.is_compacted = true);
            compacted
        });
        let answer = read(&engine);
        // Whoever was not held up lets the compaction go.
        trap.change(|held| held.is_held = true);
        assert!(compaction.join().unwrap().unwrap().segments_deleted > 0);
        assert_eq!(trap.held.lock().unwrap().armed, None, "nothing was held up");
        answer
    })
}

#[test]
fn a_history_during_a_compaction_is_truncated_not_corrupt() {
    for order in [HistoryOrder::Newest, HistoryOrder::Oldest] {
        for nth in 0..3 {
            let page = ambushed(At::Read, nth, |engine| {
                engine.history(request("alice", order, 1000)).wait()
            });
            let page = page.unwrap_or_else(|error| panic!("{order:?} {nth}: {error}"));
            assert!(page.truncated);
            assert!(page.events.iter().all(|event| event.wal_offset >= page.first_offset));
            page.events.iter().for_each(check_context);
        }
    }
}

/// Follows a watch to its end, which must be that the rest was compacted.
fn watch_to_the_end(engine: &Engine, from: Offset, include_ctx: bool) {
    let request = WatchAllRequest {
        from_offset: Some(from),
        include_ctx,
        include_lifecycle: true,
        ..WatchAllRequest::default()
    };
    let (_, mut watch) = engine.watch_all(request).unwrap();
    let mut next = from;
    let error = loop {
        match watch.next_blocking().unwrap() {
            Ok(event) => {
                assert_eq!(event.wal_offset, next, "an event was skipped");
                if include_ctx {
                    check_context(&event);
                }
                next += 1;
            }
            Err(error) => break error,
        }
    };
    assert_eq!(error.reason(), Some(reason::OFFSET_COMPACTED), "{error}");
    assert_eq!(watch.resume_offset(), next);
    assert!(watch.next_blocking().is_none());
}

#[test]
fn a_watch_during_a_compaction_ends_with_compacted_and_skips_nothing() {
    // From the oldest segment on, whose file is gone when it is opened.
    ambushed(At::Open, 0, |engine| watch_to_the_end(engine, 2, false));
    for nth in 0..3 {
        for include_ctx in [false, true] {
            // Begun in the middle, so that the first context must be sought further back.
            ambushed(At::Read, nth, |engine| watch_to_the_end(engine, 302, include_ctx));
        }
    }
}
