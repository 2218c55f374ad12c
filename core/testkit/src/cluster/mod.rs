//! Several engines on disks that fail, a network in memory, and a driver by hand: a log that is agreed on as Raft
//! would, in one thread, by a seed. After each step all is compared with what was committed so far.

pub mod look;
mod network;
mod node;
pub mod oracle;
pub mod pair;

use std::sync::Arc;

use rstmdb_engine::Engine;
use rstmdb_engine::replication::LeaderHint;
use rstmdb_types::error::reason;
use rstmdb_types::{ApplyEventRequest, GetInstanceRequest};
use serde_json::json;

use crate::calls::behind;
use crate::faulty::{Crash, Rng};
use network::{Message, Network, Reply};
use node::{Asked, Lead, Node};
use oracle::Oracle;

/// Instances that events go to.
const INSTANCES: u64 = 4;
/// Bytes of frames in one message.
const MESSAGE_BYTES: usize = 2048;

/// What may happen.
#[derive(Debug, Clone, Copy)]
pub struct Faults {
    /// Nodes lose power, in the middle of a call too.
    pub crashes: bool,
    /// Messages are lost, late, doubled; nodes are cut off.
    pub network: bool,
    /// Proposals are refused now and then.
    pub refusals: bool,
}

/// A group of nodes under simulation.
pub struct Cluster {
    nodes: Vec<Node>,
    network: Network,
    rng: Rng,
    faults: Faults,
    oracle: Oracle,
    /// The number of the next event.
    number: u64,
    steps: u64,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cluster({} nodes, step {})", self.nodes.len(), self.steps)
    }
}

impl Cluster {
    /// So many nodes; the first was a database alone before.
    #[must_use]
    pub fn new(seed: u64, size: usize, faults: Faults) -> Cluster {
        let mut rng = Rng::new(seed);
        let first = Node::converted(1, rng.next_u64(), INSTANCES);
        let database = first.engine().replication().database();
        let mut nodes = vec![first];
        for id in 2..=size {
            nodes.push(Node::empty(id as u16, rng.next_u64(), database));
        }
        // They join with what the first one had alone.
        let (first, others) = nodes.split_at_mut(1);
        others.iter_mut().for_each(|node| node.join(&first[0]));
        let network = Network::new(size);
        let oracle = Oracle::default();
        Cluster { nodes, network, rng, faults, oracle, number: 0, steps: 0 }
    }

    /// Lets so many things happen, then heals all, and compares the nodes in the end.
    pub fn run(&mut self, steps: u64) {
        for _ in 0..steps {
            self.steps += 1;
            self.step();
            self.check();
        }
        self.heal();
    }

    /// How many changes were acknowledged, refused for certain, left open, and how often somebody began to lead.
    #[must_use]
    pub fn figures(&self) -> [u64; 4] {
        self.oracle.figures()
    }

    fn step(&mut self) {
        let node = self.rng.index(self.nodes.len());
        let leader = (0..self.nodes.len()).find(|node| self.leads(*node));
        // Who asks mostly knows whom to ask.
        let asked = leader.filter(|_| self.rng.chance(850)).unwrap_or(node);
        match self.rng.below(200) {
            0 => self.elect(node),
            1..=2 if self.faults.network => self.network.partition(&mut self.rng),
            3..=8 => self.network.heal(),
            9 if self.faults.crashes => self.cut_power(node),
            10..=11 if self.faults.crashes => {
                let calls = self.nodes[node].disk.mutating_calls() + 1 + self.rng.below(12);
                self.nodes[node].disk.crash_in_call(calls);
            }
            12..=15 => self.nodes[node].mark(),
            16..=110 => self.write(asked),
            111..=150 => self.read(asked),
            _ => {}
        }
        for _ in 0..self.rng.below(4) {
            self.deliver();
        }
        if self.rng.chance(500) {
            let leads = (0..self.nodes.len()).filter(|node| self.nodes[*node].lead.is_some());
            let leads: Vec<_> = leads.collect();
            leads.iter().for_each(|leader| self.drive(*leader));
            if leads.is_empty() && self.rng.chance(200) {
                self.elect(node);
            }
        }
        for node in 0..self.nodes.len() {
            if !self.nodes[node].disk.is_on() {
                self.restart(node);
            }
        }
    }

    fn leads(&self, node: usize) -> bool {
        self.nodes[node].lead.as_ref().is_some_and(|lead| lead.is_ready)
    }

    /// Somebody wants to change something, at whichever node.
    fn write(&mut self, node: usize) {
        self.number += 1;
        let (number, instance) = (self.number, self.rng.below(INSTANCES));
        let id = format!("i{instance}");
        // Some are repeated, elsewhere too, with their key.
        let key = match self.rng.below(3) {
            0 => self.oracle.open_key(&mut self.rng),
            1 => Some((format!("k{number}"), id.clone(), number)),
            _ => None,
        };
        let (id, number) =
            key.as_ref().map_or((id, number), |(_, id, number)| (id.clone(), *number));
        let mut request =
            ApplyEventRequest::new(id.as_str(), "E").with_payload(json!({"n": number}));
        if let Some((key, ..)) = &key {
            request = request.with_key(key.as_str());
        }
        let engine = self.nodes[node].engine();
        let pending = engine.begin(request).held_by(engine.clone());
        let key = key.map(|(key, ..)| key);
        self.nodes[node].asked.push(Asked::Write { pending, id, number, key });
    }

