//! The server over the network, beside the published rstmdb 0.3.0, Redis, PostgreSQL and a server
//! that does nothing.
//!
//! One load for all of them, on the same two processors: many connections driven by one thread,
//! requests encoded before the clock starts, contestants taking turns.

mod cluster;
mod durable;
mod etcd;
mod failover;
mod footprint;
mod load;
mod nodes;
pub mod null;
mod postgres;
mod rcp;
mod reads;
mod redis;
mod replicas;
mod server;
mod site;
mod sizes;
mod start;
mod watchers;
mod watches;
mod wire;

use std::sync::OnceLock;
use std::time::Duration;

use crate::Group;
use crate::measure::{Samples, Scale as Sizes};
use load::{Load, Outcome};
use server::{Programs, Server};

/// All groups; `network` alone means each of them.
pub const GROUPS: [Group; 9] = [
    ("network:durable", durable::run),
    ("network:reads", reads::run),
    ("network:sizes", sizes::run),
    ("network:watches", watches::run),
    ("network:footprint", footprint::run),
    ("network:start", start::run),
    ("network:cluster", cluster::run),
    ("network:failover", failover::run),
    ("network:replicas", replicas::run),
];

/// A server of this repository as it comes, with its data in a folder.
pub fn our_server(folder: &std::path::Path) -> Server {
    let settings = server::as_it_comes("rstmdb", "every_write");
    Server::rcp(&server::ours(), folder, &settings)
}

/// How large and how long. A quick run is shorter, not smaller: its ratios mean something.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    pub rounds: usize,
    pub warm_up: Duration,
    pub round: Duration,
    /// Instances that transitions are spread over.
    pub instances: usize,
    pub few: usize,
    pub many: usize,
    pub listed: usize,
    pub million: usize,
    /// How long a watcher reads nothing.
    pub pause: Duration,
    pub idle_connections: usize,
    pub idle_watchers: usize,
    /// Of each kind.
    pub failovers: usize,
}

impl Scale {
    fn of(sizes: &Sizes) -> Scale {
        let full = Scale {
            rounds: 5,
            warm_up: Duration::from_millis(500),
            round: Duration::from_secs(2),
            instances: 10_000,
            few: 1_000,
            many: 500_000,
            listed: 100_000,
            million: 1_000_000,
            pause: Duration::from_secs(30),
            idle_connections: 10_000,
            idle_watchers: 1_000,
            failovers: 100,
        };
        let quick = Scale {
            rounds: 2,
            warm_up: Duration::from_millis(200),
            round: Duration::from_millis(600),
            pause: Duration::from_secs(4),
            failovers: 5,
            ..full
        };
        if sizes.quick { quick } else { full }
    }
}

fn programs() -> &'static Programs {
    static PROGRAMS: OnceLock<Programs> = OnceLock::new();
    PROGRAMS.get_or_init(Programs::find)
}

/// A server under load.
struct Contestant<'a> {
    server: &'a Server,
    load: Load,
    in_flight: usize,
}

/// A round is divided into so many turns of each contestant: a machine's speed changes within seconds.
const TURNS: u32 = 4;

/// Rates of each contestant, turn by turn; what is behind them goes to standard error.
fn take_turns(scale: &Scale, case: &str, contestants: &mut [Contestant<'_>]) -> Vec<Samples> {
    let mut samples = vec![Samples::default(); contestants.len()];
    let mut lines = vec![String::new(); contestants.len()];
    let (warm_up, time) = (scale.warm_up / TURNS, scale.round / TURNS);
    for turn in 0..=scale.rounds * TURNS as usize {
        let mut order: Vec<usize> = (0..contestants.len()).collect();
        // Who comes after another finds another machine: each comes first as often.
        if turn % 2 == 0 {
            order.reverse();
        }
        for i in order {
            let Contestant { server, load, in_flight } = &mut contestants[i];
            let before = server.processor_seconds();
            let outcome = load.run(*in_flight, warm_up, time);
            // The server's time includes the warm-up.
            let share = outcome.seconds / (outcome.seconds + warm_up.as_secs_f64());
            let processor = (server.processor_seconds() - before) * share;
            lines[i] = describe(&server.name, &outcome, processor);
            // The first turn is a warm-up.
            if turn > 0 {
                samples[i].0.push(outcome.per_second());
            }
        }
    }
    eprintln!("{case}, the last of the turns:");
    for line in lines {
        eprintln!("{line}");
    }
    samples
}

/// Rate, latencies, and who needed how much processor time for a request.
fn describe(name: &str, outcome: &Outcome, server_seconds: f64) -> String {
    let answers = outcome.answers as f64;
    format!(
        "  {name}: {:.0}/s, p50 {} us, p99 {} us, p99.9 {} us; processor time for each: server \
         {:.1} us, load {:.1} us",
        outcome.per_second(),
        outcome.latencies.value_at_quantile(0.5),
        outcome.latencies.value_at_quantile(0.99),
        outcome.latencies.value_at_quantile(0.999),
        server_seconds / answers * 1e6,
        outcome.processor_seconds / answers * 1e6,
    )
}

/// Allows as many open files as the system lets this process have; children inherit it.
fn allow_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

#[cfg(test)]
mod tests;
