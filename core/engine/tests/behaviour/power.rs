//! A real file system whose power is cut while threads write, under every policy.
//!
//! Needs root and loop devices; skips itself, with a message, where it cannot run.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rstmdb_engine::storage::{FileStorage, Storage};
use rstmdb_engine::{Engine, FsyncPolicy, Location};
use rstmdb_testkit::seeds::is_soak;
use rstmdb_testkit::shutdown_fs::ShutdownFs;
use rstmdb_testkit::writer::{THREADS, begin, event, events, key, options};
use rstmdb_types::{ApplyEventRequest, ErrorKind, WalStatsRequest};

use crate::fixtures::{Old, look, write_files};

/// An acknowledged event: its key and offset.
type Told = (String, u64);

struct Machine {
    fs: ShutdownFs,
    directory: String,
}

impl Machine {
    fn start() -> Option<Machine> {
        match ShutdownFs::create(64) {
            Ok(fs) => {
                let directory = fs.path().join("data").to_str().unwrap().to_owned();
                Some(Machine { fs, directory })
            }
            Err(reason) => {
                println!("skipped: no power to cut here: {reason}");
                None
            }
        }
    }

    fn open(&self, fsync: FsyncPolicy) -> Engine {
        Engine::open(Location::directory(&self.directory), options(fsync)).unwrap()
    }

    /// Writes from all threads and cuts the power after so many answers.
    fn write_and_cut(&mut self, fsync: FsyncPolicy, round: u64, answers: usize) -> Vec<Told> {
        let engine = self.open(fsync);
        begin(&engine);
        let told = Mutex::new(Vec::new());
        let is_on = AtomicBool::new(true);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (engine, told, is_on, fs) = (&engine, &told, &is_on, &self.fs);
                scope.spawn(move || {
                    for number in 0u64.. {
                        let answer = engine.apply_event(event(thread, round, number)).wait();
                        // An answer that comes after the cut has nobody to come to.
                        let Ok(answer) = answer else { return };
                        let mut told = told.lock().unwrap();
                        if !is_on.load(Ordering::SeqCst) {
                            return;
                        }
                        told.push((key(thread, round, number), answer.wal_offset));
                        if told.len() == answers {
                            fs.power_off().unwrap();
                            is_on.store(false, Ordering::SeqCst);
                            return;
                        }
                    }
                });
            }
        });
        let _ = engine.close();
        drop(engine);
        self.fs.power_on().unwrap();
        told.into_inner().unwrap()
    }
}

fn missing(engine: &Engine, told: &[Told]) -> usize {
    let found = events(engine);
    told.iter().filter(|(key, offset)| found.get(key) != Some(offset)).count()
}

fn rounds() -> u64 {
    if is_soak() { 50 } else { 3 }
}

#[test]
fn every_write_loses_nothing() {
    let Some(mut machine) = Machine::start() else { return };
    for round in 0..rounds() {
        let told = machine.write_and_cut(FsyncPolicy::EveryWrite, round, 200);
        let engine = machine.open(FsyncPolicy::EveryWrite);
        assert_eq!(missing(&engine, &told), 0, "of {} in round {round}", told.len());
        engine.close().unwrap();
    }
}

#[test]
fn every_n_loses_less_than_that() {
    let Some(mut machine) = Machine::start() else { return };
    for round in 0..rounds() {
        let told = machine.write_and_cut(FsyncPolicy::EveryN(25), round, 310);
        let engine = machine.open(FsyncPolicy::EveryN(25));
        let missing = missing(&engine, &told);
        assert!(missing < 25, "{missing} of {} are missing in round {round}", told.len());
        engine.close().unwrap();
    }
}

#[test]
fn every_ms_loses_only_what_is_younger() {
    let Some(mut machine) = Machine::start() else { return };
    let policy = FsyncPolicy::EveryMs(5);
    for round in 0..rounds() {
        let engine = machine.open(policy);
        begin(&engine);
        let mut number = 0;
        let mut write = || {
            number += 1;
            let answer = engine.apply_event(event(0, round, number)).wait().unwrap();
            (key(0, round, number), answer.wal_offset)
        };
        let told: Vec<Told> = (0..50).map(|_| write()).collect();
        let syncs = || engine.wal_stats(WalStatsRequest {}).wait().unwrap().io_stats.fsyncs;
        // The second sync from here on begins when the first is done, and that covers all of them.
        let before = syncs();
        while syncs() < before + 2 {
            write();
        }
        machine.fs.power_off().unwrap();
        let _ = engine.close();
        drop(engine);
        machine.fs.power_on().unwrap();
        let engine = machine.open(policy);
        let missing = missing(&engine, &told);
        assert_eq!(missing, 0, "of {} in round {round}", told.len());
        engine.close().unwrap();
    }
}

