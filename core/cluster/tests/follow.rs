//! Databases that follow another one, over connections that end anywhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod following;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use following::*;
use rstmdb_cluster::follow::{Follower, Pace, Source, Stage};
use rstmdb_cluster::peer::*;
use rstmdb_engine::FsyncPolicy::EveryWrite;
use rstmdb_engine::replication::Standing;
use rstmdb_engine::{Engine, NodeKind, Options, Retention};
use rstmdb_testkit::cluster::pair::{as_node, event, poll, shown};
use rstmdb_testkit::faulty::{Crash, FaultyStorage, Rng};
use rstmdb_testkit::sample::{apply, begin, location, options};
use rstmdb_types::CompactRequest;
use tokio::io::{AsyncWriteExt, duplex};

fn apply_all(engine: &Engine, mut numbers: std::ops::Range<u64>) {
    numbers.try_for_each(|number| apply(engine, number).map(drop)).unwrap();
}

fn open_with(disk: &FaultyStorage, options: Options) -> Engine {
    Engine::open(location(disk), options).unwrap()
}

/// One that keeps little of its log.
fn forgetful() -> Options {
    Options { retention: Retention::Bytes(1), ..options(EveryWrite) }
}

#[test]
fn a_replica_comes_to_the_same_after_each_step_whoever_starts_again() {
    block_on(async {
        let (disk, here) = (FaultyStorage::new(1), FaultyStorage::new(2));
        let engine = open(&disk);
        begin(&engine);
        apply_all(&engine, 0..50);
        let upstream = Upstream::alone(engine);
        let (copy, seat) = replica(&here, 9);
        let running = start(&copy, &upstream);
        equal(&copy, &upstream).await;
        assert_eq!(copy.status().borrow().source, "node-0");
        for number in 50..60 {
            apply(&upstream.engine(), number).unwrap();
            equal(&copy, &upstream).await;
        }
        let answering = seat.0.lock().clone().unwrap();
        let refused = apply(&answering, 999).unwrap_err();
        assert_eq!(
            (refused.reason(), &refused.context()["address"]),
            (Some("replica"), &"there:7401".into())
        );
        // The source starts again: a history begins there, and goes on here.
        upstream.close();
        copy.status().wait_for(|status| status.error.is_some()).await.unwrap();
        let engine = open(&disk);
        *upstream.engine.lock() = Some(Arc::new(engine));
        apply(&upstream.engine(), 60).unwrap();
        equal(&copy, &upstream).await;
        copy.status().wait_for(|status| status.error.is_none()).await.unwrap();
        // The copy starts again, after a loss of power, while changes are made there.
        stop(running).await;
        drop((answering, seat, copy));
        let here = here.crash(Crash::KEEP_NONE);
        apply(&upstream.engine(), 61).unwrap();
        let (copy, _seat) = replica(&here, 9);
        let running = start(&copy, &upstream);
        equal(&copy, &upstream).await;
        assert_eq!(copy.status().borrow().installed, 0, "the log was there");
        let followers = upstream.source.followers();
        assert_eq!((followers.len(), followers[0].name.as_str()), (1, "node-9"));
        stop(running).await;
        assert_eq!(copy.status().borrow().given_up, 0);
    });
}

#[test]
fn a_log_that_does_not_reach_back_hands_a_checkpoint_over_which_goes_on_where_it_was_cut() {
    block_on(async {
        let (disk, here) = (FaultyStorage::new(1), FaultyStorage::new(2));
        let engine = open_with(&disk, forgetful());
        begin(&engine);
        for number in 0..200 {
            apply(&engine, number).unwrap();
            if number % 40 == 39 {
                engine.compact(CompactRequest::default()).wait().unwrap();
            }
        }
        assert!(engine.replication().tip().first_kept > 1);
        let upstream = Upstream::alone(engine);
        let (copy, seat) = replica(&here, 9);
        // Each connection comes a little further.
        upstream.bytes_max.store(2000, Ordering::SeqCst);
        let running = start(&copy, &upstream);
        equal(&copy, &upstream).await;
        assert!(upstream.connections.load(Ordering::SeqCst) > 1, "it was cut");
        assert!(seat.0.lock().is_some());
        upstream.bytes_max.store(0, Ordering::SeqCst);
        apply(&upstream.engine(), 201).unwrap();
        equal(&copy, &upstream).await;
        assert_eq!(copy.status().borrow().installed, 1);
        // It falls behind, until only a checkpoint helps again, and has readers meanwhile.
        stop(running).await;
        for number in 300..500 {
            apply(&upstream.engine(), number).unwrap();
            if number % 40 == 39 {
                upstream.engine().compact(CompactRequest::default()).wait().unwrap();
            }
        }
        let running = start(&copy, &upstream);
        equal(&copy, &upstream).await;
        assert_eq!(copy.status().borrow().installed, 2);
        assert_eq!(here.paths().iter().find(|path| path.starts_with("incoming/")), None);
        stop(running).await;
    });
}

