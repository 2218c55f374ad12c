//! What every storage does, whatever is under it.
//!
//! [`run`] takes a way to make an empty storage and calls every case with its own. A new case belongs
//! here whenever the engine starts to rely on something.

use std::io::ErrorKind;
use std::sync::Arc;

use rstmdb_engine::storage::{File, Storage};

/// Runs all cases, each on a new storage.
///
/// # Panics
/// At the first thing that differs, naming it.
pub fn run(make: impl Fn() -> Arc<dyn Storage>) {
    let cases: &[fn(&dyn Storage)] = &[
        creates_and_opens,
        refuses_missing_and_double_names,
        reads_and_writes_at_offsets,
        grows_over_gaps_with_zeros,
        cuts_and_grows,
        writes_where_writes_are_expected,
        crosses_every_inner_border,
        shares_one_file_between_handles,
        renames_and_replaces,
        keeps_handles_over_rename_and_remove,
        lists_files_sorted_and_only_here,
        creates_directories_with_parents,
        syncs,
        locks_once,
        writes_from_many_threads,
    ];
    for case in cases {
        let storage = make();
        storage.create_dir("").expect("the root can be created");
        case(&*storage);
    }
    survives_a_reopened_root(&*make());
}

#[track_caller]
fn assert_kind<T>(result: std::io::Result<T>, kind: ErrorKind) {
    match result {
        Ok(_) => panic!("expected {kind:?}, and it succeeded"),
        Err(error) => assert_eq!(error.kind(), kind, "{error}"),
    }
}

#[track_caller]
fn assert_bytes(file: &dyn File, expected: &[u8]) {
    assert_eq!(file.len().unwrap(), expected.len() as u64, "length");
    let mut bytes = vec![0xEE; expected.len() + 7];
    let read = file.read_full_at(&mut bytes, 0).unwrap();
    assert_eq!(read, expected.len(), "bytes up to the end");
    let differs = bytes.iter().zip(expected).position(|(one, other)| one != other);
    assert_eq!(differs, None, "first byte that differs");
}

/// Bytes that show when they are in the wrong place.
fn pattern(length: usize, start: usize) -> Vec<u8> {
    (start..start + length).map(|at| (at % 251) as u8 + 1).collect()
}

fn creates_and_opens(storage: &dyn Storage) {
    let created = storage.create("one").unwrap();
    assert!(created.is_empty().unwrap());
    created.write_all_at(b"hello", 0).unwrap();
    assert!(!created.is_empty().unwrap());
    assert_bytes(&*storage.open("one").unwrap(), b"hello");
    storage.open("one").unwrap().write_all_at(b"J", 0).unwrap();
    assert_bytes(&*created, b"Jello");
}

fn refuses_missing_and_double_names(storage: &dyn Storage) {
    storage.create("one").unwrap();
    assert_kind(storage.create("one"), ErrorKind::AlreadyExists);
    assert_kind(storage.open("two"), ErrorKind::NotFound);
    assert_kind(storage.remove("two"), ErrorKind::NotFound);
    assert_kind(storage.rename("two", "three"), ErrorKind::NotFound);
    assert_kind(storage.create("nowhere/one"), ErrorKind::NotFound);
    assert_kind(storage.rename("one", "nowhere/one"), ErrorKind::NotFound);
    assert_kind(storage.list("nowhere"), ErrorKind::NotFound);
    assert_kind(storage.sync_dir("nowhere"), ErrorKind::NotFound);
    let message = storage.open("two").err().unwrap().to_string();
    assert!(message.contains("two"), "the message names the path: {message}");
    assert_eq!(storage.list("").unwrap(), ["one"], "what was refused left no trace");
}

fn reads_and_writes_at_offsets(storage: &dyn Storage) {
    let file = storage.create("file").unwrap();
    file.write_all_at(b"0123456789", 0).unwrap();
    file.write_all_at(b"ab", 4).unwrap();
    assert_bytes(&*file, b"0123ab6789");
    let mut three = [0; 3];
    assert_eq!(file.read_full_at(&mut three, 5).unwrap(), 3);
    assert_eq!(&three, b"b67");
    assert_eq!(file.read_full_at(&mut three, 8).unwrap(), 2, "stops at the end");
    assert_eq!(file.read_at(&mut three, 10).unwrap(), 0, "at the end");
    assert_eq!(file.read_at(&mut three, 1_000_000_000_000).unwrap(), 0, "far behind it");
    assert_eq!(file.read_at(&mut [], 0).unwrap(), 0);
    assert_eq!(file.write_at(b"", 50).unwrap(), 0);
    assert_eq!(file.len().unwrap(), 10, "writing nothing does not grow a file");
}

