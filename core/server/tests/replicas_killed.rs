//! A primary and a replica as processes that are killed, hang, and lose each other.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rstmdb::WatchAllRequest;
use rstmdb::blocking::Database;
use rstmdb_testkit::faulty::Rng;
use rstmdb_testkit::process::{Launch, ServerProcess};
use rstmdb_testkit::seeds::{Replay, is_soak, seeds};
use rstmdb_testkit::wire::{Wire, await_condition};
use rstmdb_types::ApplyEventRequest;
use serde_json::{Value, json};

/// A server that comes again at its address.
struct Side {
    launch: Launch,
    process: Option<ServerProcess>,
    address: SocketAddr,
}

/// One that no other test has, so that a restart finds it free: on Linux all of 127.0.0.0/8 is this machine.
fn address() -> SocketAddr {
    let process = std::process::id();
    let host = match cfg!(target_os = "linux") {
        true => format!("127.{}.{}.5", 1 + (process >> 8) % 250, process % 256),
        false => "127.0.0.1".to_owned(),
    };
    let free = TcpListener::bind((host.as_str(), 0)).unwrap();
    free.local_addr().unwrap()
}

impl Side {
    fn start(folder: &Path, name: &str, settings: &[(&str, String)]) -> Side {
        let launch = Launch::new(env!("CARGO_BIN_EXE_rstmdb"), &folder.join(name))
            .set("replication.reconnect_delay_secs", "20ms")
            .set("replication.reconnect_max_delay_secs", "50ms")
            .set("replication.heartbeat_interval_secs", "50ms")
            .set("replication.lag_check_interval_secs", "20ms");
        let launch = settings.iter().fold(launch, |launch, (name, value)| launch.set(name, value));
        let address = address();
        let launch = launch.set("network.bind_addr", address);
        let mut side = Side { launch, process: None, address };
        side.rise();
        side
    }

    fn rise(&mut self) {
        self.process = Some(self.launch.start());
    }

    fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    /// Asks as published clients do, which know nothing of nodes.
    fn plain(&self, op: &str, params: Value) -> Result<Value, Value> {
        Wire::hello(self.address, &[]).call(op, params)
    }

    fn ask(&self, op: &str, params: Value) -> Result<Value, Value> {
        Wire::hello(self.address, &["extended"]).call(op, params)
    }

    fn status(&self) -> Value {
        self.ask("REPLICATION_STATUS", json!({})).unwrap()
    }

    fn is_ready(&self) -> bool {
        self.process.as_ref().unwrap().page("/health/ready").0 == 200
    }
}

fn primary(folder: &Path, settings: &[(&str, &str)]) -> Side {
    let own = [("replication.role", "primary")];
    let settings = own.iter().chain(settings).map(|(name, value)| (*name, (*value).to_owned()));
    Side::start(folder, "primary", &settings.collect::<Vec<_>>())
}

fn replica_of(upstream: SocketAddr, folder: &Path) -> Side {
    let settings = [
        ("replication.role", "replica".to_owned()),
        ("replication.upstream", upstream.to_string()),
    ];
    Side::start(folder, "replica", &settings)
}

fn begin(primary: &Side) {
    let definition = json!({"states": ["a"], "initial": "a",
        "transitions": [{"from": "a", "event": "E", "to": "a"}]});
    let put = json!({"machine": "m", "version": 1, "definition": definition});
    await_condition("writes are taken", || primary.plain("PUT_MACHINE", put.clone()).is_ok());
    let create = json!({"instance_id": "i", "machine": "m", "version": 1, "idempotency_key": "i"});
    await_condition("there is an instance", || {
        primary.plain("CREATE_INSTANCE", create.clone()).is_ok()
    });
}

fn event(number: u64) -> Value {
    json!({"instance_id": "i", "event": "E", "payload": {"n": number},
        "idempotency_key": format!("key-{number}")})
}

/// Every number that is in the history of the instance, in its order.
fn numbers(side: &Side) -> Vec<u64> {
    let mut wire = Wire::hello(side.address, &["extended"]);
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let mut params = json!({"instance_id": "i", "order": "oldest", "limit": 1000});
        if let Some(cursor) = cursor {
            params["cursor"] = cursor;
        }
        let page = match wire.call("HISTORY", params) {
            // It gets a checkpoint, or becomes something else.
            Err(error) if error["details"]["reason"] == "reopening" => {
                return numbers(side);
            }
            // It has not got it yet.
            Err(error) if error["code"] == "INSTANCE_NOT_FOUND" => return found,
            page => page.unwrap(),
        };
        let events = page["events"].as_array().unwrap();
        found.extend(events.iter().filter_map(|event| event["payload"]["n"].as_u64()));
        cursor = match page.get("next_cursor") {
            Some(cursor) if !cursor.is_null() => Some(cursor.clone()),
            _ => return found,
        };
    }
}

