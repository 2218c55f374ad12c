//! An image of the disk before every call that changes it.

use std::sync::{Arc, Mutex};

use rstmdb_testkit::faulty::{DiskImage, FaultyStorage, When};

/// A moment at which the power may go.
#[derive(Debug, Clone)]
pub struct Moment {
    /// The disk, with all that is pending.
    pub disk: DiskImage,
    /// What was known then.
    pub known: Known,
}

/// What callers knew at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known {
    /// Everything up to here was acknowledged or shown.
    pub shown: u64,
    /// What a power cut may not take back; under `every_write` the same.
    pub safe: u64,
    /// Commands handed in.
    pub submitted: usize,
    /// The clock.
    pub now_ms: i64,
}

#[derive(Default)]
struct Notes {
    known: Known,
    moments: Vec<Moment>,
}

impl Notes {
    fn record(&mut self, disk: &FaultyStorage) {
        self.moments.push(Moment { disk: disk.image(), known: self.known });
    }
}

/// Keeps the moments between the calls of a simulated disk.
pub struct Recorder {
    /// The disk.
    pub disk: FaultyStorage,
    notes: Arc<Mutex<Notes>>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recorder({} moments)", self.notes.lock().unwrap().moments.len())
    }
}

impl Recorder {
    /// Begins with what is known so far.
    pub fn new(disk: FaultyStorage, known: Known) -> Recorder {
        let notes = Arc::new(Mutex::new(Notes { known, moments: Vec::new() }));
        let kept = notes.clone();
        disk.observe(move |disk, when, call, _| {
            if when == When::Before && call.is_mutating() {
                kept.lock().unwrap().record(disk);
            }
        });
        Recorder { disk, notes }
    }

    /// What is known at this moment.
    pub fn known(&self) -> Known {
        self.notes.lock().unwrap().known
    }

    /// Changes what is known from now on.
    pub fn know(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.notes.lock().unwrap().known);
    }

    /// The moments so far and the present one.
    pub fn moments(&self) -> Vec<Moment> {
        let mut notes = self.notes.lock().unwrap();
        notes.record(&self.disk);
        notes.moments.clone()
    }
}