fn grows_over_gaps_with_zeros(storage: &dyn Storage) {
    let file = storage.create("file").unwrap();
    file.write_all_at(b"a", 0).unwrap();
    file.write_all_at(b"z", 200_000).unwrap();
    let mut expected = vec![0; 200_001];
    expected[0] = b'a';
    expected[200_000] = b'z';
    assert_bytes(&*file, &expected);
}

fn cuts_and_grows(storage: &dyn Storage) {
    let file = storage.create("file").unwrap();
    file.write_all_at(&pattern(150_000, 0), 0).unwrap();
    for cut in [140_001, 65_536, 4_097, 512, 511, 1, 0] {
        file.set_len(cut).unwrap();
        assert_bytes(&*file, &pattern(cut as usize, 0));
    }
    file.write_all_at(b"abc", 0).unwrap();
    file.set_len(1).unwrap();
    file.set_len(100_000).unwrap();
    let mut expected = vec![0; 100_000];
    expected[0] = b'a';
    assert_bytes(&*file, &expected);
    file.set_len(2).unwrap();
    file.write_all_at(b"x", 5).unwrap();
    assert_bytes(&*file, b"a\0\0\0\0x");
}

fn writes_where_writes_are_expected(storage: &dyn Storage) {
    let file = storage.create("file").unwrap();
    let reader = storage.open("file").unwrap();
    file.write_all_at(&vec![0; 200_000], 0).unwrap();
    file.expect_writes(1_000..200_000);
    let mut expected = vec![0; 200_000];
    let write = |expected: &mut Vec<u8>, length: usize, at: usize| {
        let piece = pattern(length, at);
        file.write_all_at(&piece, at as u64).unwrap();
        expected.resize(expected.len().max(at + length), 0);
        expected[at..at + length].copy_from_slice(&piece);
        assert_bytes(&*reader, expected);
    };
    // Over the borders of pages, larger than is small, in the place of others, before and behind what is expected.
    for (length, at) in [(100, 1_000), (3_500, 1_100), (1, 4_600), (20_000, 5_000), (9_000, 5_500)]
    {
        write(&mut expected, length, at);
    }
    for (length, at) in [(10, 0), (70, 199_930), (50, 199_970), (300, 200_020), (200, 999)] {
        write(&mut expected, length, at);
    }
    file.sync_data().unwrap();
    // Nothing stays behind a new end.
    file.expect_writes(0..expected.len() as u64);
    file.set_len(9_000).unwrap();
    expected.truncate(9_000);
    write(&mut expected, 50, 8_990);
    write(&mut expected, 50, 30_000);
    // What is expected need not be there.
    file.expect_writes(30_000..90_000);
    write(&mut expected, 60, 60_000);
    storage.rename("file", "renamed").unwrap();
    write(&mut expected, 60, 31_000);
    storage.remove("renamed").unwrap();
    file.expect_writes(0..10_000);
    write(&mut expected, 60, 4_090);
}

fn crosses_every_inner_border(storage: &dyn Storage) {
    let file = storage.create("file").unwrap();
    let mut expected = Vec::new();
    // Pieces of an odd size, so that pieces and inner blocks never keep step.
    while expected.len() < 300_000 {
        let piece = pattern(7_919, expected.len());
        file.write_all_at(&piece, expected.len() as u64).unwrap();
        expected.extend(piece);
    }
    assert_bytes(&*file, &expected);
    let over = vec![0xAA; 100_000];
    file.write_all_at(&over, 65_000).unwrap();
    expected[65_000..165_000].copy_from_slice(&over);
    assert_bytes(&*file, &expected);
}

fn shares_one_file_between_handles(storage: &dyn Storage) {
    let writer = storage.create("file").unwrap();
    let reader = storage.open("file").unwrap();
    writer.write_all_at(b"seen at once", 0).unwrap();
    assert_bytes(&*reader, b"seen at once");
    reader.set_len(4).unwrap();
    assert_bytes(&*writer, b"seen");
}

fn renames_and_replaces(storage: &dyn Storage) {
    storage.create("new.tmp").unwrap().write_all_at(b"new", 0).unwrap();
    storage.rename("new.tmp", "current").unwrap();
    assert_bytes(&*storage.open("current").unwrap(), b"new");
    assert_kind(storage.open("new.tmp"), ErrorKind::NotFound);
    storage.create("newer.tmp").unwrap().write_all_at(b"newer", 0).unwrap();
    storage.rename("newer.tmp", "current").unwrap();
    assert_bytes(&*storage.open("current").unwrap(), b"newer");
    storage.rename("current", "current").unwrap();
    assert_bytes(&*storage.open("current").unwrap(), b"newer");
    storage.create_dir("sub").unwrap();
    storage.rename("current", "sub/moved").unwrap();
    assert_bytes(&*storage.open("sub/moved").unwrap(), b"newer");
    assert!(storage.list("").unwrap().is_empty());
    storage.remove("sub/moved").unwrap();
    storage.create("sub/moved").unwrap();
}