/// Writes one number after the other at an address, by a connection that is made anew whenever it ends, until told to stop; notes
/// what was acknowledged.
fn write(
    address: SocketAddr,
    is_over: &AtomicBool,
    acknowledged: &Mutex<BTreeSet<u64>>,
    from: u64,
) {
    let mut number = from;
    while !is_over.load(Ordering::Acquire) {
        let Ok(stream) = TcpStream::connect(address) else {
            std::thread::park_timeout(std::time::Duration::from_millis(1));
            continue;
        };
        drop(stream);
        // The wire of the tests panics where a connection ends between.
        let written = std::panic::catch_unwind(|| {
            let mut wire = Wire::connect(address);
            loop {
                let id = wire.ask("APPLY_EVENT", &event(number));
                match wire.try_receive() {
                    Ok(Some(answer)) if answer["id"] == *id => return answer,
                    Ok(Some(_)) => {}
                    _ => return Value::Null,
                }
            }
        });
        if written.is_ok_and(|answer| answer["status"] == "ok") {
            acknowledged.lock().unwrap().insert(number);
            number += 1;
        }
    }
}

#[test]
fn what_was_acknowledged_is_on_both_disks_whoever_is_killed() {
    let mut replay = Replay::of("rstmdb-server --test replicas_killed -- acknowledged");
    for seed in seeds(1, 1, 20) {
        replay.seed = seed;
        let mut rng = Rng::new(seed);
        let folder = tempfile::tempdir().unwrap();
        let mut one = primary(folder.path(), &[("replication.mode", "sync")]);
        let mut two = replica_of(one.address, folder.path());
        begin(&one);
        let (is_over, acknowledged) = (AtomicBool::new(false), Mutex::new(BTreeSet::new()));
        std::thread::scope(|scope| {
            let (at, over, noted) = (one.address, &is_over, &acknowledged);
            scope.spawn(move || write(at, over, noted, 1));
            for round in 0..if is_soak() { 60 } else { 8 } {
                let before = acknowledged.lock().unwrap().len();
                let more = 1 + rng.below(40) as usize;
                await_condition("some are written", || {
                    acknowledged.lock().unwrap().len() > before + more
                });
                replay.place = format!("in round {round}");
                let (mut kills_one, mut kills_two) = (rng.chance(600), rng.chance(600));
                if !kills_one && !kills_two {
                    (kills_one, kills_two) = (true, true);
                }
                if kills_one {
                    one.kill();
                }
                if kills_two {
                    two.kill();
                }
                // What a primary shows is on the other disk, too.
                if kills_one && !kills_two {
                    let on_replica: BTreeSet<u64> = numbers(&two).into_iter().collect();
                    let lost: Vec<u64> =
                        acknowledged.lock().unwrap().difference(&on_replica).copied().collect();
                    assert!(lost.len() <= 1, "seed {seed}, round {round}: {lost:?} are not shown");
                }
                if kills_one {
                    one.rise();
                }
                if kills_two {
                    two.rise();
                }
            }
            is_over.store(true, Ordering::Release);
        });
        let acknowledged = acknowledged.into_inner().unwrap();
        let last = *acknowledged.last().unwrap();
        await_condition("both have all", || {
            [&one, &two].iter().all(|side| numbers(side).contains(&last))
        });
        for side in [&one, &two] {
            let found = numbers(side);
            let distinct: BTreeSet<u64> = found.iter().copied().collect();
            assert_eq!(found.len(), distinct.len(), "seed {seed}: doubled");
            assert!(acknowledged.is_subset(&distinct), "seed {seed}: lost");
            assert!(found.is_sorted(), "seed {seed}: out of order");
        }
        assert_eq!(numbers(&one), numbers(&two));
    }
}