#[test]
fn connections_that_end_anywhere_lose_nothing_and_double_nothing() {
    for seed in 0..6 {
        block_on(async {
            let mut rng = Rng::new(seed);
            let (disk, here) = (FaultyStorage::new(1), FaultyStorage::new(2));
            let engine = open(&disk);
            begin(&engine);
            let upstream = Upstream::alone(engine);
            let (copy, _seat) = replica(&here, 9);
            upstream.bytes_max.store(1, Ordering::SeqCst);
            let running = start(&copy, &upstream);
            for number in 0..60 {
                apply(&upstream.engine(), number).unwrap();
                upstream.bytes_max.store(1 + rng.below(2500), Ordering::SeqCst);
                if rng.chance(300) {
                    tokio::time::timeout(Duration::from_millis(3), equal(&copy, &upstream))
                        .await
                        .ok();
                }
            }
            upstream.bytes_max.store(0, Ordering::SeqCst);
            equal(&copy, &upstream).await;
            assert!(upstream.connections.load(Ordering::SeqCst) > 2);
            stop(running).await;
        });
    }
}

#[test]
fn a_replica_of_a_replica_follows_and_one_that_is_ahead_waits() {
    block_on(async {
        let disks = [1, 2, 3].map(FaultyStorage::new);
        let engine = open(&disks[0]);
        begin(&engine);
        let upstream = Upstream::alone(engine);
        let (middle, _seat) = replica(&disks[1], 2);
        let following = start(&middle, &upstream);
        equal(&middle, &upstream).await;
        let cascade = Upstream::of(Source::new(identity(2), pace()), middle.engine());
        let (leaf, _leaf_seat) = replica(&disks[2], 3);
        let running = start(&leaf, &cascade);
        for number in 0..30 {
            apply(&upstream.engine(), number).unwrap();
        }
        equal(&middle, &upstream).await;
        equal(&leaf, &upstream).await;
        // The one in between stops; its own replica goes to the source, and comes back.
        stop(following).await;
        stop(running).await;
        apply_all(&upstream.engine(), 30..40);
        let running = start(&leaf, &upstream);
        equal(&leaf, &upstream).await;
        stop(running).await;
        let before = leaf.engine().unwrap().replication().tip();
        let running = start(&leaf, &cascade);
        let is_told = |error: &Option<String>| {
            error.as_ref().is_some_and(|error| error.contains("lacks what is here"))
        };
        leaf.status().wait_for(|status| is_told(&status.error)).await.unwrap();
        assert_eq!(leaf.engine().unwrap().replication().tip(), before, "nothing was cut");
        let following = start(&middle, &upstream);
        apply(&upstream.engine(), 40).unwrap();
        equal(&middle, &upstream).await;
        equal(&leaf, &upstream).await;
        assert_eq!(leaf.status().borrow().given_up, 0);
        stop(following).await;
        stop(running).await;
    });
}

#[test]
fn nobody_follows_who_is_of_the_past() {
    following::nobody_follows_who_is_of_the_past();
}

#[test]
fn after_a_promotion_the_old_one_follows_and_sets_aside_what_it_had_alone() {
    block_on(async {
        let disks = [1, 2].map(FaultyStorage::new);
        let engine = open(&disks[0]);
        begin(&engine);
        apply_all(&engine, 0..20);
        let old = Upstream::alone(engine);
        let (copy, _seat) = replica(&disks[1], 2);
        let running = start(&copy, &old);
        equal(&copy, &old).await;
        stop(running).await;
        // Three that the copy did not get.
        apply_all(&old.engine(), 20..23);
        let (promoted, leading) = primary(copy.engine().unwrap(), 2, 0);
        leads(&promoted.engine()).await;
        for number in 50..55 {
            promoted.engine().apply_event(event(number)).await.unwrap();
        }
        old.close();
        let (back, _back_seat) = replica(&disks[0], 1);
        let running = start(&back, &promoted);
        equal(&back, &promoted).await;
        let status = back.status().borrow().clone();
        assert_eq!((status.given_up, status.stage), (3, Stage::Streaming));
        let paths = disks[0].paths();
        assert!(
            paths.iter().any(|path| path.starts_with("repair-") && path.ends_with(".seg")),
            "{paths:?}"
        );
        stop(running).await;
        stop(leading).await;
    });
}

