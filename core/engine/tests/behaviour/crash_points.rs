//! The power goes off at each call that something done to a replicated log makes of the disk, with everything that may
//! survive: what was promised is there, the rest is of one history or of the other, and the log goes on to the same end.

use std::fmt::Debug;

use rstmdb_engine::FsyncPolicy::EveryWrite;
use rstmdb_engine::maintenance::verify;
use rstmdb_engine::replication::{CheckpointFile, LogFrame};
use rstmdb_engine::{Engine, NodeKind, Options, Retention};
use rstmdb_testkit::cluster::pair::{append, as_node, event, lead, poll, take};
use rstmdb_testkit::faulty::{Crash, DiskImage, FaultyStorage, Rng};
use rstmdb_testkit::sample::{begin, everything, location, open};
use rstmdb_testkit::seeds::{Replay, is_late, seeds_and};
use rstmdb_types::{CompactRequest, Result};
use serde_json::Value;

/// What survives a crash, for each call.
const VARIANTS: usize = 10;
const TERM: u64 = 5 << 16;
const NEXT_TERM: u64 = 6 << 16;

/// Two histories that begin alike, and what they come to.
struct Histories {
    database: [u8; 16],
    /// All of the first one.
    first: Vec<LogFrame>,
    /// What the second one has behind the last frame that both have.
    second: Vec<LogFrame>,
    /// The last frame that both have.
    fork: u64,
    /// The last one that nobody takes back.
    committed: u64,
    /// All that is shown at their ends.
    ends: [Value; 2],
    /// A checkpoint of the first one, and who holds it.
    checkpoint: CheckpointFile,
    _holder: Engine,
}

/// Writes events through who leads, each in a frame of its own; all are committed.
fn write(engine: &Engine, term: u64, numbers: std::ops::Range<u64>, rng: &mut Rng) {
    let proposals = lead(engine, term);
    for number in numbers {
        let key = format!("{number:0>width$}", width = 1 + rng.index(500));
        let mut pending = engine.apply_event(event(number).with_key(key));
        poll(&mut pending);
        let index = take(engine, &proposals, term);
        engine.replication().commit(index).unwrap();
        pending.wait().unwrap();
    }
    engine.replication().follow("all is written", None);
}

fn compact(engine: &Engine) {
    engine.compact(CompactRequest::default()).wait().unwrap();
}

fn frames(engine: &Engine, from: u64) -> Vec<LogFrame> {
    engine.replication().frames(from, u64::MAX, usize::MAX).unwrap()
}

impl Histories {
    fn of(seed: u64) -> Histories {
        let mut rng = Rng::new(seed);
        let disk = FaultyStorage::new(seed);
        let alone = open(&disk, EveryWrite).unwrap();
        begin(&alone);
        for number in 0..1 + rng.below(5) {
            rstmdb_testkit::sample::apply(&alone, number).unwrap();
        }
        // A boundary in the log, where others may begin.
        compact(&alone);
        alone.close().unwrap();
        drop(alone);
        let engine = Engine::open(location(&disk), as_node(NodeKind::Member, 1, None)).unwrap();
        let database = engine.replication().database();
        let shared = engine.replication().tip().index;
        write(&engine, TERM, 100..104 + rng.below(12), &mut rng);
        let first = frames(&engine, 1);
        let first_end = everything(&engine).unwrap();
        let checkpoint = engine.replication().checkpoint().unwrap().unwrap();
        // Another one has less of it, and goes on otherwise.
        let fork = shared + 2 + rng.below(first.len() as u64 - shared - 2);
        let other = member(&FaultyStorage::new(seed + 1), 3, database);
        append(&other, first[..fork as usize].to_vec()).unwrap();
        other.replication().commit(fork).unwrap();
        write(&other, NEXT_TERM, 200..204 + rng.below(12), &mut rng);
        let second = frames(&other, fork + 1);
        let ends = [first_end, everything(&other).unwrap()];
        let committed = shared + rng.below(fork - shared);
        Histories { database, first, second, fork, committed, ends, checkpoint, _holder: engine }
    }

    /// The frame of an index in the second history.
    fn second_at(&self, index: u64) -> Option<&LogFrame> {
        match index <= self.fork {
            true => self.first.get(index as usize - 1),
            false => self.second.get((index - self.fork) as usize - 1),
        }
    }

    /// The disk of a node that has so much of the first history.
    fn image(&self, seed: u64, frames: usize, committed: u64) -> DiskImage {
        let disk = FaultyStorage::new(seed);
        let node = member(&disk, 2, self.database);
        node.replication().save_vote(&[0; 9]).unwrap();
        append(&node, self.first[..frames].to_vec()).unwrap();
        node.replication().commit(committed).unwrap();
        node.close().unwrap();
        drop(node);
        disk.kill().image()
    }