fn keeps_handles_over_rename_and_remove(storage: &dyn Storage) {
    let file = storage.create("before").unwrap();
    file.write_all_at(b"abc", 0).unwrap();
    storage.rename("before", "after").unwrap();
    file.write_all_at(b"X", 1).unwrap();
    file.sync_data().unwrap();
    assert_bytes(&*storage.open("after").unwrap(), b"aXc");
    storage.remove("after").unwrap();
    storage.sync_dir("").unwrap();
    file.write_all_at(b"Y", 2).unwrap();
    file.sync_data().unwrap();
    assert_bytes(&*file, b"aXY");
    storage.create("after").unwrap();
    assert_bytes(&*storage.open("after").unwrap(), b"");
    assert_bytes(&*file, b"aXY");
}

fn lists_files_sorted_and_only_here(storage: &dyn Storage) {
    storage.create_dir("log").unwrap();
    storage.create_dir("log/deeper").unwrap();
    storage.create_dir("log2").unwrap();
    for name in ["b", "a", "10", "9", "log/z", "log/y", "log/deeper/x", "log2/w"] {
        storage.create(name).unwrap();
    }
    assert_eq!(storage.list("").unwrap(), ["10", "9", "a", "b"]);
    assert_eq!(storage.list("log").unwrap(), ["y", "z"]);
    assert_eq!(storage.list("log/deeper").unwrap(), ["x"]);
    assert_eq!(storage.list("log2").unwrap(), ["w"]);
    let held = storage.lock().unwrap().ok();
    assert!(held.is_some());
    assert_eq!(storage.list("").unwrap(), ["10", "9", "a", "b"], "a lock is not a file");
}

fn creates_directories_with_parents(storage: &dyn Storage) {
    storage.create_dir("a/b/c").unwrap();
    storage.create_dir("a/b/c").unwrap();
    storage.create_dir("a").unwrap();
    storage.create("a/b/c/file").unwrap();
    storage.create("a/b/file").unwrap();
    assert_eq!(storage.list("a/b").unwrap(), ["file"]);
    assert_kind(storage.create_dir("a/b/file"), ErrorKind::AlreadyExists);
    assert!(storage.create_dir("a/b/file/below").is_err(), "systems differ in what they say");
    assert!(storage.list("a/b/file/below").is_err());
    assert!(storage.create("a/b").is_err(), "a directory is in the way");
    assert!(storage.list("a").unwrap().is_empty());
}

fn syncs(storage: &dyn Storage) {
    storage.create_dir("log").unwrap();
    storage.sync_dir("").unwrap();
    let file = storage.create("log/file").unwrap();
    file.sync_data().unwrap();
    file.write_all_at(&pattern(10_000, 0), 0).unwrap();
    file.sync_data().unwrap();
    file.sync_data().unwrap();
    storage.sync_dir("log").unwrap();
    storage.free_bytes().unwrap();
    assert_bytes(&*file, &pattern(10_000, 0));
}

fn locks_once(storage: &dyn Storage) {
    let held = storage.lock().unwrap().ok();
    assert!(held.is_some(), "nobody has it yet");
    for _ in 0..2 {
        let holder = storage.lock().unwrap().err().expect("it is taken");
        assert!(holder.contains("pid "), "the holder is named: {holder}");
        assert!(holder.contains("command ") && holder.contains("since "), "{holder}");
    }
    drop(held);
    let again = storage.lock().unwrap();
    assert!(again.is_ok(), "dropping it gives it back");
}

fn writes_from_many_threads(storage: &dyn Storage) {
    let file = storage.create("file").unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_usize {
            let file = &file;
            scope.spawn(move || {
                for piece in 0..50 {
                    let at = (piece * 4 + thread) * 1_000;
                    file.write_all_at(&pattern(1_000, at), at as u64).unwrap();
                    let mut back = [0; 1_000];
                    assert_eq!(file.read_full_at(&mut back, at as u64).unwrap(), 1_000);
                    assert_eq!(back[..], pattern(1_000, at)[..]);
                }
            });
        }
    });
    assert_bytes(&*file, &pattern(200_000, 0));
}

fn survives_a_reopened_root(storage: &dyn Storage) {
    storage.create_dir("").unwrap();
    storage.create("file").unwrap();
    storage.create_dir("").unwrap();
    storage.sync_dir("").unwrap();
    assert_eq!(storage.list("").unwrap(), ["file"]);
}
