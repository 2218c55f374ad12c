//! Many threads at once: every event happens once, in one order that all observers agree on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Barrier;
use std::thread;

use rstmdb::blocking::{Database, Subscription};
use rstmdb::*;
use rstmdb_testkit::target::{DatabaseTarget, EVENT_TIMEOUT, Target, dump};
use rstmdb_testkit::writer::toggle;
use serde_json::json;

const THREADS: usize = 8;
const INSTANCES: usize = 5;
const EVENTS: usize = 120;

/// Runs a test on a database in memory and on one in a directory.
fn on_both(test: impl Fn(&Database)) {
    let memory = Database::open("mem:").unwrap();
    test(&memory);
    memory.close().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes_max: 64 << 10, ..Options::default() };
    let files = Database::open_with(directory.path().to_str().unwrap(), options).unwrap();
    test(&files);
    files.close().unwrap();
}

fn prepare(db: &Database) {
    db.put_machine(toggle()).unwrap();
    for number in 0..INSTANCES {
        db.create_instance(CreateInstanceRequest::new(name(number), "toggle", 1)).unwrap();
    }
}

fn name(number: usize) -> String {
    format!("i-{number}")
}

fn step(instance: usize) -> ApplyEventRequest {
    ApplyEventRequest::new(name(instance), "STEP")
}

fn next(watch: &mut Subscription) -> InstanceEvent {
    watch.next_timeout(EVENT_TIMEOUT).unwrap().expect("an event that was acknowledged")
}

