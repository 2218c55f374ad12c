//! Room that small writes are expected in, on real files: nothing that happens to the file ends the process, and
//! what a killed process acknowledged is there.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rstmdb_engine::storage::{File, FileStorage, Storage};
use rstmdb_engine::{Engine, FsyncPolicy, Location, Options};
use rstmdb_testkit::clock::TestClock;
use rstmdb_testkit::mounted::Mounted;
use rstmdb_testkit::shutdown_fs::ShutdownFs;
use rstmdb_testkit::storage_suite;
use rstmdb_testkit::writer::{THREADS, begin, event, events, key, options};
use rstmdb_types::{ErrorCode, GetInstanceRequest};
use tempfile::TempDir;

const ROOM: u64 = 1 << 20;

/// Whether a file of this name is mapped into this process.
fn is_mapped(path: &Path) -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().any(|line| line.ends_with(path.to_str().unwrap()))
}

/// A file system that maps what is expected.
fn ext4() -> Option<ShutdownFs> {
    match ShutdownFs::create(64) {
        Ok(fs) => Some(fs),
        Err(reason) => {
            println!("skipped: no file system of our own here: {reason}");
            None
        }
    }
}

/// A file with room for small writes, of zeros or of nothing at all.
fn expecting(directory: &Path, is_filled: bool) -> Arc<dyn File> {
    let file = FileStorage::new(directory.to_owned()).create("file").unwrap();
    if is_filled {
        file.write_all_at(&vec![0; ROOM as usize], 0).unwrap();
        file.sync_data().unwrap();
    }
    file.set_len(ROOM).unwrap();
    file.expect_writes(0..ROOM);
    file
}

#[test]
fn room_is_mapped_where_that_is_of_use_and_as_long_as_it_is_expected() {
    let Some(fs) = ext4() else { return };
    let file = expecting(&fs.path(), true);
    let path = fs.path().join("file");
    assert!(is_mapped(&path));
    file.write_all_at(b"small", 5000).unwrap();
    assert_eq!(&std::fs::read(&path).unwrap()[4999..5006], b"\0small\0");
    file.set_len(6000).unwrap();
    assert!(!is_mapped(&path), "nothing is written behind an end");
    file.expect_writes(0..6000);
    drop(file);
    assert!(!is_mapped(&path));
}

#[test]
fn other_file_systems_are_written_as_ever() {
    let directory = TempDir::new().unwrap();
    let memory = match Mounted::memory(directory.path(), 16 << 10) {
        Ok(memory) => memory,
        Err(reason) => return println!("skipped: no other file system here: {reason}"),
    };
    let file = expecting(directory.path(), true);
    assert!(!is_mapped(&directory.path().join("file")));
    file.write_all_at(b"small", 5000).unwrap();
    let name = std::sync::atomic::AtomicU32::new(0);
    storage_suite::run(|| {
        let number = name.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Arc::new(FileStorage::new(directory.path().join(number.to_string())))
    });
    drop((file, memory));
}

#[test]
fn a_file_that_somebody_cuts_is_written_as_ever() {
    let directory = TempDir::new().unwrap();
    let file = expecting(directory.path(), true);
    file.write_all_at(b"before", 0).unwrap();
    let path = directory.path().join("file");
    // The first goes from a page that is left into one that is gone.
    for (length, at) in [(65_536, 65_500), (0, 300_000), (4096, 8000)] {
        std::fs::File::options().write(true).open(&path).unwrap().set_len(length).unwrap();
        file.write_all_at(&[7; 100], at).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len() as u64, at + 100, "cut to {length}");
        assert_eq!(bytes[at as usize..], [7; 100], "cut to {length}");
        file.expect_writes(0..ROOM);
    }
}

#[test]
fn a_full_disk_is_an_error_and_no_signal() {
    let Some(fs) = ext4() else { return };
    let file = expecting(&fs.path(), false);
    assert!(is_mapped(&fs.path().join("file")));
    file.write_all_at(b"before", 0).unwrap();
    let mut junk = std::fs::File::create(fs.path().join("junk")).unwrap();
    let full = std::io::copy(&mut std::io::repeat(7), &mut junk).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    let refused = (1..100).find_map(|page| file.write_all_at(b"late", page * 8192).err());
    assert_eq!(refused.map(|error| error.kind()), Some(ErrorKind::StorageFull));
    drop(junk);
    std::fs::remove_file(fs.path().join("junk")).unwrap();
    file.write_all_at(b"again", 900_000).unwrap();
    drop(file);
}

#[test]
fn a_disk_that_is_gone_is_an_error_and_no_signal() {
    let Some(mut fs) = ext4() else { return };
    let file = expecting(&fs.path(), true);
    file.write_all_at(b"before", 0).unwrap();
    file.sync_data().unwrap();
    FileStorage::new(fs.path()).sync_dir("").unwrap();
    fs.power_off().unwrap();
    let written = (0..200).try_for_each(|page| file.write_all_at(b"late", page * 4096));
    assert!(written.and_then(|()| file.sync_data()).is_err());
    drop(file);
    fs.power_on().unwrap();
    assert_eq!(&std::fs::read(fs.path().join("file")).unwrap()[..7], b"before\0");
}

