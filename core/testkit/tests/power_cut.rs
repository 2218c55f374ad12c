//! What a real kernel and a real file system lose when the power is cut.
//!
//! Needs root and loop devices; skips itself, with a message, where it cannot run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use rstmdb_engine::storage::{FileStorage, Storage};
use rstmdb_testkit::shutdown_fs::ShutdownFs;

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
