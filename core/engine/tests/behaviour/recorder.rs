//! A storage that keeps an image of the disk before every call that changes it.

use std::io;
use std::sync::{Arc, Mutex};

use rstmdb_engine::storage::{DirectoryLock, File, Storage};
use rstmdb_testkit::faulty::{DiskImage, FaultyStorage};

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

/// Passes calls on to a simulated disk and keeps the moments between them.
#[derive(Clone)]
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
        self.record();
        self.notes.lock().unwrap().moments.clone()
    }

    fn record(&self) {
        let disk = self.disk.image();
        let mut notes = self.notes.lock().unwrap();
        let known = notes.known;
        notes.moments.push(Moment { disk, known });
    }

    fn file(&self, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(RecordedFile { recorder: self.clone(), file })
    }
}

impl Storage for Recorder {
    fn create(&self, path: &str) -> io::Result<Arc<dyn File>> {
        self.record();
        self.disk.create(path).map(|file| self.file(file))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        self.disk.open(path).map(|file| self.file(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.record();
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.record();
        self.disk.remove(path)
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        self.disk.list(directory)
    }

    fn create_dir(&self, directory: &str) -> io::Result<()> {
        self.record();
        self.disk.create_dir(directory)
    }

    fn sync_dir(&self, directory: &str) -> io::Result<()> {
        self.record();
        self.disk.sync_dir(directory)
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        self.disk.free_bytes()
    }

    fn lock(&self) -> io::Result<Result<Box<dyn DirectoryLock>, String>> {
        self.disk.lock()
    }
}

struct RecordedFile {
    recorder: Recorder,
    file: Arc<dyn File>,
}

impl File for RecordedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<usize> {
        self.recorder.record();
        self.file.write_at(data, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.recorder.record();
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.recorder.record();
        self.file.set_len(length)
    }
}
