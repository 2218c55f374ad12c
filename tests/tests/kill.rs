//! A process that is killed while its threads write: nothing that it was told was done is lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use rstmdb_engine::{Engine, Location};
use rstmdb_testkit::faulty::Rng;
use rstmdb_testkit::seeds::is_soak;
use rstmdb_testkit::writer::{THREADS, event, events, key, options};

/// Lets a process write until it has printed so many lines, kills it, and returns all it printed.
fn write_and_kill(directory: &str, fsync: &str, round: u64, lines: u64) -> Vec<[u64; 3]> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_rstmdb-test-writer"))
        .args([directory, fsync, &round.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    for _ in 0..lines {
        assert!(output.read_line(&mut text).unwrap() > 0, "the writer ended by itself");
    }
    // The kill comes wherever its threads are.
    child.kill().unwrap();
    output.read_to_string(&mut text).unwrap();
    child.wait().unwrap();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let line = |line: &str| {
        let numbers: Vec<u64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
        numbers.try_into().unwrap()
    };
    whole.lines().map(line).collect()
}

#[test]
fn a_killed_process_loses_nothing_it_acknowledged() {
    let rounds = if is_soak() { 300 } else { 10 };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let mut rng = Rng::new(1);
    let mut acknowledged = 0;
    for round in 0..rounds {
        let fsync = ["every_write", "every_n:20", "every_ms:5", "never"][round as usize % 4];
        let told = write_and_kill(path, fsync, round, 1 + rng.below(800));
        let engine =
            Engine::open(Location::directory(path), options(fsync.parse().unwrap())).unwrap();
        let found = events(&engine);
        let mut next = [0; THREADS as usize];
        for [thread, number, offset] in &told {
            let found = found.get(&key(*thread, round, *number));
            assert_eq!(found, Some(offset), "{fsync}, round {round}, thread {thread}, {number}");
            next[*thread as usize] = number + 1;
        }
        acknowledged += told.len();
        // The request whose answer was cut off, once more: it happens once in all.
        for (thread, number) in (0..).zip(next) {
            let there = found.get(&key(thread, round, number));
            let answer = engine.apply_event(event(thread, round, number)).wait().unwrap();
            assert_eq!(answer.applied, there.is_none());
            assert!(there.is_none_or(|offset| *offset == answer.wal_offset));
        }
        events(&engine);
        engine.close().unwrap();
    }
    println!("{rounds} kills, {acknowledged} acknowledged events");
}