/// Runs `work` on every thread at once and gives what each returned.
fn at_once<T: Send>(work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let start = Barrier::new(THREADS);
    let (start, work) = (&start, &work);
    thread::scope(|scope| {
        let run = |number: usize| {
            scope.spawn(move || {
                start.wait();
                work(number)
            })
        };
        let running: Vec<_> = (0..THREADS).map(run).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn whole_history(db: &Database, instance: usize) -> Vec<InstanceEvent> {
    let mut request = HistoryRequest::new(name(instance));
    request.order = HistoryOrder::Oldest;
    let mut events = Vec::new();
    loop {
        let page = db.history(request.clone()).unwrap();
        events.extend(page.events);
        match page.next_cursor {
            Some(cursor) => request.cursor = Some(cursor),
            None => return events,
        }
    }
}

#[test]
fn events_of_many_threads_happen_once_in_one_order() {
    on_both(|db| {
        prepare(db);
        let (begin, mut live) = db.watch_all(WatchAllRequest::default()).unwrap();
        // Half of the threads wait for each answer, half hand over all events first.
        let acknowledged = at_once(|thread| {
            let request = |number: usize| {
                step(number % INSTANCES).with_payload(json!({"thread": thread, "number": number}))
            };
            if thread % 2 == 0 {
                let events = (0..EVENTS).map(|number| db.apply_event(request(number)).unwrap());
                events.collect::<Vec<_>>()
            } else {
                let pending: Vec<_> =
                    (0..EVENTS).map(|number| db.submit_event(request(number))).collect();
                pending.into_iter().map(|pending| pending.wait().unwrap()).collect()
            }
        });

        let mut by_offset = BTreeMap::new();
        for (thread, results) in acknowledged.into_iter().enumerate() {
            let offsets: Vec<Offset> = results.iter().map(|result| result.wal_offset).collect();
            assert!(offsets.is_sorted(), "a thread's events come in its order");
            for (number, result) in results.into_iter().enumerate() {
                assert!(result.applied);
                let payload = json!({"thread": thread, "number": number});
                let other = by_offset.insert(result.wal_offset, (payload, result));
                assert!(other.is_none(), "two events have one offset");
            }
        }
        let expected = begin.wal_offset..begin.wal_offset + (THREADS * EVENTS) as Offset;
        assert!(by_offset.keys().copied().eq(expected.clone()), "offsets have gaps");

        let mut replay = db
            .watch_all(WatchAllRequest { from_offset: Some(1), ..WatchAllRequest::default() })
            .unwrap()
            .1;
        let mut states = BTreeMap::new();
        for offset in expected {
            let event = next(&mut live);
            assert_eq!(next(&mut replay), event, "live and replayed events are the same");
            let (payload, result) = &by_offset[&offset];
            assert_eq!(event.wal_offset, offset);
            assert_eq!(event.payload, Json::from(payload));
            assert_eq!(event.ctx.as_ref(), Some(&result.ctx));
            assert_eq!(event.from_state.as_ref(), Some(&result.from_state));
            assert_eq!(event.to_state.as_ref(), Some(&result.to_state));
            let before = states.insert(event.instance_id.clone(), event.to_state.clone());
            assert_eq!(before.unwrap_or(Some("even".into())), event.from_state);
        }
        for instance in 0..INSTANCES {
            let events = whole_history(db, instance);
            let per_instance = (0..EVENTS).filter(|number| number % INSTANCES == instance).count();
            assert_eq!(events.len(), 1 + per_instance * THREADS);
            assert!(events.is_sorted_by_key(|event| event.wal_offset));
            let last = events.last().unwrap();
            let request = GetInstanceRequest { instance_id: name(instance).into() };
            let now = db.get_instance(request).unwrap();
            assert_eq!(now.last_wal_offset, last.wal_offset);
            assert_eq!(Some(now.state), last.to_state);
        }
        let counts = db.count_instances(CountInstancesRequest::default()).unwrap();
        assert_eq!(counts.total(), INSTANCES as u64);
    });
}

#[test]
fn one_key_from_many_threads_applies_once() {
    on_both(|db| {
        prepare(db);
        let batch = |number: usize| BatchRequest {
            mode: BatchMode::Atomic,
            ops: vec![BatchOperation::ApplyEvent(step(number % INSTANCES))],
            idempotency_key: Some(format!("batch-{number}").into()),
        };
        let create = |number: usize| CreateInstanceRequest {
            instance_id: None,
            machine: "toggle".into(),
            version: 1,
            initial_ctx: None,
            initial_state: None,
            idempotency_key: Some(format!("create-{number}").into()),
        };
        const KEYS: usize = 40;
        let answers = at_once(|_| {
            (0..KEYS)
                .map(|number| {
                    let request = step(number % INSTANCES).with_key(format!("apply-{number}"));
                    (
                        db.apply_event(request).unwrap(),
                        db.create_instance(create(number)).unwrap(),
                        Json::from_serialize(&db.batch(batch(number)).unwrap()).unwrap(),
                    )
                })
                .collect::<Vec<_>>()
        });
        for number in 0..KEYS {
            let same = || answers.iter().map(|answers| &answers[number]);
            assert_eq!(same().filter(|(apply, _, _)| apply.applied).count(), 1);
            let applies: BTreeSet<Offset> = same().map(|(apply, _, _)| apply.wal_offset).collect();
            let creates: BTreeSet<&str> =
                same().map(|(_, create, _)| create.instance_id.as_str()).collect();
            let batches: BTreeSet<&str> = same().map(|(_, _, batch)| batch.as_str()).collect();
            assert_eq!((applies.len(), creates.len(), batches.len()), (1, 1, 1));
        }
        let counts = db.count_instances(CountInstancesRequest::default()).unwrap();
        assert_eq!(counts.total(), (INSTANCES + KEYS) as u64);
        let events: usize = (0..INSTANCES).map(|number| whole_history(db, number).len() - 1).sum();
        assert_eq!(events, 2 * KEYS, "each key of an event and of a batch applied one event");
    });
}

#[test]
fn expected_wal_offset_loses_no_update() {
    on_both(|db| {
        prepare(db);
        let get = || db.get_instance(GetInstanceRequest { instance_id: name(0).into() }).unwrap();
        const ADDS: usize = 40;
        at_once(|_| {
            for _ in 0..ADDS {
                loop {
                    let now = get();
                    let count = now.ctx.to_value()["count"].as_u64().unwrap_or(0);
                    let mut request = step(0).with_payload(json!({"count": count + 1}));
                    request.expected_wal_offset = Some(now.last_wal_offset);
                    match db.apply_event(request) {
                        Ok(_) => break,
                        Err(error) => {
                            assert_eq!(error.reason(), Some(error::reason::EXPECTED_WAL_OFFSET));
                        }
                    }
                }
            }
        });
        assert_eq!(get().ctx.to_value()["count"], THREADS * ADDS);
    });
}

#[test]
fn atomic_batches_over_the_same_instances_do_not_interleave() {
    on_both(|db| {
        prepare(db);
        let (begin, mut live) = db.watch_all(WatchAllRequest::default()).unwrap();
        const BATCHES: usize = 40;
        // Each thread names the instances in an order of its own; half of the batches fail at the end.
        at_once(|thread| {
            for number in 0..BATCHES {
                let mark = json!({"mark": format!("{thread}/{number}")});
                let mut ops: Vec<BatchOperation> = (0..INSTANCES)
                    .map(|at| step((at + thread) % INSTANCES).with_payload(mark.clone()))
                    .map(BatchOperation::ApplyEvent)
                    .collect();
                if number % 2 == 1 {
                    ops.push(BatchOperation::ApplyEvent(ApplyEventRequest::new(name(0), "NOPE")));
                }
                let mode = BatchMode::Atomic;
                let outcome = db.batch(BatchRequest { mode, ops, idempotency_key: None });
                assert_eq!(outcome.is_ok(), number % 2 == 0);
            }
        });
        for batch in 0..THREADS * BATCHES / 2 {
            let events: Vec<InstanceEvent> = (0..INSTANCES).map(|_| next(&mut live)).collect();
            let first = begin.wal_offset + (batch * INSTANCES) as Offset;
            for (place, event) in (0..).zip(&events) {
                assert_eq!(event.wal_offset, first + place);
                assert_eq!(event.payload, events[0].payload, "another batch came between");
            }
        }
        let contexts: BTreeSet<String> = (0..INSTANCES)
            .map(|number| GetInstanceRequest { instance_id: name(number).into() })
            .map(|request| db.get_instance(request).unwrap().ctx.to_string())
            .collect();
        assert_eq!(contexts.len(), 1, "the last batch reached every instance");
    });
}

#[test]
fn reads_during_writes_see_whole_changes_only() {
    on_both(|db| {
        prepare(db);
        at_once(|thread| {
            if thread % 2 == 0 {
                for number in 0..EVENTS {
                    let payload = json!({"a": [thread, number], "b": [thread, number]});
                    db.apply_event(step(number % INSTANCES).with_payload(payload)).unwrap();
                }
                return;
            }
            let mut seen = [0; INSTANCES];
            for number in 0..EVENTS {
                let instance = number % INSTANCES;
                let request = GetInstanceRequest { instance_id: name(instance).into() };
                let now = db.get_instance(request).unwrap();
                let ctx = now.ctx.to_value();
                assert_eq!(ctx.get("a"), ctx.get("b"));
                assert!(now.last_wal_offset >= seen[instance], "a read went back in time");
                seen[instance] = now.last_wal_offset;
                let list = db.list_instances(ListInstancesRequest::default()).unwrap();
                assert_eq!((list.total, list.instances.len()), (INSTANCES as u64, INSTANCES));
                let shown = list.instances[instance].last_wal_offset;
                assert!(shown >= seen[instance], "a list is older than a read before it");
            }
        });
    });
}

/// Checkpoints are written while others write, the log is cut behind them, and then the power goes.
#[test]
fn checkpoints_during_writes_lose_nothing() {
    for seed in 0..12 {
        let options = Options {
            segment_bytes_max: 4096,
            checkpoint_log_bytes: 3000,
            retention: if seed % 2 == 0 { Retention::Bytes(8000) } else { Retention::Forever },
            free_bytes_min: 0,
            ..Options::default()
        };
        let mut target = DatabaseTarget::simulated(seed, options).unwrap();
        let db = target.database().clone();
        prepare(&db);
        let request = |thread: usize, number: usize| {
            let payload = json!({"thread": thread, format!("member-{}", number % 7): number});
            step((thread + number) % INSTANCES)
                .with_payload(payload)
                .with_key(format!("{thread}/{number}"))
        };
        const EACH: usize = 40;
        let acknowledged = at_once(|thread| {
            let mut results = Vec::new();
            for number in 0..EACH {
                results.push(db.apply_event(request(thread, number)).unwrap());
                if thread == 0 && number % 4 == 0 {
                    db.compact(CompactRequest { force_snapshot: true }).unwrap();
                }
                if thread == 1 && number % 4 == 0 {
                    let id = format!("more-{number}");
                    db.create_instance(CreateInstanceRequest::new(id, "toggle", 1)).unwrap();
                }
            }
            results
        });
        let without_log = |target: &mut DatabaseTarget| {
            dump(false, &mut |operation, request| target.call(operation, &request.into())).unwrap()
        };
        let before = without_log(&mut target);
        drop(db);
        target.reopen().unwrap();
        let after = without_log(&mut target);
        assert_eq!(after, before, "seed {seed}");
        for (thread, results) in acknowledged.iter().enumerate() {
            for (number, result) in results.iter().enumerate() {
                let again = target.database().apply_event(request(thread, number)).unwrap();
                assert_eq!(again, ApplyEventResult { applied: false, ..result.clone() });
            }
        }
    }
}