#[test]
fn a_change_counts_when_enough_replicas_have_it_on_their_disks() {
    block_on(async {
        let disks = [1, 2, 3].map(FaultyStorage::new);
        {
            let engine = open(&disks[0]);
            begin(&engine);
            engine.close().unwrap();
        }
        let engine = Arc::new(open_with(&disks[0], as_node(NodeKind::Replica, 1, None)));
        let (upstream, leading) = primary(engine.clone(), 1, 2);
        let (one, _seat_one) = replica(&disks[1], 2);
        let (two, _seat_two) = replica(&disks[2], 3);
        let first = start(&one, &upstream);
        let tip = || engine.replication().tip();
        // By one look at the log: it grows meanwhile.
        let has_what_does_not_count = |node: u16| {
            let tip = tip();
            let has_all =
                |follower: &Follower| follower.node == node && follower.ack.synced == tip.index;
            tip.index > tip.committed && upstream.source.followers().iter().any(has_all)
        };
        while !has_what_does_not_count(2) {
            tokio::task::yield_now().await;
        }
        assert!(tip().index > tip().committed, "two are needed, and one has it");
        assert!(matches!(engine.replication().standing(), Standing::Following { .. }));
        let second = start(&two, &upstream);
        leads(&engine).await;
        engine.apply_event(event(1)).await.unwrap();
        equal(&one, &upstream).await;
        equal(&two, &upstream).await;
        // One goes: nothing counts, nothing is shown, anywhere.
        stop(second).await;
        while upstream.source.followers().len() > 1 {
            tokio::task::yield_now().await;
        }
        let before = shown(&one.engine().unwrap());
        let mut open = engine.apply_event(event(2));
        poll(&mut open);
        while !has_what_does_not_count(2) {
            tokio::task::yield_now().await;
        }
        assert!(!open.is_ready());
        assert_eq!(shown(&one.engine().unwrap()), before);
        assert_eq!(one.engine().unwrap().replication().tip().index, tip().index, "it has it");
        // It comes back, and the change counts.
        let second = start(&two, &upstream);
        open.await.unwrap();
        equal(&one, &upstream).await;
        equal(&two, &upstream).await;
        for running in [first, second, leading] {
            stop(running).await;
        }
    });
}

/// What a source says to these messages, and why it ends.
async fn told(upstream: &Upstream, messages: &[Message]) -> (Vec<Message>, PeerError) {
    let mut bytes = Vec::new();
    for (number, message) in (1..).zip(messages) {
        bytes.extend(message.encode(0, number));
    }
    told_bytes(upstream, &bytes).await
}

async fn told_bytes(upstream: &Upstream, bytes: &[u8]) -> (Vec<Message>, PeerError) {
    let (mut here, there) = duplex(1 << 20);
    here.write_all(bytes).await.unwrap();
    let (source, engine) = (upstream.source.clone(), upstream.engine());
    let serving = tokio::spawn(async move { source.serve(&engine, there).await });
    let mut incoming = PeerReader::new(here, Decoder::default());
    let mut found = Vec::new();
    while let Ok(message) = incoming.next().await {
        found.push(message);
    }
    (found, serving.await.unwrap())
}

