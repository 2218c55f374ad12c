//! Watches of single instances: a change wakes those of its instance and no others, and none misses anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use rstmdb_engine::FsyncPolicy::EveryWrite;
use rstmdb_engine::{Engine, Options, Subscription};
use rstmdb_testkit::faulty::FaultyStorage;
use rstmdb_testkit::sample::{LOOP, location, options};
use rstmdb_types::*;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Count {
    fn taken(&self) -> usize {
        self.0.swap(0, Ordering::SeqCst)
    }
}

/// A watch of one instance, and how often it was woken.
struct Follower {
    watch: Subscription,
    woken: Arc<Count>,
    waker: Waker,
}

impl Follower {
    fn new(engine: &Engine, instance: usize, from_offset: Option<Offset>) -> Follower {
        let id = format!("i{instance}");
        let request =
            WatchInstanceRequest { from_offset, ..WatchInstanceRequest::new(id.as_str()) };
        let (_, watch) = engine.watch_instance(request).unwrap();
        let woken = Arc::new(Count::default());
        let waker = woken.clone().into();
        Follower { watch, woken, waker }
    }

    /// The offsets of the events that are there.
    fn events(&mut self) -> Vec<Offset> {
        let mut offsets = Vec::new();
        loop {
            match self.watch.poll_next(&mut Context::from_waker(&self.waker)) {
                Poll::Ready(event) => offsets.push(event.unwrap().unwrap().wal_offset),
                Poll::Pending if self.watch.needs_files() => self.watch.load(),
                Poll::Pending => return offsets,
            }
        }
    }
}

fn with_instances(instances: usize, change: impl FnOnce(&mut Options)) -> (FaultyStorage, Engine) {
    let disk = FaultyStorage::new(1);
    let mut options = options(EveryWrite);
    change(&mut options);
    let engine = Engine::open(location(&disk), options).unwrap();
    let definition = Json::parse(LOOP).unwrap();
    engine.put_machine(PutMachineRequest::new("m", 1, definition)).wait().unwrap();
    for n in 0..instances {
        let request = CreateInstanceRequest::new(format!("i{n}").as_str(), "m", 1);
        engine.create_instance(request).wait().unwrap();
    }
    (disk, engine)
}

fn apply(engine: &Engine, instance: usize) -> Offset {
    let request = ApplyEventRequest::new(format!("i{instance}").as_str(), "E");
    engine.apply_event(request).wait().unwrap().wal_offset
}

#[test]
fn a_change_wakes_those_that_follow_its_instance_and_no_others() {
    let (_disk, engine) = with_instances(20, |_| ());
    let mut followers: Vec<_> = (0..40).map(|n| Follower::new(&engine, n / 2, None)).collect();
    for follower in &mut followers {
        assert!(follower.events().is_empty());
    }
    for instance in [3, 19, 3] {
        let offset = apply(&engine, instance);
        for (n, follower) in followers.iter_mut().enumerate() {
            let is_own = n / 2 == instance;
            assert_eq!(follower.woken.taken(), usize::from(is_own), "{n}");
            if is_own {
                assert_eq!(follower.events(), [offset]);
            }
        }
    }
    // Who did not read is told once, and has all of it when it reads.
    let offsets: Vec<_> = (0..50).map(|_| apply(&engine, 5)).collect();
    for follower in &mut followers[10..12] {
        assert_eq!(follower.woken.taken(), 1);
        assert_eq!(follower.events(), offsets);
    }
    followers.truncate(10);
    apply(&engine, 5);
    assert!(followers.iter().all(|follower| follower.woken.taken() == 0));
}

#[test]
fn a_follower_misses_nothing_however_late_it_reads_and_wherever_it_begins() {
    // The ring holds next to nothing, so that most is read from files.
    let (_disk, engine) = with_instances(3, |options| options.watch_ring_bytes = 400);
    let before: Vec<_> = (0..30).map(|n| apply(&engine, n % 3)).collect();
    let mut live = Follower::new(&engine, 1, None);
    let mut replaying = Follower::new(&engine, 1, Some(before[4]));
    assert!(live.events().is_empty());
    let after: Vec<_> = (0..300).map(|n| apply(&engine, n % 3)).collect();
    let own = |all: &[Offset]| -> Vec<Offset> { all.iter().copied().skip(1).step_by(3).collect() };
    assert_eq!(live.watch.place().behind(after[299]), 299, "from its first change on");
    assert_eq!(live.events(), own(&after));
    assert_eq!(live.watch.place().behind(after[299]), 0);
    assert_eq!(replaying.events(), [&own(&before)[1..], &own(&after)].concat());
    for follower in [&mut live, &mut replaying] {
        assert_eq!(follower.watch.resume_offset(), after[299] + 1);
    }
    // Changes of others move its place too, also where nobody tells it of them.
    let last = apply(&engine, 0);
    assert_eq!(live.woken.taken(), 1, "by what it read above");
    assert!(live.events().is_empty());
    assert_eq!(live.watch.position(), engine.position());
    assert_eq!(live.watch.resume_offset(), last + 1);
}

#[test]
fn a_follower_is_told_the_end() {
    let (_disk, engine) = with_instances(1, |_| ());
    let mut follower = Follower::new(&engine, 0, None);
    assert!(follower.events().is_empty());
    engine.close().unwrap();
    assert_eq!(follower.woken.taken(), 1);
    let ended = follower.watch.poll_next(&mut Context::from_waker(&follower.waker));
    assert!(matches!(ended, Poll::Ready(None)), "{ended:?}");
}

#[test]
fn followers_that_come_and_go_beside_writers_see_what_is_theirs() {
    let (_disk, engine) = with_instances(4, |_| ());
    let engine = Arc::new(engine);
    std::thread::scope(|scope| {
        let writing: Vec<_> = (0..4)
            .map(|instance| {
                let engine = engine.clone();
                scope.spawn(move || -> Vec<_> {
                    (0..400).map(|_| apply(&engine, instance)).collect()
                })
            })
            .collect();
        let seen: Vec<_> = (0..4)
            .map(|instance| {
                let engine = engine.clone();
                scope.spawn(move || {
                    let mut seen = Vec::new();
                    let mut from = 1;
                    // Each goes on where the one before stopped.
                    while seen.len() < 400 {
                        let request = WatchInstanceRequest {
                            from_offset: Some(from),
                            ..WatchInstanceRequest::new(format!("i{instance}").as_str())
                        };
                        let (_, mut watch) = engine.watch_instance(request).unwrap();
                        for _ in 0..7.min(400 - seen.len()) {
                            seen.push(watch.next_blocking().unwrap().unwrap().wal_offset);
                        }
                        from = watch.resume_offset();
                    }
                    seen
                })
            })
            .collect();
        for (written, seen) in writing.into_iter().zip(seen) {
            assert_eq!(written.join().unwrap(), seen.join().unwrap());
        }
    });
}