#[test]
fn what_is_mapped_is_synced_with_the_file() {
    let Some(mut fs) = ext4() else { return };
    let file = expecting(&fs.path(), true);
    FileStorage::new(fs.path()).sync_dir("").unwrap();
    file.write_all_at(b"durable", 70_000).unwrap();
    file.sync_data().unwrap();
    assert!(is_mapped(&fs.path().join("file")));
    drop(file);
    fs.cut().unwrap();
    assert_eq!(&std::fs::read(fs.path().join("file")).unwrap()[70_000..70_008], b"durable\0");
}

/// The newest segment of a directory.
fn segment(directory: &Path) -> std::path::PathBuf {
    let log = std::fs::read_dir(directory.join("log")).unwrap();
    log.map(|entry| entry.unwrap().path()).max().unwrap()
}

#[test]
fn the_log_is_mapped_unless_every_write_is_synced_and_so_are_later_segments() {
    let Some(fs) = ext4() else { return };
    for (policy, expected, writes) in [
        (FsyncPolicy::Never, true, 800),
        (FsyncPolicy::EveryMs(5), true, 800),
        (FsyncPolicy::EveryN(20), true, 800),
        (FsyncPolicy::EveryWrite, false, 20),
    ] {
        let directory = fs.path().join(policy.to_string().replace(':', "-"));
        let open = || {
            let location = Location::directory(directory.to_str().unwrap());
            // No checkpoint begins a segment that nothing is in.
            let options = Options { checkpoint_log_bytes: 1 << 30, ..options(policy) };
            Engine::open(location, options).unwrap()
        };
        for round in 0..2 {
            let engine = open();
            begin(&engine);
            // More than a segment, so that one is begun.
            (0..writes).for_each(|number| {
                drop(engine.apply_event(event(0, round, number)).wait().unwrap())
            });
            assert_eq!(is_mapped(&segment(&directory)), expected, "{policy}");
            engine.close().unwrap();
            drop(engine);
            assert!(!is_mapped(&segment(&directory)), "{policy}");
        }
        let engine = open();
        assert_eq!(events(&engine).len() as u64, 2 * writes, "{policy}");
        engine.close().unwrap();
    }
}

#[test]
fn a_segment_that_somebody_cuts_ends_writing_and_not_the_process() {
    for policy in [FsyncPolicy::Never, FsyncPolicy::EveryWrite] {
        let directory = TempDir::new().unwrap();
        let clock = Arc::new(TestClock::new());
        let location = Location {
            clock: clock.clone(),
            ..Location::directory(directory.path().to_str().unwrap())
        };
        let options = Options { fsync: policy, free_bytes_min: 0, ..Options::default() };
        let engine = Engine::open(location, options).unwrap();
        begin(&engine);
        let mut write = {
            let mut number = 0;
            let engine = &engine;
            move || {
                number += 1;
                engine.apply_event(event(0, 0, number)).wait()
            }
        };
        write().unwrap();
        let path = segment(directory.path());
        std::fs::File::options().write(true).open(path).unwrap().set_len(200).unwrap();
        clock.advance_ms(50);
        let error = write().unwrap_err();
        assert!(
            error.to_string().contains("somebody cut log/000000000001.seg to 200 bytes"),
            "{error}"
        );
        assert_eq!(error.code(), ErrorCode::WalIoError, "{error}");
        assert_eq!(write().unwrap_err().code(), ErrorCode::WalIoError);
        let request = GetInstanceRequest { instance_id: "thread-0".into() };
        assert_eq!(engine.get_instance(request).wait().unwrap().state, "odd");
        assert!(engine.close().is_err());
    }
}

/// Runs in the child process of the test below, and is killed; alone it does nothing.
#[test]
fn child_that_writes() {
    let Ok(told) = std::env::var("RSTMDB_TEST_WRITES") else { return };
    let (policy, directory) = told.split_once(' ').unwrap();
    let engine =
        Engine::open(Location::directory(directory), options(policy.parse().unwrap())).unwrap();
    begin(&engine);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let engine = &engine;
            scope.spawn(move || {
                for number in 0_u64.. {
                    let answer = engine.apply_event(event(thread, 0, number)).wait().unwrap();
                    println!("told {} {}", key(thread, 0, number), answer.wal_offset);
                }
            });
        }
    });
}

#[test]
fn a_killed_process_loses_nothing_it_acknowledged() {
    for (policy, answers) in
        [("never", 50), ("never", 3000), ("every_ms:5", 900), ("every_n:20", 700)]
    {
        let directory = TempDir::new().unwrap();
        let path = directory.path().to_str().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["mapped::child_that_writes", "--exact", "--nocapture"])
            .env("RSTMDB_TEST_WRITES", format!("{policy} {path}"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut told = BTreeMap::new();
        for line in lines {
            // The first shares its line with what the harness says.
            let Some((_, answer)) = line.split_once("told ") else { continue };
            // The last line may be a part of one.
            if let Some((key, Ok(offset))) =
                answer.split_once(' ').map(|(key, offset)| (key, offset.parse::<u64>()))
            {
                told.insert(key.to_owned(), offset);
            }
            if told.len() == answers {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(told.len() >= answers, "{policy}: {}", told.len());
        let engine = Engine::open(Location::directory(path), options(FsyncPolicy::Never)).unwrap();
        let found = events(&engine);
        // The last line may lack the end of its number.
        let lost: Vec<_> = told.iter().filter(|(key, _)| !found.contains_key(*key)).collect();
        assert!(lost.is_empty(), "{policy}: {lost:?} of {}", told.len());
        engine.close().unwrap();
    }
}
