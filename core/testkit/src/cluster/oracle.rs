//! What was committed, shown and promised, and whether it fits together.

use std::collections::{BTreeMap, BTreeSet};

use rstmdb_types::{Offset, WalRecord};
use serde_json::Value;

use crate::faulty::Rng;

/// An event that was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// The instance.
    pub id: String,
    /// The number in its payload, unique but for repeats of a key.
    pub number: u64,
}

/// Remembers all that must stay true.
#[derive(Debug, Default)]
pub struct Oracle {
    /// The bytes of each committed frame.
    frames: BTreeMap<u64, Vec<u8>>,
    /// The bytes of each frame that was in a log, by index and term.
    logged: BTreeMap<(u64, u64), Vec<u8>>,
    /// The chain behind each committed offset that ends a frame.
    history: BTreeMap<Offset, WalRecord>,
    events: BTreeMap<Offset, Happened>,
    /// Acknowledged: where, and what.
    acknowledged: BTreeMap<Offset, Happened>,
    /// Said to have changed nothing.
    refused: BTreeSet<u64>,
    /// Nobody knows.
    open: BTreeMap<String, (String, u64)>,
    unknown: u64,
    /// Shown: the instance, its number and the offset it was at.
    shown: Vec<(String, u64, Offset)>,
    leaders: BTreeMap<u64, usize>,
    answers: BTreeMap<String, Offset>,
    /// Numbers of events that happen together.
    together: Vec<[u64; 2]>,
}

impl Oracle {
    /// How many changes were acknowledged, refused for certain, left open, and how many leaders there were.
    #[must_use]
    pub fn figures(&self) -> [u64; 4] {
        let counts = [self.acknowledged.len(), self.refused.len(), self.leaders.len()];
        let [acknowledged, refused, leaders] = counts.map(|count| count as u64);
        [acknowledged, refused, self.unknown, leaders]
    }

    /// One leader in a term.
    pub fn elected(&mut self, term: u64, node: usize) {
        let before = self.leaders.insert(term, node);
        assert!(before.is_none_or(|before| before == node), "two leaders in term {term}");
    }

    /// A committed frame never changes, on any node.
    pub fn committed(&mut self, index: u64, bytes: Vec<u8>) {
        let known = self.frames.entry(index).or_insert_with(|| bytes.clone());
        assert_eq!(*known, bytes, "the committed frame {index} differs");
    }

    /// Frames of the same index and term are the same, in every log.
    pub fn logged(&mut self, index: u64, term: u64, bytes: Vec<u8>) {
        let known = self.logged.entry((index, term)).or_insert_with(|| bytes.clone());
        assert_eq!(*known, bytes, "the frame {index} of term {term} differs");
    }

    /// What readers find in the log is the same everywhere, without holes, and its time does not fall.
    pub fn read(&mut self, record: &WalRecord) {
        if let Some(known) = self.history.get(&record.offset) {
            assert_eq!(known, record, "offset {} differs", record.offset);
            return;
        }
        if let Some((_, before)) = self.history.last_key_value() {
            assert!(before.timestamp <= record.timestamp, "time falls at {}", record.offset);
            assert_eq!(before.offset + 1, record.offset, "a hole in the offsets");
        }
        self.history.insert(record.offset, record.clone());
        let entry = serde_json::to_value(&record.entry).unwrap();
        if let Some(number) = entry["payload"]["n"].as_u64() {
            let id = entry["instance_id"].as_str().unwrap_or_default().to_owned();
            self.events.insert(record.offset, Happened { id, number });
        }
    }

    /// Two events are of one batch.
    pub fn belong_together(&mut self, numbers: [u64; 2]) {
        self.together.push(numbers);
    }

    /// A change was acknowledged.
    pub fn acknowledge(&mut self, offset: Offset, happened: Happened, key: Option<&str>) {
        if let Some(key) = key {
            let known = *self.answers.entry(key.to_owned()).or_insert(offset);
            assert_eq!(known, offset, "the answer of {key} changed");
            self.open.remove(key);
        }
        self.acknowledged.insert(offset, happened);
    }

    /// A change was refused for certain.
    pub fn refuse(&mut self, number: u64, key: Option<String>) {
        if key.is_none() {
            self.refused.insert(number);
        }
    }

    /// Nobody knows what became of a change.
    pub fn leave_open(&mut self, id: String, number: u64, key: Option<String>) {
        self.unknown += 1;
        if let Some(key) = key {
            self.open.insert(key, (id, number));
        }
    }

    /// A request to be repeated.
    pub fn open_key(&self, rng: &mut Rng) -> Option<(String, String, u64)> {
        let at = rng.index(self.open.len().max(1));
        self.open.iter().nth(at).map(|(key, (id, number))| (key.clone(), id.clone(), *number))
    }

    /// A reader saw an instance.
    pub fn show(&mut self, id: String, ctx: &Value, offset: Offset) {
        if let Some(number) = ctx["n"].as_u64() {
            self.shown.push((id, number, offset));
        }
    }

    /// An instance's number at an offset, by what was committed.
    pub fn expected(&self, id: &str, offset: Offset) -> Option<(u64, Offset)> {
        let mut before = self.events.range(..=offset).rev();
        before.find(|(_, event)| event.id == id).map(|(at, event)| (event.number, *at))
    }

    /// What was committed at an offset.
    pub fn at(&self, offset: Offset) -> Option<&WalRecord> {
        self.history.get(&offset)
    }

    /// The last offset that any node committed.
    pub fn last(&self) -> Offset {
        self.history.last_key_value().map_or(0, |(offset, _)| *offset)
    }

    /// Nothing shown is missing in what was committed, as far as that was read.
    pub fn check_shown(&mut self) {
        let last = self.last();
        for (id, number, offset) in self.shown.extract_if(.., |(.., offset)| *offset <= last) {
            let found = self.events.get(&offset);
            let expected = Happened { id, number };
            assert_eq!(found, Some(&expected), "shown at {offset} and not committed");
        }
    }

    /// In the end: all promises were kept.
    pub fn end(&mut self) {
        self.check_shown();
        assert!(self.shown.is_empty(), "shown and never committed: {:?}", self.shown);
        for (offset, happened) in &self.acknowledged {
            let found = self.events.get(offset);
            assert_eq!(found, Some(happened), "acknowledged at {offset} and lost");
        }
        let mut seen = BTreeSet::new();
        for (offset, event) in &self.events {
            assert!(!self.refused.contains(&event.number), "{offset} was refused: {event:?}");
            assert!(seen.insert(event.number), "{event:?} happened twice, again at {offset}");
        }
        let places: BTreeMap<_, _> =
            self.events.iter().map(|(offset, event)| (event.number, *offset)).collect();
        for [first, second] in &self.together {
            let (first, second) = (places.get(first), places.get(second));
            assert_eq!(first.map(|at| at + 1), second.copied(), "half of a batch");
        }
    }
}