#[test]
fn never_keeps_what_a_clean_stop_synced() {
    let Some(mut machine) = Machine::start() else { return };
    for round in 0..rounds() {
        let engine = machine.open(FsyncPolicy::Never);
        begin(&engine);
        let first = engine.apply_event(event(0, 200 + round, 0)).wait().unwrap();
        engine.close().unwrap();
        let refused = engine.apply_event(event(0, 200 + round, 1)).wait().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Closed);
        drop(engine);
        machine.write_and_cut(FsyncPolicy::Never, round, 300);
        let engine = machine.open(FsyncPolicy::Never);
        // What is there beyond is whole, which `events` checks.
        assert_eq!(events(&engine).get(&key(0, 200 + round, 0)), Some(&first.wal_offset));
        engine.close().unwrap();
    }
}

#[test]
fn a_power_cut_keeps_what_was_synced_and_loses_what_was_not() {
    let mut fs = match ShutdownFs::create(64) {
        Ok(fs) => fs,
        Err(reason) => {
            println!("skipped: no power to cut here: {reason}");
            return;
        }
    };
    let storage = FileStorage::new(fs.path().join("data"));
    storage.create_dir("").unwrap();
    let held = storage.lock().unwrap().ok();
    assert!(held.is_some());
    let file = storage.create("log").unwrap();
    file.write_all_at(b"durable", 0).unwrap();
    file.sync_data().unwrap();
    storage.sync_dir("").unwrap();
    file.write_all_at(&[9; 5000], 7).unwrap();
    storage.create("unsynced").unwrap();
    fs.power_off().unwrap();
    assert!(file.write_all_at(b"late", 0).and_then(|()| file.sync_data()).is_err());
    drop((file, held));
    fs.power_on().unwrap();

    assert_eq!(storage.list("").unwrap(), ["log"]);
    let file = storage.open("log").unwrap();
    assert_eq!(file.len().unwrap(), 7);
    let mut bytes = [0; 7];
    assert_eq!(file.read_full_at(&mut bytes, 0).unwrap(), 7);
    assert_eq!(&bytes, b"durable");

    storage.create("new.tmp").unwrap();
    storage.rename("new.tmp", "new").unwrap();
    storage.sync_dir("").unwrap();
    drop(file);
    fs.cut().unwrap();
    assert_eq!(storage.list("").unwrap(), ["log", "new"], "a synced rename stays");
}

#[test]
fn the_change_of_format_loses_nothing() {
    let Some(mut machine) = Machine::start() else { return };
    for old in Old::of(1) {
        let directory = machine.fs.path().join(old.name.replace('/', "-"));
        machine.directory = directory.to_str().unwrap().to_owned();
        write_files(&directory, &old.files);
        // Unmounted and mounted again, what an older build left is on the disk.
        machine.fs.power_on().unwrap();
        let cut = |machine: &mut Machine, engine: Engine| {
            machine.fs.power_off().unwrap();
            let _ = engine.close();
            drop(engine);
            machine.fs.power_on().unwrap();
        };
        let opened = machine.open(FsyncPolicy::EveryWrite);
        cut(&mut machine, opened);
        let opened = machine.open(FsyncPolicy::EveryWrite);
        assert_eq!(look(&opened), old.expected, "{}", old.name);
        let told = opened.apply_event(ApplyEventRequest::new("o-1", "ADD")).wait().unwrap();
        assert_eq!(told.wal_offset, old.last() + 1);
        cut(&mut machine, opened);
        let opened = machine.open(FsyncPolicy::EveryWrite);
        let log = opened.wal_stats(WalStatsRequest {}).wait().unwrap();
        assert_eq!(log.latest_offset, told.wal_offset, "{}", old.name);
        opened.close().unwrap();
    }
}
