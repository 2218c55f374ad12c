//! What goes wrong with a group, and how it is put right again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rstmdb_testkit::faulty::Rng;
use rustix::process::Signal;
use serde_json::json;

use crate::client::breath;
use crate::group::{Group, Members};
use crate::world::World;

/// A node with a damaged log has come to a decision within this.
const PATIENCE: Duration = Duration::from_secs(30);

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Fewer than half of the nodes, with the clients of one machine, reach the others no more.
    Partition,
    /// A node reaches nobody, but is reached; or the other way round.
    OneWay,
    /// Much of what goes from and to a node is lost, in bursts.
    Loss,
    /// A process hangs, as under a debugger.
    Pause,
    /// `kill -9` of one.
    Kill,
    /// `kill -9` of all at once.
    KillAll,
    /// A node's power is cut: what it had not synced is lost, all or some of it.
    PowerCut,
    /// All lose power at once.
    PowerCutOfAll,
    /// A stop in order.
    Stop,
    /// Another one is to lead.
    Transfer,
    /// A node is removed, its directory is lost, and it comes back as another one.
    Replace,
    /// While a node is away, a bit of its log turns over.
    Flip,
    /// A checkpoint is written and log is deleted.
    Compact,
    /// Calls on the disk of a node take longer than an election.
    SlowDisk,
    /// The disk of a node is full.
    FullDisk,
    /// The clock of a node is off.
    Clock,
}

/// All that can be; the second list takes a C compiler.
const KINDS: &[Kind] = &[
    Kind::Partition,
    Kind::OneWay,
    Kind::Loss,
    Kind::Pause,
    Kind::Kill,
    Kind::KillAll,
    Kind::Stop,
    Kind::Transfer,
    Kind::Replace,
    Kind::Flip,
    Kind::Compact,
];
const PRELOADED: &[Kind] =
    &[Kind::PowerCut, Kind::PowerCutOfAll, Kind::SlowDisk, Kind::FullDisk, Kind::Clock];

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Kind, String> {
        let all = || KINDS.iter().chain(PRELOADED).copied();
        all().find(|kind| format!("{kind:?}") == text).ok_or_else(|| {
            format!("there is no fault {text:?}, but {:?}", all().collect::<Vec<_>>())
        })
    }
}

/// So many kinds, drawn so that each comes before any comes again.
pub fn draw(rng: &mut Rng, count: usize, only: &[Kind], has_preload: bool) -> Vec<Kind> {
    let all = match only {
        [] => [KINDS, if has_preload { PRELOADED } else { &[] }].concat(),
        only => only.to_vec(),
    };
    let mut drawn = Vec::new();
    while drawn.len() < count {
        let mut round = all.clone();
        while !round.is_empty() && drawn.len() < count {
            drawn.push(round.remove(rng.index(round.len())));
        }
    }
    drawn
}

/// A fault that lasts.
#[derive(Debug)]
pub struct Fault {
    /// What it is, for people.
    pub name: String,
    remedy: Remedy,
}

