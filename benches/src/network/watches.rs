//! Watchers of everything while one connection writes: all events to all of them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::durable::{ours, peer};
use super::load::Load;
use super::site::{Ask, Site};
use super::watchers::{Seen, UNKNOWN, Watchers};
use super::wire::Wire;
use super::{Scale, describe};
use crate::Bench;
use crate::measure::{Goal, Row, Samples, Section, Unit};

const WATCHERS: usize = 50;
const IN_FLIGHT: usize = 16;
/// Watches of one instance each, and how many of them share a connection.
const FOLLOWERS: usize = 10_000;
const FOLLOWERS_EACH: usize = 100;

pub fn run(bench: &Bench) -> Section {
    let mut rows = Vec::new();
    many(bench, &mut rows);
    paused(bench, &mut rows);
    following(bench, &mut rows);
    Section { title: "Watching over the network", rows }
}

/// What a run of a writer and watchers did.
struct Watched {
    written: u64,
    /// Events that reached watchers, all together.
    delivered: u64,
    seconds: f64,
    /// Events that a watcher did not see, or not in their place.
    missed: u64,
}

fn watch(site: &Site, count: usize, time: Duration, pause: Option<Duration>) -> Watched {
    let mut watchers = Watchers::subscribe(site.server.address, count);
    let mut writer = site.load(1, Ask::Apply);
    writer.count_offsets();
    let expected = AtomicU64::new(UNKNOWN);
    let began = Instant::now();
    if let Some(pause) = pause {
        watchers.pause(0, pause);
    }
    let before = site.server.processor_seconds();
    let (ended, seen) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let outcome = writer.run(IN_FLIGHT, Duration::ZERO, time);
            expected.store(writer.answered(), Ordering::Release);
            let processor = site.server.processor_seconds() - before;
            let name = format!("{}, the writer", site.server.name);
            eprintln!("{}", describe(&name, &outcome, processor));
        });
        watchers.read(&expected)
    });
    let written = writer.answered();
    let watched = Watched {
        written,
        delivered: seen.iter().map(|seen| seen.events).sum(),
        seconds: (ended - began).as_secs_f64(),
        missed: seen.iter().map(|seen| missed(seen, &writer)).sum(),
    };
    eprintln!(
        "  {}: {written} events, {count} watchers, {:.0} deliveries/s, {} missed, {} out of order, \
         {} closed",
        site.server.name,
        watched.per_second(),
        watched.missed,
        seen.iter().map(|seen| seen.out_of_order).sum::<u64>(),
        seen.iter().filter(|seen| seen.closed).count(),
    );
    watched
}

fn missed(seen: &Seen, writer: &Load) -> u64 {
    let Wire::Rcp(scanner) = writer.wire() else { return writer.answered() };
    let missed = writer.answered().abs_diff(seen.events) + seen.out_of_order;
    // As many events as there were, in order, but others.
    if missed == 0 && seen.offsets != scanner.offsets() { seen.events } else { missed }
}

impl Watched {
    fn per_second(&self) -> f64 {
        self.delivered as f64 / self.seconds
    }
}

fn many(bench: &Bench, rows: &mut Vec<Row>) {
    let scale = Scale::of(&bench.scale);
    let (folder, folder_of_peer) = (bench.folder(), bench.folder());
    let ours = ours(folder.path(), "every_write", scale.instances);
    let peer = peer(folder_of_peer.path(), "every_write", scale.instances);
    let (mut of_ours, mut of_peer) = (Samples::default(), Samples::default());
    let (mut missing, mut missing_of_peer) = (Samples::default(), Samples::default());
    for _ in 0..scale.rounds {
        let watched = watch(&ours, WATCHERS, scale.round, None);
        of_ours.0.push(watched.per_second());
        missing.0.push(watched.missed as f64);
        if let Some(peer) = &peer {
            let watched = watch(peer, WATCHERS, scale.round, None);
            of_peer.0.push(watched.per_second());
            missing_of_peer.0.push(watched.missed as f64);
        }
    }
    let case = "1 writer, 16 in flight, durable, 50 watchers of all";
    let case_of_delivered = format!("{case}: events delivered");
    let mut delivered = Row::new(&case_of_delivered, Unit::PerSecond, of_ours.clone());
    let goal = Goal::AtLeast(2_000_000.0);
    let by_itself = Row::new(case_of_delivered, Unit::PerSecond, of_ours).goal(goal);
    let mut lost =
        Row::new(format!("{case}: events missed"), Unit::Events, missing).goal(Goal::AtMost(0.0));
    if let Some(peer) = &peer {
        let name = peer.server.name.as_str();
        delivered = delivered.against(name, &of_peer).goal(Goal::RatioAtLeast(3.0));
        lost = lost.beside(name, &missing_of_peer);
    }
    rows.extend([delivered, by_itself, lost]);
}

