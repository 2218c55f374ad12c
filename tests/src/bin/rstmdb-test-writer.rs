//! Writes to a database from several threads and prints what was acknowledged, until it is killed.
//!
//! Arguments: directory, fsync policy, round. Each line is `thread number offset`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;

use rstmdb_engine::{Engine, Location};
use rstmdb_testkit::writer::{THREADS, begin, event, options};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, directory, fsync, round] = &arguments[..] else { panic!("directory fsync round") };
    let round: u64 = round.parse().unwrap();
    let engine =
        Engine::open(Location::directory(directory), options(fsync.parse().unwrap())).unwrap();
    begin(&engine);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let engine = &engine;
            scope.spawn(move || {
                for number in 0u64.. {
                    let answer = engine.apply_event(event(thread, round, number)).wait().unwrap();
                    let line = format!("{thread} {number} {}\n", answer.wal_offset);
                    // One call a line, so that none is printed in half.
                    std::io::stdout().write_all(line.as_bytes()).unwrap();
                    std::io::stdout().flush().unwrap();
                }
            });
        }
    });
}