#[test]
fn strangers_are_told_why_and_the_source_serves_on() {
    block_on(async {
        let engine = open(&FaultyStorage::new(1));
        begin(&engine);
        let upstream = Upstream::alone(engine);
        let database = upstream.engine().replication().database();
        let hello = Hello {
            levels: Levels::HERE,
            cluster: "shop".into(),
            database,
            node: 7,
            uuid: [7; 16],
            name: "stranger".into(),
            release: "9.9.9".into(),
            epoch: 0,
            address: String::new(),
            writes_at: String::new(),
            tip: None,
        };
        let mine = upstream.engine().replication().tip();
        let hi = || Message::Hello(hello.clone());
        let named = |index, chain| FrameName { index, term: mine.term, chain };
        let follow = |index, chain| {
            Message::Follow(FollowFrom { offset: 1, known: vec![named(index, chain)] })
        };
        let ack = Message::Ack(Ack { synced: mine.index + 9, applied: 1, applied_offset: 1 });
        let late = Hello { epoch: mine.term + 1, ..hello.clone() };
        let wrong: Vec<(Vec<Message>, &str)> = vec![
            (vec![ack.clone()], "a hello is awaited"),
            (
                vec![Message::Hello(Hello { cluster: "inn".into(), ..hello.clone() })],
                "belongs to the group",
            ),
            (
                vec![Message::Hello(Hello { database: [1; 16], ..hello.clone() })],
                "different databases",
            ),
            (vec![Message::Hello(late)], "heard of epoch"),
            (vec![hi(), hi()], "how far the replica's log goes is awaited"),
            (vec![hi(), follow(mine.index, mine.chain), ack], "never sent"),
            (vec![hi(), follow(mine.index, mine.chain), hi()], "an acknowledgement is awaited"),
            (
                vec![hi(), follow(mine.index, mine.chain), follow(1, 1)],
                "an acknowledgement is awaited",
            ),
        ];
        for (messages, part) in wrong {
            let (answers, error) = told(&upstream, &messages).await;
            assert!(error.to_string().contains(part), "{part}: {error}");
            let Some(Message::Refused(refusal)) = answers.last() else { panic!("{answers:?}") };
            assert!(refusal.message.contains(part), "{refusal:?}");
        }
        let garbage: [&[u8]; 3] =
            [b"GET / HTTP/1.1\r\nHost: there\r\n\r\n", &[0; 4096], &[0xff; 4096]];
        for bytes in garbage {
            let (answers, error) = told_bytes(&upstream, bytes).await;
            assert!(matches!(error, PeerError::Message(_)), "{error}");
            assert!(matches!(answers[..], [Message::Refused(_)]), "{answers:?}");
        }
        // A log of the same length that is another one: it is asked where they part.
        let (mut here, there) = duplex(1 << 20);
        let (source, engine) = (upstream.source.clone(), upstream.engine());
        let serving = tokio::spawn(async move { source.serve(&engine, there).await });
        here.write_all(&hi().encode(0, 1)).await.unwrap();
        here.write_all(&follow(mine.index, mine.chain ^ 1).encode(0, 2)).await.unwrap();
        let mut incoming = PeerReader::new(&mut here, Decoder::default());
        assert!(matches!(incoming.next().await, Ok(Message::Hello(_))));
        assert_eq!(incoming.next().await.unwrap(), Message::Compare { low: 0, high: mine.index });
        drop(here);
        assert!(matches!(serving.await.unwrap(), PeerError::Closed { .. }));
        assert_eq!(upstream.source.followers(), []);
        let (copy, _seat) = replica(&FaultyStorage::new(2), 9);
        let running = start(&copy, &upstream);
        equal(&copy, &upstream).await;
        stop(running).await;
    });
}

#[test]
fn a_replica_of_another_database_stops_and_one_without_a_source_tells_its_age() {
    block_on(async {
        let sources = [1, 2].map(|seed| {
            let engine = open(&FaultyStorage::new(seed));
            begin(&engine);
            apply(&engine, seed).unwrap();
            Upstream::alone(engine)
        });
        let (copy, _seat) = replica(&FaultyStorage::new(3), 9);
        assert_eq!(copy.lag(), (0, None));
        let running = start(&copy, &sources[0]);
        equal(&copy, &sources[0]).await;
        let before = shown(&copy.engine().unwrap());
        stop(running).await;
        let (behind, first) = copy.lag();
        assert_eq!(behind, 0);
        // Nothing is heard, so it grows.
        while copy.lag().1 <= first {
            tokio::task::yield_now().await;
        }
        // Another database: here it is seen that this never comes to a good end.
        let databases = [&sources[0], &sources[1]].map(|it| it.engine().replication().database());
        assert_ne!(databases[0], databases[1]);
        let refused = copy.follow(sources[1].connect().unwrap()).await;
        assert!(refused.to_string().contains("different databases"), "{refused}");
        assert_eq!(shown(&copy.engine().unwrap()), before);
    });
}

#[tokio::test(start_paused = true)]
async fn no_more_is_sent_in_a_second_than_is_allowed() {
    const RATE: usize = 2000;
    // Once as a log, and once as a checkpoint with what came since.
    for is_compacted in [false, true] {
        let disk = FaultyStorage::new(7);
        let engine = open_with(&disk, forgetful());
        begin(&engine);
        apply_all(&engine, 0..100);
        if is_compacted {
            for number in 100..103 {
                engine.compact(CompactRequest::default()).wait().unwrap();
                apply_all(&engine, number..number + 1);
            }
        }
        let slow = Pace { bytes_per_second: RATE, ..pace() };
        let tip = engine.replication().tip();
        let sent: usize = match is_compacted {
            false => {
                let frames = engine.replication().frames(1, tip.index, usize::MAX).unwrap();
                frames.iter().map(|frame| frame.payload_bytes()).sum()
            }
            true => engine.replication().checkpoint().unwrap().unwrap().bytes as usize,
        };
        assert!(sent > RATE / 2, "{sent}");
        let source = Source::new(identity(0), slow);
        let upstream = Upstream::of(source, Some(Arc::new(engine)));
        let (replica, _answers) = replica(&FaultyStorage::new(8), 2);
        let begun = tokio::time::Instant::now();
        let running = start(&replica, &upstream);
        equal(&replica, &upstream).await;
        // The last message may come at once.
        let least = (sent - pace().message_bytes) as f64 / RATE as f64;
        let least = Duration::from_secs_f64(least);
        assert!(begun.elapsed() >= least, "{sent} bytes in {:?}", begun.elapsed());
        stop(running).await;
    }
}