    fn read(&mut self, node: usize) {
        let id = format!("i{}", self.rng.below(INSTANCES));
        let request = GetInstanceRequest { instance_id: id.as_str().into() };
        let pending = behind(self.nodes[node].engine(), request);
        self.nodes[node].asked.push(Asked::Read { pending, id });
    }

    /// A node wants to lead: those it reaches vote, as they would in Raft.
    fn elect(&mut self, candidate: usize) {
        let term = self.nodes[candidate].term + 1;
        if !self.nodes[candidate].vote(term) {
            return;
        }
        let tip = self.nodes[candidate].engine().replication().tip();
        let mut votes = 1;
        for voter in 0..self.nodes.len() {
            if voter == candidate || !self.network.reaches(candidate, voter, &mut self.rng) {
                continue;
            }
            let of_voter = self.nodes[voter].engine().replication().tip();
            let is_behind = (of_voter.term, of_voter.index) <= (tip.term, tip.index);
            if term > self.nodes[voter].term && is_behind && self.nodes[voter].vote(term) {
                votes += 1;
            }
        }
        if votes * 2 > self.nodes.len() && self.nodes[candidate].disk.is_on() {
            self.oracle.elected(term, candidate);
            let next = tip.index + 1;
            let lead = Lead::new(term, next, self.nodes.len());
            self.nodes[candidate].lead = Some(lead);
            self.nodes[candidate].barrier();
        }
    }

    /// A leader passes on what was proposed, sends what its peers lack, and commits.
    fn drive(&mut self, node: usize) {
        let refuses = self.faults.refusals;
        if self.nodes[node].lead.is_none() || !self.nodes[node].disk.is_on() {
            return;
        }
        self.nodes[node].take_proposals(&mut self.rng, refuses);
        for peer in (0..self.nodes.len()).filter(|peer| *peer != node) {
            let Some(message) = self.nodes[node].message(peer, MESSAGE_BYTES) else { continue };
            self.network.send(
                node,
                peer,
                Message::Append(message),
                self.faults.network,
                &mut self.rng,
            );
        }
        self.nodes[node].advance();
    }

    /// A message comes to where it was sent.
    fn deliver(&mut self) {
        let Some((from, to, message)) = self.network.take(&mut self.rng) else { return };
        if !self.nodes[to].disk.is_on() {
            return;
        }
        match message {
            Message::Append(append) => {
                let hint = LeaderHint { node: from as u16 + 1, address: format!("node-{from}") };
                if let Some(reply) = self.nodes[to].receive(append, hint) {
                    let reply = Message::Reply(reply);
                    self.network.send(to, from, reply, self.faults.network, &mut self.rng);
                }
            }
            Message::Reply(Reply { term, index, is_there }) => {
                if term > self.nodes[to].term {
                    self.nodes[to].vote(term);
                }
                self.nodes[to].heard(from, term, index, is_there);
            }
        }
    }

    fn cut_power(&mut self, node: usize) {
        self.nodes[node].disk.power_off();
    }

    fn restart(&mut self, node: usize) {
        let how = match self.rng.below(3) {
            0 => Crash::KEEP_NONE,
            _ => Crash::seeded(self.rng.next_u64()),
        };
        self.nodes[node].restart(how, &mut self.oracle);
    }

    /// What must hold at every moment.
    fn check(&mut self) {
        for node in &mut self.nodes {
            if node.disk.is_on() {
                node.settle(&mut self.oracle);
                node.compare(&mut self.oracle, self.steps.is_multiple_of(8));
            }
        }
    }

    /// Ends all faults; all nodes come to the same, which holds all that was acknowledged.
    fn heal(&mut self) {
        self.faults = Faults { crashes: false, network: false, refusals: false };
        self.network.heal();
        for node in 0..self.nodes.len() {
            self.nodes[node].disk.power_off();
            self.restart(node);
        }
        for round in 0.. {
            assert!(round < 2000, "the nodes do not come to an end");
            let leader = (0..self.nodes.len()).find(|node| self.leads(*node));
            match leader {
                Some(leader) => self.drive(leader),
                None if round % 10 == 0 => {
                    let node = self.rng.index(self.nodes.len());
                    self.elect(node);
                }
                None => (0..self.nodes.len()).for_each(|node| self.drive(node)),
            }
            (0..8).for_each(|_| self.deliver());
            self.check();
            let tips: Vec<_> =
                self.nodes.iter().map(|node| node.engine().replication().tip()).collect();
            let is_same = |tip: &rstmdb_engine::replication::LogTip| {
                (tip.index, tip.chain, tip.committed)
                    == (tips[0].index, tips[0].chain, tips[0].index)
            };
            if leader.is_some() && tips.iter().all(is_same) {
                break;
            }
        }
        for node in &mut self.nodes {
            node.settle(&mut self.oracle);
            node.compare(&mut self.oracle, true);
        }
        self.oracle.end();
    }
}

/// Whether an error says for certain that nothing happened.
fn is_certain(error: &rstmdb_types::Error) -> bool {
    matches!(error.reason(), Some(reason::NOT_LEADER))
}

/// The engine that a node runs.
type Running = Arc<Engine>;