    /// A node has this history up to its tip, and comes to the end of it.
    fn goes_on(&self, node: &Engine, is_second: bool, when: &dyn Debug) {
        let replication = node.replication();
        let last =
            if is_second { self.fork + self.second.len() as u64 } else { self.first.len() as u64 };
        let at = |index: u64| match is_second {
            true => self.second_at(index),
            false => self.first.get(index as usize - 1),
        };
        let tip = replication.tip();
        let here = frames(node, tip.first_kept);
        let differs = here.iter().find(|frame| at(frame.index()) != Some(*frame));
        if let Some(frame) = differs {
            replication.truncate_after(frame.index() - 1).unwrap_or_else(|error| {
                panic!("{when:?}: frame {} is of neither: {error}", frame.index())
            });
        }
        let next = replication.tip().index + 1;
        append(node, (next..=last).map(|index| at(index).unwrap().clone()).collect()).unwrap();
        replication.commit(last).unwrap();
        let mut found = everything(node).unwrap();
        let mut end = self.ends[usize::from(is_second)].clone();
        if tip.first_kept > 1 {
            // What a checkpoint covers need not be there.
            for log in [&mut found, &mut end] {
                log["log"] = Value::Null;
            }
        }
        assert_eq!(found, end, "{when:?}");
        assert!(node.damage().is_none(), "{when:?}: {:?}", node.damage());
    }
}

fn options(database: [u8; 16]) -> Options {
    Options { digest: true, ..as_node(NodeKind::Member, 2, Some(database)) }
}

fn member(disk: &FaultyStorage, id: u16, database: [u8; 16]) -> Engine {
    let options = as_node(NodeKind::Member, id, Some(database));
    Engine::open(location(disk), options).unwrap()
}

/// What was promised before the power went off.
#[derive(Debug, Default, Clone, Copy)]
struct Promised {
    /// The last frame of which it was said that it is on the disk.
    synced: u64,
    vote: u8,
    /// All was done.
    is_done: bool,
}

/// Does something to what is on a disk at each call, and looks at what survives in each way. Gives how many ways.
fn at_each_call(
    image: &DiskImage,
    seed: u64,
    mut work: impl FnMut(&FaultyStorage, u64, &mut Promised),
    mut look: impl FnMut(&FaultyStorage, Promised, &dyn Debug),
) -> u64 {
    let mut points = 0;
    for call in 1.. {
        let disk = image.restart();
        let mut promised = Promised::default();
        work(&disk, call, &mut promised);
        let image = disk.image();
        disk.power_off();
        for how in Crash::variants(seed ^ call, VARIANTS) {
            points += 1;
            look(&image.crash(how), promised, &(call, how));
        }
        if promised.is_done {
            return points;
        }
    }
    points
}

/// Opens a node, and has the power go off in a later call.
fn opened(disk: &FaultyStorage, call: u64, database: [u8; 16]) -> Engine {
    let node = Engine::open(location(disk), options(database)).unwrap();
    disk.crash_in_call(disk.mutating_calls() + call);
    node
}

/// Frames in some calls, votes between them.
fn appends(
    node: &Engine,
    mut frames: &[LogFrame],
    rng: &mut Rng,
    promised: &mut Promised,
) -> Result<()> {
    while !frames.is_empty() {
        let (some, rest) = frames.split_at(1 + rng.index(frames.len().min(4)));
        append(node, some.to_vec())?;
        promised.synced = some.last().map_or(0, LogFrame::index);
        frames = rest;
        node.replication().save_vote(&[promised.vote + 1; 9])?;
        promised.vote += 1;
    }
    Ok(())
}

fn keeps(node: &Engine, promised: Promised, when: &dyn Debug) {
    let tip = node.replication().tip();
    assert!(tip.index >= promised.synced, "{when:?}: {promised:?}, {tip:?}");
    let vote = node.replication().read_vote().map_or(0, |vote| vote[0]);
    let may_be = promised.vote..=promised.vote + 1;
    assert!(may_be.contains(&vote), "{when:?}: {promised:?}, voted {vote}");
}

fn append_and_vote(histories: &Histories, seed: u64) -> u64 {
    let begin = histories.committed as usize;
    let image = histories.image(seed, begin, histories.committed);
    let work = |disk: &FaultyStorage, call, promised: &mut Promised| {
        let node = opened(disk, call, histories.database);
        let mut rng = Rng::new(seed);
        promised.is_done = appends(&node, &histories.first[begin..], &mut rng, promised).is_ok();
    };
    at_each_call(&image, seed, work, |disk, promised, when| {
        let node = Engine::open(location(disk), options(histories.database)).unwrap();
        keeps(&node, promised, when);
        let tip = node.replication().tip();
        assert!(tip.committed >= histories.committed, "{when:?}: {tip:?}");
        assert!(frames(&node, 1).iter().zip(&histories.first).all(|(here, there)| here == there));
        histories.goes_on(&node, false, when);
    })
}

