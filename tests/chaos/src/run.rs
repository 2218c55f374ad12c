//! One run: a group, its clients and watchers, faults one after the other, and what is wrong in the end.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rstmdb_testkit::faulty::Rng;
use serde_json::{Value, json};

use crate::client::{Client, Fate, Language, breath, url};
use crate::faults::{self, Kind};
use crate::group::{Group, last_words};
use crate::load::{Book, Worker};
use crate::registers::{self, Step, entry};
use crate::watched::{self, Held};
use crate::watching::Watcher;

/// How many clients there are.
const CLIENTS: usize = 8;
/// After a fault is over a write must be done within this.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// All else that has to come comes within this.
const PATIENCE: Duration = Duration::from_secs(30);

/// An instance beside the registers, and numbers that no client writes.
const PLANTED: &str = "planted";
const STALE: u64 = 1 << 40;
const LAST: u64 = STALE + 1;

/// What is to be done.
#[derive(Debug)]
pub struct Plan {
    /// How many nodes.
    pub nodes: usize,
    /// How many faults.
    pub faults: usize,
    /// The kinds of faults; none: all.
    pub only: Vec<Kind>,
    /// Decides what the faults are, when, and what clients do.
    pub seed: u64,
    /// The server.
    pub server: PathBuf,
    /// What is loaded into it.
    pub preload: String,
    /// The clients; Rust's first.
    pub languages: Vec<Language>,
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Report {
    /// Writes that were done.
    pub writes: u64,
    /// Histories that were explained.
    pub histories: usize,
    /// Steps in them.
    pub steps: usize,
    /// Faults that were brought about.
    pub faults: usize,
    /// The longest time from a fault's end to the next write.
    pub longest: Duration,
    /// What should not be.
    pub wrong: Vec<String>,
}

/// Does what is planned, with the files of the nodes in a folder.
pub fn run(plan: &Plan, folder: &Path) -> Result<Report, String> {
    let mut rng = Rng::new(plan.seed);
    let rust = &plan.languages[0];
    let mut group = Group::start(plan.nodes, folder, &plan.server, &plan.preload, rust)?;
    let book = Book::new();
    let machines = group.clients();
    let everywhere = url(0..plan.nodes, "");
    let mut workers: Vec<Worker<'_>> = (0..CLIENTS)
        .map(|number| {
            let language = &plan.languages[number % plan.languages.len()];
            let client =
                Client::start(&group.world, machines[number / 2 % 2], language, &everywhere);
            let rng = Rng::new(plan.seed ^ ((number as u64 + 1) << 32));
            Worker { number, book: &book, client, rng, pause: Duration::from_millis(8) }
        })
        .collect();
    workers[0].prepare();
    if let Err(why) = stale_reads_are_found(&mut group, rust) {
        book.fault(why);
    }
    let watchers = machines.map(|machine| Watcher::start(&group.world, machine, &everywhere));
    // They are there before anything goes wrong.
    let begin = Instant::now();
    while !watchers.iter().all(|watcher| watcher.has_come_to(1)) {
        if begin.elapsed() > PATIENCE {
            return Err("a watcher does not begin".to_owned());
        }
        breath();
    }
    let mut report = Report::default();
    std::thread::scope(|scope| {
        for worker in &mut workers {
            scope.spawn(move || worker.work());
        }
        let outcome = disturb(plan, &mut group, &book, &mut rng, &mut report);
        if let Err(why) = outcome {
            book.fault(why);
        }
        book.is_over.store(true, Ordering::Release);
    });
    if let Err(why) = mark(&mut group.operator, &watchers) {
        book.fault(why);
    }
    let writes = book.writes();
    let shown = watchers.map(Watcher::end);
    let mut held = Held::new();
    for lines in &shown {
        let (comes_to, wrong) = watched::check(lines, &writes);
        wrong.into_iter().for_each(|wrong| book.fault(wrong));
        held = comes_to;
    }
    watched::differences(&shown[0], &shown[1]).into_iter().for_each(|wrong| book.fault(wrong));
    if let Err(why) = compare(&mut group.operator, &held) {
        book.fault(why);
    }
    match group.order("CLUSTER_VERIFY", json!({})) {
        Ok(said) if said.contains(r#""ok":true"#) => {}
        other => book.fault(format!("the members do not hold the same: {other:?}")),
    }
    for node in &mut group.nodes {
        if let Err(why) = node.stop() {
            book.fault(format!("node {} was asked to stop: {why}", node.host));
        }
        node.panics().into_iter().for_each(|panic| book.fault(panic));
    }
    for (name, history) in book.histories() {
        report.histories += 1;
        report.steps += history.len();
        if let Some(why) = registers::fault(&history) {
            let file = folder.join(format!("{name}.history"));
            let lines: Vec<String> = history.iter().map(|entry| format!("{entry:?}\n")).collect();
            let _ = std::fs::write(&file, lines.concat());
            book.fault(format!("{name}: {why}; see {}", file.display()));
        }
    }
    report.writes = book.done();
    report.wrong = book.faults();
    Ok(report)
}

/// Brings faults about, and has the group come to itself after each.
fn disturb(
    plan: &Plan,
    group: &mut Group,
    book: &Book,
    rng: &mut Rng,
    report: &mut Report,
) -> Result<(), String> {
    let begin = Instant::now();
    for kind in faults::draw(rng, plan.faults, &plan.only, !plan.preload.is_empty()) {
        if book.is_over.load(Ordering::Acquire) {
            return Err("the clients are gone".to_owned());
        }
        let Some(fault) = faults::begin(kind, group, rng) else { continue };
        report.faults += 1;
        let name = fault.name.clone();
        std::thread::park_timeout(Duration::from_millis(500 + rng.below(1800)));
        if let Some(why) = fault.end(group) {
            book.fault(format!("{name}: {why}"));
        }
        let Some(after) = book.await_progress(PAUSE_MAX) else {
            return Err(format!(
                "no write was done within {PAUSE_MAX:?} after {name}; {}",
                why_nothing_is_written(plan, group)
            ));
        };
        report.longest = report.longest.max(after);
        let at = begin.elapsed();
        group.await_voters(PATIENCE).map_err(|why| format!("after {name}: {why}"))?;
        eprintln!(
            "chaos: {:6.1} s: {name}; then a write after {} ms, all are back after {} ms",
            at.as_secs_f64(),
            after.as_millis(),
            (begin.elapsed() - at + after).as_millis()
        );
        std::thread::park_timeout(Duration::from_millis(rng.below(400)));
    }
    Ok(())
}

/// Who leads, and what a client gets that comes now: whether it is the group or those that were there before.
fn why_nothing_is_written(plan: &Plan, group: &mut Group) -> String {
    let members = group.members();
    let url = url(0..plan.nodes, "");
    let mut fresh = Client::start(&group.world, group.clients()[0], &plan.languages[0], &url);
    let step = json!({"op": "APPLY_EVENT", "args": {"instance_id": PLANTED, "event": "SET",
        "payload": {"n": LAST + 1}, "idempotency_key": "fresh"}});
    let said = fresh.ask(&step).map(Fate::of);
    let words = last_words(&group.nodes);
    format!("the group: {members:?}, a new client gets {said:?}; the nodes said\n{words}")
}

/// A last write, which every watcher has to come to.
fn mark(operator: &mut Client, watchers: &[Watcher]) -> Result<(), String> {
    let step = json!({"op": "APPLY_EVENT", "args": {"instance_id": PLANTED, "event": "SET",
        "payload": {"n": LAST}, "idempotency_key": "last"}});
    let begin = Instant::now();
    let mut offset = None;
    while begin.elapsed() < PATIENCE {
        if offset.is_none()
            && let Fate::Done(answer) = Fate::of(operator.ask(&step)?)
        {
            offset = answer["wal_offset"].as_u64();
        }
        let come = |offset| watchers.iter().all(|watcher| watcher.has_come_to(offset));
        if offset.is_some_and(come) {
            return Ok(());
        }
        breath();
    }
    Err(format!("the last write is at {offset:?}, and a watcher does not come to it"))
}

/// What the group holds is what watchers were shown last. That all members hold the same they find out themselves.
fn compare(operator: &mut Client, held: &Held) -> Result<(), String> {
    let mut wrong = Vec::new();
    for (name, number) in held {
        let step = json!({"op": "GET_INSTANCE", "args": {"instance_id": name}});
        let begin = Instant::now();
        let mut fate = Fate::of(operator.ask(&step)?);
        while matches!(fate, Fate::Nothing(_)) && begin.elapsed() < PATIENCE {
            fate = Fate::of(operator.ask(&step)?);
        }
        let found = match &fate {
            Fate::Done(answer) => answer.pointer("/ctx/v").or(answer.pointer("/ctx/n")),
            _ => None,
        };
        if found.and_then(Value::as_u64) != Some(*number) {
            wrong.push(format!("{name} gets {fate:?}, and was shown with {number}"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

/// Reads at a node that is cut off, which are stale when asked for with `read=any`: the checker has to find them, and
/// without that word the node must answer nothing.
fn stale_reads_are_found(group: &mut Group, rust: &Language) -> Result<(), String> {
    let create = json!({"op": "CREATE_INSTANCE", "args": {"instance_id": PLANTED, "machine": "m",
        "version": 1, "initial_ctx": {"n": 0}, "idempotency_key": PLANTED}});
    let set = json!({"op": "APPLY_EVENT", "args": {"instance_id": PLANTED, "event": "SET",
        "payload": {"n": STALE}, "idempotency_key": "stale"}});
    let read = json!({"op": "GET_INSTANCE", "args": {"instance_id": PLANTED}});
    let done = |fate: Fate| match fate {
        Fate::Done(answer) => Ok(answer),
        other => Err(format!("a planted step got {other:?}")),
    };
    done(Fate::of(group.operator.ask(&create)?))?;
    let members = group.members().ok_or("nobody leads")?;
    let place = (members.leader + 1) % group.nodes.len();
    let machine = group.clients()[1];
    let (any, fresh) = (url(std::iter::once(place), "&read=any"), url(std::iter::once(place), ""));
    let mut stale = Client::start(&group.world, machine, rust, &any);
    let mut strict = Client::start(&group.world, machine, rust, &fresh);
    let begin = Instant::now();
    // Before it is cut off it has the instance.
    while !matches!(Fate::of(stale.ask(&read)?), Fate::Done(_)) {
        if begin.elapsed() > PATIENCE {
            return Err("the planted instance does not come to a follower".to_owned());
        }
        breath();
    }
    let others = (0..group.nodes.len()).filter(|other| *other != place);
    let cuts = others
        .flat_map(|other| [(place, other), (other, place), (machine, other), (other, machine)]);
    let cuts: Vec<(usize, usize)> = cuts.collect();
    cuts.iter().for_each(|(from, to)| group.world.cut(*from, *to));
    let now = || begin.elapsed();
    let (from, written) = (now(), done(Fate::of(group.operator.ask(&set)?)));
    let write = entry(0, from, Some(now()), Step::Write(STALE));
    // The client may know other nodes, which it tries in vain.
    let (mut from, mut answer) = (now(), Fate::of(stale.ask(&read)?));
    while !matches!(answer, Fate::Done(_)) && begin.elapsed() < PATIENCE {
        (from, answer) = (now(), Fate::of(stale.ask(&read)?));
    }
    let to = now();
    let refused = Fate::of(strict.ask(&read)?);
    cuts.iter().for_each(|(from, to)| group.world.mend(*from, *to));
    written?;
    let number = done(answer)?.pointer("/ctx/n").and_then(Value::as_u64).unwrap_or_default();
    let history = [write, entry(1, from, Some(to), Step::Read(number))];
    if registers::fault(&history).is_none() {
        return Err(format!("a stale read, of {number}, was not found by the checker"));
    }
    match refused {
        Fate::Done(answer) => Err(format!("a node that is cut off answered {answer}")),
        _ => Ok(()),
    }
}
