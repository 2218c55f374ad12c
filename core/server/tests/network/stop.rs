//! A server that is told to stop while clients write: what it answered is there, and it ends well.

use std::sync::mpsc;

use rstmdb_testkit::faulty::Rng;

use crate::writers::{Log, WRITERS, begin, repeat, write};
use crate::{launch, rounds};

#[test]
fn no_answered_request_is_lost_by_a_stop() {
    let directory = tempfile::tempdir().unwrap();
    let mut rng = Rng::new(4);
    let mut log = Log::default();
    let base = launch(directory.path()).set("storage.retention", "forever").on_own_address();
    let rounds = rounds(8, 100);
    for round in 0..rounds {
        // Also where nothing else would sync the log.
        let policy = ["every_write", "never"][round as usize % 2];
        let launch = base.clone().set("storage.fsync_policy", policy);
        let server = launch.start();
        begin(&mut server.wire());
        let (ticks, heard) = mpsc::channel();
        let address = server.address();
        let writers: Vec<_> =
            (0..WRITERS).map(|writer| write(address, round, writer, ticks.clone())).collect();
        for _ in 0..=rng.below(1000) {
            heard.recv().unwrap();
        }
        server.signal(["TERM", "INT"][rng.index(2)]);
        let (code, said) = server.wait();
        assert_eq!(code, Some(0), "{}", said.join("\n"));
        let told: Vec<_> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        let server = launch.start();
        let mut wire = server.wire();
        log.read(&mut wire);
        for told in &told {
            assert!(told.refused.is_empty(), "{:?}", told.refused);
            let open = log.check(round, told);
            // Requests are begun in their order, so those that were not come last.
            assert!(open.is_sorted_by_key(|(_, there)| !there), "{open:?}");
            repeat(&mut wire, told.writer, &open, &log);
        }
        log.read(&mut wire);
        server.stop();
    }
}