fn truncate(histories: &Histories, seed: u64) -> u64 {
    let image = histories.image(seed, histories.first.len(), histories.committed);
    let work = |disk: &FaultyStorage, call, promised: &mut Promised| {
        let node = opened(disk, call, histories.database);
        let mut rng = Rng::new(seed);
        let cut = node.replication().truncate_after(histories.fork);
        let done = cut.and_then(|()| appends(&node, &histories.second, &mut rng, promised));
        promised.is_done = done.is_ok();
    };
    at_each_call(&image, seed, work, |disk, promised, when| {
        let node = Engine::open(location(disk), options(histories.database)).unwrap();
        keeps(&node, promised, when);
        let tip = node.replication().tip();
        assert!(
            tip.committed >= histories.committed && tip.index >= histories.fork,
            "{when:?}: {tip:?}"
        );
        let here = frames(&node, 1);
        let is_first = here.iter().zip(&histories.first).all(|(here, there)| here == there);
        let is_second = here.iter().all(|frame| histories.second_at(frame.index()) == Some(frame));
        assert!(is_second || (is_first && promised.synced == 0), "{when:?}: a mixture");
        histories.goes_on(&node, true, when);
    })
}

fn purge(histories: &Histories, seed: u64) -> u64 {
    let last = histories.first.len() as u64;
    let image = histories.image(seed, histories.first.len(), 1);
    let little = || Options { retention: Retention::Bytes(0), ..options(histories.database) };
    let work = |disk: &FaultyStorage, call, promised: &mut Promised| {
        let node = Engine::open(location(disk), little()).unwrap();
        // With it comes a boundary, where checkpoints begin.
        node.replication().commit(last).unwrap();
        disk.crash_in_call(disk.mutating_calls() + call);
        promised.is_done = node.compact(CompactRequest::default()).wait().is_ok();
    };
    at_each_call(&image, seed, work, |disk, promised, when| {
        let node = Engine::open(location(disk), little()).unwrap();
        keeps(&node, Promised { synced: last, vote: 0, ..promised }, when);
        let kept = node.replication().tip().first_kept;
        let here = frames(&node, kept);
        assert!(here.iter().eq(&histories.first[kept as usize - 1..]), "{when:?}: from {kept}");
        histories.goes_on(&node, false, when);
        compact(&node);
        node.close().unwrap();
        drop(node);
        assert!(verify(&location(disk)).unwrap().ok, "{when:?}");
    })
}

fn install(histories: &Histories, seed: u64) -> u64 {
    let behind = histories.committed.min(histories.checkpoint.at.until);
    let image = histories.image(seed, behind as usize, behind);
    let at = histories.checkpoint.at;
    let work = |disk: &FaultyStorage, call, promised: &mut Promised| {
        let frames = histories.first[at.index as usize..at.until as usize].to_vec();
        let read = |buffer: &mut [u8], position| histories.checkpoint.read_at(buffer, position);
        disk.crash_in_call(disk.mutating_calls() + call);
        let frames = frames.into_iter().map(Ok);
        let options = options(histories.database);
        promised.is_done = Engine::install(location(disk), options, &at, read, frames).is_ok();
    };
    at_each_call(&image, seed, work, |disk, promised, when| {
        let node = Engine::open(location(disk), options(histories.database)).unwrap();
        keeps(&node, Promised { vote: 0, ..promised }, when);
        let tip = node.replication().tip();
        let is_there = tip.first_kept > 1 || at.index == 0;
        assert!(is_there || !promised.is_done, "{when:?}: {tip:?}");
        let last = if is_there { at.until } else { behind };
        assert_eq!(tip.index, last, "{when:?}: {tip:?}");
        histories.goes_on(&node, false, when);
    })
}

#[test]
fn a_replicated_log_is_whole_whatever_the_moment_of_a_crash() {
    let mut replay = Replay::of("rstmdb-engine --test behaviour a_replicated_log_is_whole");
    let mut is_late = is_late();
    let mut points = [0; 4];
    let seeds = seeds_and(&[], 1, 10, 1000);
    for seed in &seeds {
        if is_late() {
            break;
        }
        replay.seed = *seed;
        let histories = Histories::of(*seed);
        let works: [fn(&Histories, u64) -> u64; 4] = [append_and_vote, truncate, purge, install];
        for (points, work) in points.iter_mut().zip(works) {
            *points += work(&histories, *seed);
        }
    }
    println!("up to seed {}: append and vote, truncate, purge, install: {points:?}", replay.seed);
}
