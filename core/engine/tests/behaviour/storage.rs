//! Every storage passes the same suite; what only real files do is tested beside it.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use rstmdb_engine::storage::{FileStorage, MemoryStorage, Storage};
use rstmdb_testkit::faulty::FaultyStorage;
use rstmdb_testkit::storage_suite;
use tempfile::TempDir;

#[test]
fn real_files_pass_the_suite() {
    let directories = Mutex::new(Vec::new());
    storage_suite::run(|| {
        let directory = TempDir::new().unwrap();
        let storage = FileStorage::new(directory.path().join("not/yet/there"));
        directories.lock().unwrap().push(directory);
        Arc::new(storage)
    });
}

#[test]
fn memory_passes_the_suite() {
    storage_suite::run(|| Arc::new(MemoryStorage::new()));
    assert!(MemoryStorage::new().is_volatile());
}

#[test]
fn the_faulty_disk_without_faults_passes_the_suite() {
    storage_suite::run(|| Arc::new(FaultyStorage::new(1)));
}

#[test]
fn memory_is_shared_by_clones_and_takes_huge_holes() {
    let storage = MemoryStorage::new();
    let file = storage.create("file").unwrap();
    file.set_len(1 << 40).unwrap();
    file.write_all_at(b"far out", (1 << 40) - 3).unwrap();
    let mut bytes = [0; 10];
    let again = storage.clone().open("file").unwrap();
    assert_eq!(again.read_full_at(&mut bytes, (1 << 40) - 5).unwrap(), 9);
    assert_eq!(&bytes[..9], b"\0\0far out");
    assert!(file.set_len(u64::MAX).is_err(), "an error, not an abort");
    assert_eq!(file.write_at(b"x", u64::MAX).unwrap_err().kind(), ErrorKind::FileTooLarge);
}

#[test]
fn an_error_of_a_real_file_names_path_and_operation_and_keeps_its_source() {
    let directory = TempDir::new().unwrap();
    let storage = FileStorage::new(directory.path().to_owned());
    let error = storage.open("log/7.seg").err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let expected = directory.path().join("log/7.seg");
    assert!(error.to_string().contains(&expected.display().to_string()), "{error}");
    assert!(error.to_string().starts_with("cannot open "), "{error}");
    let source = error.get_ref().and_then(|inner| inner.source()).unwrap();
    let source = source.downcast_ref::<std::io::Error>().unwrap();
    assert!(source.raw_os_error().is_some());
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_known_by_its_kind() {
    let directory = TempDir::new().unwrap();
    std::os::unix::fs::symlink("/dev/full", directory.path().join("log")).unwrap();
    let storage = FileStorage::new(directory.path().to_owned());
    let error = storage.open("log").unwrap().write_all_at(b"x", 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    assert!(error.to_string().contains("log"), "{error}");
}

#[test]
fn real_files_tell_the_free_space() {
    let directory = TempDir::new().unwrap();
    let storage = FileStorage::new(directory.path().to_owned());
    assert!(storage.free_bytes().unwrap().unwrap() > 0);
    assert!(!storage.is_volatile());
}

#[test]
fn a_data_directory_must_not_be_a_file() {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("data"), "something else").unwrap();
    let storage = FileStorage::new(directory.path().join("data"));
    assert!(storage.create_dir("").is_err());
}

#[test]
fn a_second_storage_of_the_directory_is_told_who_has_it() {
    let directory = TempDir::new().unwrap();
    let one = FileStorage::new(directory.path().to_owned());
    let other = FileStorage::new(directory.path().to_owned());
    let held = one.lock().unwrap().ok();
    assert!(held.is_some());
    let holder = other.lock().unwrap().err().unwrap();
    let pid = std::process::id();
    assert!(holder.starts_with(&format!("pid {pid}, command ")), "{holder}");
    assert!(other.list("").unwrap().is_empty(), "the lock file is not shown");
    drop(held);
    assert!(other.lock().unwrap().is_ok());
}

#[test]
fn what_a_dead_process_left_in_the_lock_file_locks_nothing() {
    let directory = TempDir::new().unwrap();
    let stale = "pid 4000000, command gone, since 1970-01-01T00:00:00Z ".repeat(9);
    std::fs::write(directory.path().join("LOCK"), stale).unwrap();
    let storage = FileStorage::new(directory.path().to_owned());
    let held = storage.lock().unwrap().ok();
    assert!(held.is_some());
    let holder = storage.lock().unwrap().err().unwrap();
    assert!(!holder.contains("gone"), "{holder}");
}

/// Runs in the child process of the test below; alone it does nothing.
#[test]
fn child_that_holds_the_lock() {
    let Some(directory) = std::env::var_os("RSTMDB_TEST_LOCK_DIRECTORY") else { return };
    let held = FileStorage::new(PathBuf::from(directory)).lock().unwrap().ok();
    assert!(held.is_some());
    println!("locked");
    // Until the parent closes our input, or kills us.
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[test]
fn a_lock_goes_with_its_process_even_when_that_is_killed() {
    use std::io::BufRead;
    let directory = TempDir::new().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["storage::child_that_holds_the_lock", "--exact", "--nocapture"])
        .env("RSTMDB_TEST_LOCK_DIRECTORY", directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut lines = output.lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("locked")), "the child got the lock");

    let storage = FileStorage::new(directory.path().to_owned());
    let holder = storage.lock().unwrap().err().unwrap();
    assert!(holder.starts_with(&format!("pid {}, command behaviour", child.id())), "{holder}");

    child.kill().unwrap();
    child.wait().unwrap();
    assert!(storage.lock().unwrap().is_ok());
}