#[derive(Debug)]
enum Remedy {
    Mend(Vec<(usize, usize)>),
    Resume(usize),
    Start(Vec<usize>),
    /// As the node of this number at this place, or as another one.
    StartDamaged(usize, u64),
    Calm(Storm),
    Work(usize, &'static str),
    SetClock(usize),
    Nothing,
}

/// Loses packets until it is told not to.
#[derive(Debug)]
struct Storm {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Storm {
    fn new(world: Arc<World>, host: usize, mut rng: Rng) -> Storm {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let thread = std::thread::spawn(move || {
            let others: Vec<usize> = (0..world.size()).filter(|other| *other != host).collect();
            while !over.load(Ordering::Acquire) {
                let other = others[rng.index(others.len())];
                let (from, to) = if rng.chance(500) { (host, other) } else { (other, host) };
                world.cut(from, to);
                std::thread::park_timeout(Duration::from_millis(1 + rng.below(25)));
                world.mend(from, to);
                std::thread::park_timeout(Duration::from_millis(rng.below(10)));
            }
        });
        Storm { is_over, thread }
    }
}

/// Brings a fault about. None when there is nothing that it could happen to.
pub fn begin(kind: Kind, group: &mut Group, rng: &mut Rng) -> Option<Fault> {
    let size = group.nodes.len();
    let members = group.members();
    // Whoever leads is hit as often as anybody else together.
    let place = match &members {
        Some(members) if rng.chance(500) => members.leader,
        _ => rng.index(size),
    };
    let fault = |text: String, remedy| Some(Fault { name: format!("{kind:?} {text}"), remedy });
    match kind {
        Kind::Partition => {
            let mut side = vec![place];
            while side.len() < size / 2 && rng.chance(500) {
                let other = rng.index(size);
                if !side.contains(&other) {
                    side.push(other);
                }
            }
            let text = format!("of {side:?}");
            side.push(group.clients()[rng.index(2)]);
            let others = (0..size + 2).filter(|host| !side.contains(host));
            let cuts = others.flat_map(|a| side.iter().flat_map(move |b| [(a, *b), (*b, a)]));
            let cuts: Vec<(usize, usize)> = cuts.collect();
            cuts.iter().for_each(|(from, to)| group.world.cut(*from, *to));
            fault(text, Remedy::Mend(cuts))
        }
        Kind::OneWay => {
            let others = (0..size).filter(|host| *host != place);
            let is_deaf = rng.chance(500);
            let cuts = others.map(|other| if is_deaf { (other, place) } else { (place, other) });
            let cuts: Vec<(usize, usize)> = cuts.collect();
            cuts.iter().for_each(|(from, to)| group.world.cut(*from, *to));
            fault(format!("{} {place}", if is_deaf { "to" } else { "from" }), Remedy::Mend(cuts))
        }
        Kind::Loss => {
            let storm = Storm::new(group.world.clone(), place, Rng::new(rng.next_u64()));
            fault(format!("at {place}"), Remedy::Calm(storm))
        }
        Kind::Pause => {
            group.nodes[place].signal(Signal::STOP);
            fault(format!("of {place}"), Remedy::Resume(place))
        }
        Kind::Kill => {
            group.nodes[place].kill();
            fault(format!("of {place}"), Remedy::Start(vec![place]))
        }
        Kind::KillAll => {
            group.nodes.iter_mut().for_each(crate::node::Node::kill);
            fault(String::new(), Remedy::Start((0..size).collect()))
        }
        Kind::PowerCut => {
            let lost = cut_power(group, &[place], rng);
            fault(format!("of {place}: {lost}"), Remedy::Start(vec![place]))
        }
        Kind::PowerCutOfAll => {
            let places: Vec<usize> = (0..size).collect();
            fault(cut_power(group, &places, rng), Remedy::Start(places))
        }
        Kind::Stop => {
            let ended = group.nodes[place].stop().err().unwrap_or_default();
            fault(format!("of {place} {ended}"), Remedy::Start(vec![place]))
        }
        Kind::Transfer => {
            let Members { leader, numbers, .. } = members?;
            let to = (leader + 1 + rng.index(size - 1)) % size;
            let said = group.order("CLUSTER_TRANSFER", json!({"to": numbers.get(&to)?}));
            fault(format!("from {leader} to {to}: {said:?}"), Remedy::Nothing)
        }
        Kind::Replace => {
            let Members { leader, numbers, .. } = members?;
            let gone = (leader + 1 + rng.index(size - 1)) % size;
            group.nodes[gone].kill();
            let said = group.expel(gone, *numbers.get(&gone)?);
            fault(format!("of {gone}: {said:?}"), Remedy::Start(vec![gone]))
        }
        Kind::Flip => {
            let number = *members?.numbers.get(&place)?;
            group.nodes[place].kill();
            let flipped = group.nodes[place].flip_bit(rng).unwrap_or_else(|| "nowhere".to_owned());
            fault(format!("of {place}: {flipped}"), Remedy::StartDamaged(place, number))
        }
        Kind::Compact => {
            let said = group.order("COMPACT", json!({}));
            let word = if said.is_ok() { "done" } else { "refused" };
            fault(word.to_owned(), Remedy::Nothing)
        }
        Kind::SlowDisk => {
            group.nodes[place].fail("sync", "hold");
            fault(format!("of {place}"), Remedy::Work(place, "sync"))
        }
        Kind::FullDisk => {
            group.nodes[place].fail("write", "ENOSPC");
            fault(format!("of {place}"), Remedy::Work(place, "write"))
        }
        Kind::Clock => {
            let hours = 1 + i64::try_from(rng.below(47)).unwrap_or(0);
            let ms = hours * 3_600_000 * if rng.chance(500) { 1 } else { -1 };
            group.nodes[place].shift_clock(ms);
            fault(format!("of {place} by {} h", ms / 3_600_000), Remedy::SetClock(place))
        }
    }
}

/// Cuts the power of nodes, while much is on its way to their disks.
fn cut_power(group: &mut Group, places: &[usize], rng: &mut Rng) -> String {
    places.iter().for_each(|place| group.nodes[*place].fail("sync", "hold"));
    std::thread::park_timeout(Duration::from_millis(rng.below(100)));
    // All of them before anything is taken back.
    places.iter().for_each(|place| group.nodes[*place].kill());
    let lost = places.iter().map(|place| {
        group.nodes[*place].work("sync");
        group.nodes[*place].lose_unsynced(rng)
    });
    lost.collect::<Vec<_>>().join("; ")
}

impl Fault {
    /// Puts it right; what was wrong with that.
    pub fn end(self, group: &mut Group) -> Option<String> {
        match self.remedy {
            Remedy::Mend(cuts) => cuts.iter().for_each(|(from, to)| group.world.mend(*from, *to)),
            Remedy::Resume(place) => group.nodes[place].signal(Signal::CONT),
            Remedy::Start(places) => places.into_iter().for_each(|place| group.start_node(place)),
            Remedy::StartDamaged(place, number) => {
                return start_damaged(group, place, number).err();
            }
            Remedy::Calm(Storm { is_over, thread }) => {
                is_over.store(true, Ordering::Release);
                if thread.join().is_err() {
                    return Some("the storm broke".to_owned());
                }
            }
            Remedy::Work(place, call) => {
                group.nodes[place].work(call);
                // A disk that was full takes a restart.
                if call == "write" {
                    group.nodes[place].kill();
                    group.start_node(place);
                }
            }
            Remedy::SetClock(place) => group.nodes[place].shift_clock(0),
            Remedy::Nothing => {}
        }
        None
    }
}

/// Starts a node with a log that may be damaged: it says so and takes no part, or the damage is where nothing is read
/// any more.
fn start_damaged(group: &mut Group, place: usize, number: u64) -> Result<(), String> {
    group.start_node(place);
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        if group.nodes[place].says("is damaged at") {
            group.nodes[place].kill();
            group.insist_on_expelling(place, number)?;
            group.start_node(place);
            return Ok(());
        }
        if group.is_whole() {
            return Ok(());
        }
        breath();
    }
    Err(format!("it neither serves nor says why: {}", group.nodes[place].last_words()))
}
