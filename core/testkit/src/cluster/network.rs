//! Messages between nodes.

use std::collections::VecDeque;

use crate::faulty::Rng;

/// Frames for a node, as they travel.
#[derive(Debug, Clone)]
pub(super) struct Append {
    pub term: u64,
    /// The frame before the first.
    pub before: u64,
    pub before_term: u64,
    pub frames: Vec<Vec<u8>>,
    pub committed: u64,
}

/// What a node has.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub term: u64,
    /// Up to here the logs are the same, and on the disk; or where to look next for the last frame that is.
    pub index: u64,
    pub is_there: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Message {
    Append(Append),
    Reply(Reply),
}

/// What is on its way.
pub(super) struct Network {
    messages: VecDeque<(usize, usize, Message)>,
    /// From whom to whom nothing gets through.
    cut: Vec<Vec<bool>>,
}

impl Network {
    pub(super) fn new(size: usize) -> Network {
        Network { messages: VecDeque::new(), cut: vec![vec![false; size]; size] }
    }

    pub(super) fn heal(&mut self) {
        self.cut.iter_mut().flatten().for_each(|cut| *cut = false);
    }

    /// Cuts some ways, of both directions or of one.
    pub(super) fn partition(&mut self, rng: &mut Rng) {
        let size = self.cut.len();
        let alone = rng.index(size);
        let is_one_way = rng.chance(300);
        for other in (0..size).filter(|other| *other != alone) {
            self.cut[alone][other] = true;
            self.cut[other][alone] = !is_one_way;
        }
    }

    /// Whether a question gets there and back.
    pub(super) fn reaches(&self, from: usize, to: usize, _rng: &mut Rng) -> bool {
        !self.cut[from][to] && !self.cut[to][from]
    }

    pub(super) fn send(
        &mut self,
        from: usize,
        to: usize,
        message: Message,
        is_faulty: bool,
        rng: &mut Rng,
    ) {
        if self.cut[from][to] || (is_faulty && rng.chance(100)) {
            return;
        }
        if is_faulty && rng.chance(50) {
            self.messages.push_back((from, to, message.clone()));
        }
        self.messages.push_back((from, to, message));
        // Those that nobody has taken for long are lost.
        while self.messages.len() > 64 {
            self.messages.pop_front();
        }
    }

    /// One of the next, mostly the first.
    pub(super) fn take(&mut self, rng: &mut Rng) -> Option<(usize, usize, Message)> {
        let late = if rng.chance(200) { rng.index(self.messages.len().max(1)) } else { 0 };
        self.messages.remove(late)
    }
}