#[test]
fn a_forced_promotion_loses_what_it_says_and_watchers_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut one = primary(folder.path(), &[]);
    let between = Between::to(one.address);
    let two = replica_of(between.address, folder.path());
    begin(&one);
    one.plain("APPLY_EVENT", event(1)).unwrap();
    await_condition("the replica has it", || numbers(&two) == [1]);
    let hosts = format!("rstmdb://{},{}?request_timeout=2s", one.address, two.address);
    let database = Database::open(&hosts).unwrap();
    let all = WatchAllRequest { from_offset: Some(1), ..WatchAllRequest::default() };
    let (_, mut watch) = database.watch_all(all).unwrap();
    // The replica hears nothing any more, and the primary goes on until it is killed.
    between.room.store(0, Ordering::Release);
    for number in 2..=5 {
        one.plain("APPLY_EVENT", event(number)).unwrap();
    }
    let seen = |event: rstmdb_types::InstanceEvent| {
        (event.wal_offset, event.payload.to_value()["n"].as_u64().unwrap())
    };
    let patience = rstmdb_testkit::wire::PATIENCE;
    let mut shown = Vec::new();
    while shown.last().is_none_or(|(_, number)| *number != 5) {
        shown.push(seen(watch.next_timeout(patience).unwrap().unwrap()));
    }
    one.kill();
    between.cut();
    between.room.store(u64::MAX, Ordering::Release);
    let promoted = two.ask("REPLICA_PROMOTE", json!({"force": true})).unwrap();
    // Nothing is known to be lost: the replica never heard of it.
    assert_eq!(promoted["lost"], 0, "{promoted}");
    assert_eq!(numbers(&two), [1]);
    two.plain("APPLY_EVENT", event(100)).unwrap();
    // The watcher saw what is gone: it is told so, and never shown another event under its number.
    let ended = loop {
        match watch.next_timeout(patience) {
            Ok(Some(event)) => panic!("shown after {shown:?}: {:?}", seen(event)),
            Ok(None) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(ended.reason(), Some("history_diverged"), "{ended:?}");
    // The old primary comes back, and has what the other one has.
    one.rise();
    await_condition("the old primary follows", || {
        one.status()["role"] == "replica" && numbers(&one) == numbers(&two)
    });
    assert_eq!(numbers(&one), [1, 100]);
    // A client with both addresses writes on, by keys.
    let request =
        ApplyEventRequest::new("i", "E").with_payload(json!({"n": 101})).with_key("key-101");
    database.run(request).unwrap();
    await_condition("both have it", || {
        numbers(&one).contains(&101) && numbers(&two).contains(&101)
    });
}

#[test]
fn a_hand_over_whose_connection_is_cut_is_finished_by_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let one = primary(folder.path(), &[]);
    let between = Between::to(one.address);
    let two = replica_of(between.address, folder.path());
    begin(&one);
    one.plain("APPLY_EVENT", event(1)).unwrap();
    await_condition("the replica has it", || numbers(&two) == [1] && two.is_ready());
    // What the primary answers does not come through.
    between.room.store(0, Ordering::Release);
    let promoted = std::thread::scope(|scope| {
        let promoted = scope.spawn(|| two.ask("REPLICA_PROMOTE", json!({})));
        await_condition("the primary takes no more writes", || {
            one.ask("APPLY_EVENT", event(2)).is_err()
        });
        between.cut();
        between.room.store(u64::MAX, Ordering::Release);
        promoted.join().unwrap()
    });
    let promoted = promoted.unwrap();
    assert_eq!((&promoted["role"], &promoted["lost"]), (&json!("primary"), &json!(0)));
    two.plain("APPLY_EVENT", event(3)).unwrap();
    await_condition("the old primary follows", || {
        one.status()["role"] == "replica" && numbers(&one) == numbers(&two)
    });
    assert_eq!(numbers(&two).first(), Some(&1));
}

/// Stands between a replica and its primary. What comes from there comes through as far as there is room.
struct Between {
    address: SocketAddr,
    room: Arc<AtomicU64>,
    sockets: Arc<Mutex<Vec<TcpStream>>>,
}

impl Between {
    fn to(target: SocketAddr) -> Between {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let room = Arc::new(AtomicU64::new(u64::MAX));
        let sockets: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let (left, kept) = (room.clone(), sockets.clone());
        std::thread::spawn(move || {
            for here in listener.incoming().map_while(Result::ok) {
                let Ok(there) = TcpStream::connect(target) else { continue };
                let ends = [&here, &there].map(|end| end.try_clone().unwrap());
                kept.lock().unwrap().extend(ends);
                let ends = [&here, &there].map(|end| end.try_clone().unwrap());
                std::thread::spawn(move || {
                    let [mut here, mut there] = ends;
                    let _ = std::io::copy(&mut here, &mut there);
                    let _ = there.shutdown(std::net::Shutdown::Both);
                });
                let left = left.clone();
                std::thread::spawn(move || pass(there, here, &left));
            }
        });
        Between { address, room, sockets }
    }

    /// Ends all connections.
    fn cut(&self) {
        for socket in self.sockets.lock().unwrap().drain(..) {
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, room: &AtomicU64) {
    let mut piece = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut piece) {
        let mut left = &piece[..count];
        while !left.is_empty() {
            let there_is = room.load(Ordering::Acquire);
            let now = left.len().min(usize::try_from(there_is).unwrap_or(usize::MAX));
            if now == 0 {
                std::thread::park_timeout(std::time::Duration::from_millis(1));
                // Who is cut off does not wait for room.
                if to.take_error().is_err() || to.peer_addr().is_err() {
                    return;
                }
                continue;
            }
            if there_is != u64::MAX {
                room.fetch_sub(now as u64, Ordering::AcqRel);
            }
            if to.write_all(&left[..now]).is_err() {
                return;
            }
            left = &left[now..];
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}