/// One of two watchers reads nothing for a while.
fn paused(bench: &Bench, rows: &mut Vec<Row>) {
    let scale = Scale::of(&bench.scale);
    let (folder, folder_of_peer) = (bench.folder(), bench.folder());
    let ours = ours(folder.path(), "every_write", scale.instances);
    let peer = peer(folder_of_peer.path(), "every_write", scale.instances);
    let time = scale.pause;
    let of_ours = watch(&ours, 2, time, Some(time));
    let case = format!(
        "a watcher reads nothing for {} s while 1 writer, 16 in flight, goes on",
        time.as_secs()
    );
    let mut row = Row::new(format!("{case}: events missed"), Unit::Events, of_ours.missed as f64)
        .goal(Goal::AtMost(0.0));
    let mut speed = Row::new(
        format!("{case}: events written"),
        Unit::PerSecond,
        of_ours.written as f64 / time.as_secs_f64(),
    );
    if let Some(peer) = &peer {
        let of_peer = watch(peer, 2, time, Some(time));
        let name = peer.server.name.as_str();
        row = row.beside(name, &(of_peer.missed as f64).into());
        let rate = of_peer.written as f64 / time.as_secs_f64();
        speed = speed.against(name, &rate.into());
    }
    rows.extend([row, speed]);
}

/// What watches of one instance each cost a writer: of instances that do not change, and of those that do.
fn following(bench: &Bench, rows: &mut Vec<Row>) {
    let scale = Scale::of(&bench.scale);
    let folder = bench.folder();
    let site = ours(folder.path(), "every_write", scale.instances);
    let others = scale.instances..scale.instances + FOLLOWERS;
    site.create(others.clone());
    let mut writer = site.load(1, Ask::Apply);
    let mut rates = [Samples::default(), Samples::default(), Samples::default()];
    for _ in 0..scale.rounds {
        let followed = [0..0, others.clone(), 0..FOLLOWERS.min(scale.instances)];
        for (followed, rates) in followed.into_iter().zip(&mut rates) {
            let mut watchers = Watchers::follow(site.server.address, followed, FOLLOWERS_EACH);
            let is_over = AtomicBool::new(false);
            let (outcome, seen) = std::thread::scope(|scope| {
                let watching = scope.spawn(|| watchers.drain(&is_over));
                let outcome = writer.run(IN_FLIGHT, scale.warm_up, scale.round);
                is_over.store(true, Ordering::Release);
                (outcome, watching.join().unwrap())
            });
            eprintln!("  {seen} events of single instances beside {:.0}/s", outcome.per_second());
            rates.0.push(outcome.per_second());
        }
    }
    let [alone, of_others, of_written] = rates;
    let case =
        format!("1 writer, 16 in flight, durable, {FOLLOWERS} watchers of one instance each");
    let row = Row::new(format!("{case}, others than are written"), Unit::PerSecond, of_others);
    rows.push(row.against("no watchers", &alone).goal(Goal::RatioAtLeast(0.95)));
    let row = Row::new(format!("{case}, those that are written"), Unit::PerSecond, of_written);
    rows.push(row.against("no watchers", &alone));
}
