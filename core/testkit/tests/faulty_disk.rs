//! The simulated disk loses what a real one may lose, and nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex};

use rstmdb_engine::storage::{File, Storage};
use rstmdb_testkit::faulty::{
    Call, Crash, Effect, Fault, FaultyStorage, KeepBytes, KeepNames, SECTOR_BYTES, is_power_off,
};

/// A durable file with these bytes.
fn with_file(path: &str, bytes: &[u8]) -> (FaultyStorage, Arc<dyn File>) {
    let storage = FaultyStorage::new(1);
    let file = storage.create(path).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file.sync_data().unwrap();
    storage.sync_dir("").unwrap();
    assert!(!storage.has_pending());
    (storage, file)
}

/// All that a file may hold after a power cut now, over many variants.
fn outcomes(storage: &FaultyStorage, path: &str, crashes: usize) -> BTreeSet<Option<Vec<u8>>> {
    let image = storage.image();
    Crash::variants(42, crashes).map(|how| image.crash(how).contents(path)).collect()
}

fn holds(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(bytes.to_vec())
}

#[test]
fn a_crash_may_lose_what_was_not_synced_and_never_what_was() {
    let (storage, file) = with_file("log", b"durable");
    file.write_all_at(b" pending", 7).unwrap();
    assert_eq!(storage.crash(Crash::KEEP_NONE).contents("log"), holds(b"durable"));
    assert_eq!(storage.crash(Crash::KEEP_ALL).contents("log"), holds(b"durable pending"));
    let seen = outcomes(&storage, "log", 500);
    assert!(seen.len() > 10, "it also tears: {} outcomes", seen.len());
    for outcome in seen {
        assert!(outcome.unwrap().starts_with(b"durable"));
    }
}

#[test]
fn a_name_needs_a_sync_of_its_directory_and_bytes_one_of_their_file() {
    let storage = FaultyStorage::new(1);
    let file = storage.create("log").unwrap();
    file.write_all_at(b"bytes", 0).unwrap();
    file.sync_data().unwrap();
    let seen = outcomes(&storage, "log", 100);
    assert_eq!(seen, BTreeSet::from([None, holds(b"bytes")]));

    let storage = FaultyStorage::new(1);
    storage.create("log").unwrap().write_all_at(b"bytes", 0).unwrap();
    storage.sync_dir("").unwrap();
    let seen = outcomes(&storage, "log", 300);
    assert!(!seen.contains(&None));
    assert!(seen.contains(&holds(b"")) && seen.contains(&holds(b"bytes")));
    assert!(seen.contains(&holds(b"\0\0\0\0\0")), "the length without the bytes");
}

#[test]
fn a_file_is_lost_with_its_directory() {
    let storage = FaultyStorage::new(1);
    storage.create_dir("log/deep").unwrap();
    storage.create("log/deep/file").unwrap();
    storage.sync_dir("log/deep").unwrap();
    storage.sync_dir("log").unwrap();
    assert_eq!(storage.image().crash(Crash::KEEP_NONE).contents("log/deep/file"), None);
    let missing = storage.image().crash(Crash::KEEP_NONE).list("log").unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    storage.sync_dir("").unwrap();
    assert_eq!(storage.crash(Crash::KEEP_NONE).contents("log/deep/file"), holds(b""));
}

#[test]
fn a_rename_is_lost_or_done_but_never_half() {
    let (storage, _) = with_file("manifest", b"old");
    let fresh = storage.create("manifest.tmp").unwrap();
    fresh.write_all_at(b"new", 0).unwrap();
    fresh.sync_data().unwrap();
    storage.rename("manifest.tmp", "manifest").unwrap();
    assert_eq!(outcomes(&storage, "manifest", 200), [holds(b"old"), holds(b"new")].into());
    assert_eq!(storage.crash(Crash::KEEP_NONE).paths(), ["manifest"]);
    let before_rename = Crash { names: KeepNames::Prefix, bytes: KeepBytes::All, seed: 0 };
    let with_both = (0..50)
        .any(|seed| storage.image().crash(Crash { seed, ..before_rename }).paths().len() == 2);
    assert!(with_both, "the temporary name can survive");
}

#[test]
fn a_rename_can_overtake_the_bytes_it_was_to_publish() {
    let (storage, _) = with_file("manifest", b"old");
    storage.create("manifest.tmp").unwrap().write_all_at(b"new", 0).unwrap();
    storage.rename("manifest.tmp", "manifest").unwrap();
    storage.sync_dir("").unwrap();
    assert_eq!(storage.crash(Crash::KEEP_NONE).contents("manifest"), holds(b""));
}

#[test]
fn a_removed_file_can_come_back_until_the_directory_is_synced() {
    let (storage, file) = with_file("old", b"bytes");
    storage.remove("old").unwrap();
    drop(file);
    assert_eq!(storage.image().crash(Crash::KEEP_NONE).contents("old"), holds(b"bytes"));
    storage.sync_dir("").unwrap();
    assert_eq!(outcomes(&storage, "old", 100), [None].into());
}

#[test]
fn changes_of_one_name_keep_their_order_and_others_do_not() {
    let (storage, _) = with_file("a", b"first");
    storage.remove("a").unwrap();
    storage.create("a").unwrap();
    storage.create("b").unwrap();
    let image = storage.image();
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let how = Crash { bytes: KeepBytes::All, names: KeepNames::Subset, seed };
        let after = image.crash(how);
        seen.insert((after.contents("a"), after.contents("b").is_some()));
    }
    let a_versions = [holds(b"first"), None, holds(b"")];
    let all: BTreeSet<_> =
        a_versions.into_iter().flat_map(|a| [(a.clone(), false), (a, true)]).collect();
    assert_eq!(seen, all);
}

#[test]
fn a_name_used_again_waits_for_the_rename_that_freed_it() {
    let (storage, _) = with_file("manifest", b"old");
    for bytes in [b"one", b"two"] {
        let file = storage.create("tmp").unwrap();
        file.write_all_at(bytes, 0).unwrap();
        file.sync_data().unwrap();
        if bytes == b"one" {
            storage.rename("tmp", "manifest").unwrap();
        }
    }
    let image = storage.image();
    let mut seen = BTreeSet::new();
    for how in Crash::variants(9, 300) {
        let after = image.crash(how);
        seen.insert((after.contents("manifest"), after.contents("tmp")));
    }
    let possible = [
        (holds(b"old"), None),
        (holds(b"old"), holds(b"one")),
        (holds(b"one"), None),
        (holds(b"one"), holds(b"two")),
    ];
    assert_eq!(seen, possible.into());
}

#[test]
fn a_synced_name_waits_for_an_earlier_change_of_it() {
    let (storage, _) = with_file("file", b"bytes");
    storage.create_dir("kept").unwrap();
    storage.sync_dir("").unwrap();
    storage.rename("file", "kept/file").unwrap();
    storage.create("file").unwrap();
    storage.sync_dir("").unwrap();
    let after = storage.image().crash(Crash::KEEP_NONE);
    assert_eq!((after.contents("file"), after.contents("kept/file")), (holds(b"bytes"), None));
    storage.sync_dir("kept").unwrap();
    let after = storage.crash(Crash::KEEP_NONE);
    assert_eq!(
        (after.contents("file"), after.contents("kept/file")),
        (holds(b""), holds(b"bytes"))
    );
}

#[test]
fn a_rename_between_directories_needs_both_synced() {
    let (storage, _) = with_file("file", b"bytes");
    storage.create_dir("kept").unwrap();
    storage.sync_dir("").unwrap();
    storage.rename("file", "kept/file").unwrap();
    storage.sync_dir("").unwrap();
    assert_eq!(storage.image().crash(Crash::KEEP_NONE).paths(), ["file"]);
    storage.sync_dir("kept").unwrap();
    assert_eq!(storage.crash(Crash::KEEP_NONE).paths(), ["kept/file"]);
}

#[test]
fn sectors_arrive_in_any_order_and_tear_at_any_byte() {
    let (storage, file) = with_file("log", b"");
    let bytes: Vec<u8> = (0..8 * SECTOR_BYTES).map(|at| (at / SECTOR_BYTES) as u8 + 1).collect();
    file.write_all_at(&bytes, 0).unwrap();
    let (mut hole, mut torn, mut shorter) = (false, false, false);
    for seed in 0..300 {
        let how = Crash { bytes: KeepBytes::Sectors, names: KeepNames::All, seed };
        let after = storage.crash(how).contents("log").unwrap();
        shorter |= after.len() < bytes.len();
        let sectors: Vec<&[u8]> = after.chunks(SECTOR_BYTES).collect();
        for (index, sector) in sectors.iter().enumerate() {
            let new = sector.iter().filter(|&&byte| byte == index as u8 + 1).count();
            let zero = sector.iter().filter(|&&byte| byte == 0).count();
            assert_eq!(new + zero, sector.len(), "new or zero, nothing else");
            torn |= new > 0 && zero > 0;
            hole |= zero == sector.len() && sectors.last().unwrap().contains(&8);
        }
    }
    assert!(hole && torn && shorter, "hole {hole}, torn {torn}, shorter {shorter}");
}

#[test]
fn a_sector_written_twice_can_be_in_any_of_its_versions() {
    let (storage, file) = with_file("log", b"0");
    for version in [b"1", b"2", b"3"] {
        file.write_all_at(version, 0).unwrap();
    }
    let expected = [b"0", b"1", b"2", b"3"].map(|version| holds(version));
    assert_eq!(outcomes(&storage, "log", 400), expected.into());
}

#[test]
fn appended_bytes_never_harm_durable_ones_in_the_same_sector() {
    let (storage, file) = with_file("log", &[7; 700]);
    for piece in 0..5_u64 {
        file.write_all_at(&[8; 100], 700 + piece * 100).unwrap();
    }
    for outcome in outcomes(&storage, "log", 1000) {
        assert_eq!(outcome.unwrap()[..700], [7; 700]);
    }
}

#[test]
fn what_was_cut_off_never_shows_behind_what_is_written_later() {
    let (storage, file) = with_file("log", &[7; 3000]);
    file.set_len(1000).unwrap();
    file.write_all_at(&[8; 2000], 1000).unwrap();
    for outcome in outcomes(&storage, "log", 2000) {
        let bytes = outcome.unwrap();
        assert!(bytes.len() >= 1000 && bytes[..1000] == [7; 1000]);
        if bytes.len() == 3000 && bytes[1000..].iter().all(|&byte| byte == 7) {
            continue; // the cut itself was lost
        }
        assert!(!bytes[1000..].contains(&7), "old bytes behind a durable cut");
    }
}

#[test]
fn what_was_written_before_a_cut_never_shows_behind_it() {
    let (storage, file) = with_file("log", &[7; 1000]);
    file.write_all_at(&[9; 2000], 1000).unwrap();
    file.set_len(1500).unwrap();
    file.write_all_at(&[8; 1500], 1500).unwrap();
    for outcome in outcomes(&storage, "log", 2000) {
        let bytes = outcome.unwrap();
        assert!(bytes.len() >= 1000 && bytes[..1000] == [7; 1000]);
        if bytes.contains(&8) {
            assert!(!bytes[1500..].contains(&9), "the later write needs the cut");
        }
    }
}

#[test]
fn a_length_is_pending_like_bytes() {
    let (storage, file) = with_file("log", b"abcdef");
    file.set_len(3).unwrap();
    assert_eq!(outcomes(&storage, "log", 100), [holds(b"abc"), holds(b"abcdef")].into());
    file.sync_data().unwrap();
    file.set_len(5).unwrap();
    assert_eq!(outcomes(&storage, "log", 100), [holds(b"abc"), holds(b"abc\0\0")].into());
}

#[test]
fn a_dropped_sync_loses_the_bytes_though_the_next_one_succeeds() {
    let (storage, file) = with_file("log", &[1; 1024]);
    storage.inject(Fault::new(Call::Sync, Effect::DropPending).nth(1));
    file.write_all_at(&[2; 512], 1024).unwrap();
    assert!(file.sync_data().is_err());
    file.write_all_at(&[3; 512], 1536).unwrap();
    file.sync_data().unwrap();
    assert_eq!(storage.contents("log").unwrap()[1024..1536], [2; 512], "still in the cache");
    assert_eq!(storage.kill().contents("log").unwrap()[1024..1536], [2; 512]);
    let after = storage.crash(Crash::KEEP_ALL).contents("log").unwrap();
    assert_eq!(after[..1024], [1; 1024]);
    assert_eq!(after[1024..1536], [0; 512], "a hole in the middle");
    assert_eq!(after[1536..], [3; 512]);
    storage.evict_clean();
    assert_eq!(storage.contents("log").unwrap(), after);
}

#[test]
fn a_lying_sync_leaves_everything_pending() {
    let (storage, file) = with_file("log", b"");
    storage.inject(Fault::new(Call::Sync, Effect::Ignore));
    storage.inject(Fault::new(Call::SyncDir, Effect::Ignore));
    file.write_all_at(b"bytes", 0).unwrap();
    storage.create("other").unwrap();
    file.sync_data().unwrap();
    storage.sync_dir("").unwrap();
    let after = storage.crash(Crash::KEEP_NONE);
    assert_eq!((after.contents("log"), after.contents("other")), (holds(b""), None));
}

#[test]
fn a_killed_process_loses_nothing_written_but_makes_nothing_durable() {
    let (storage, file) = with_file("log", b"");
    file.write_all_at(b"written", 0).unwrap();
    let held = storage.lock().unwrap();
    assert!(held.is_ok() && storage.lock().unwrap().is_err());
    let restarted = storage.kill();
    assert!(is_power_off(&file.write_at(b"x", 0).unwrap_err()), "the dead process does nothing");
    assert_eq!(restarted.contents("log"), holds(b"written"));
    assert!(restarted.lock().unwrap().is_ok(), "the lock went with the process");
    assert_eq!(restarted.crash(Crash::KEEP_NONE).contents("log"), holds(b""));
}

#[test]
fn a_full_disk_takes_what_fits_and_goes_on_when_there_is_room() {
    let (storage, file) = with_file("log", b"");
    storage.set_capacity_bytes(Some(3 * 4096));
    assert_eq!(storage.free_bytes().unwrap(), Some(3 * 4096));
    assert_eq!(file.write_at(&[1; 20_000], 0).unwrap(), 3 * 4096, "a short write");
    let full = file.write_at(&[1; 10], 3 * 4096).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    assert!(full.to_string().contains("log"));
    assert_eq!(file.write_at(&[2; 10], 0).unwrap(), 10, "what has room can be written over");
    let other = storage.create("other").unwrap();
    assert_eq!(other.write_at(&[1], 0).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(storage.free_bytes().unwrap(), Some(0));

    file.set_len(4096).unwrap();
    other.write_all_at(&[1; 8192], 0).unwrap();
    storage.remove("other").unwrap();
    assert_eq!(storage.free_bytes().unwrap(), Some(0), "an open file keeps its room");
    drop(other);
    assert_eq!(storage.free_bytes().unwrap(), Some(8192));

    storage.set_capacity_bytes(Some(1 << 20));
    file.write_all_at(&[3; 100_000], 4096).unwrap();
    storage.set_free_bytes(Some(17));
    assert_eq!(storage.free_bytes().unwrap(), Some(17));
}

#[test]
fn rules_meet_the_calls_they_name() {
    let storage = FaultyStorage::new(3);
    storage.inject(Fault::new(Call::Create, Effect::Error(ErrorKind::StorageFull)).path("log"));
    storage.inject(Fault::new(Call::Rename, Effect::InputOutput).path("a -> b").nth(2));
    let error = storage.create("log1").err().unwrap();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    let file = storage.create("a").unwrap();
    storage.rename("a", "b").unwrap();
    storage.rename("b", "a").unwrap();
    let error = storage.rename("a", "b").unwrap_err();
    assert!(error.to_string().contains("EIO"), "{error}");
    assert_eq!(storage.paths(), ["a"], "a failed rename changed nothing");

    storage.clear_faults();
    storage.inject(Fault::new(Call::Write, Effect::Short).times(20));
    storage.inject(Fault::new(Call::Read, Effect::Short).times(20));
    let interrupted = Effect::Error(ErrorKind::Interrupted);
    storage.inject(Fault::new(Call::Write, interrupted).times(3));
    let bytes: Vec<u8> = (0..=255).collect();
    file.write_all_at(&bytes, 0).unwrap();
    let mut back = [0; 256];
    assert_eq!(file.read_full_at(&mut back, 0).unwrap(), 256);
    assert_eq!(back[..], bytes);
}

#[test]
fn a_write_that_fails_may_have_written_a_part() {
    let lengths: BTreeSet<u64> = (0..50)
        .map(|seed| {
            let storage = FaultyStorage::new(seed);
            storage.inject(Fault::new(Call::Write, Effect::PartThenError));
            let file = storage.create("log").unwrap();
            assert!(file.write_at(&[1; 100], 0).is_err());
            file.len().unwrap()
        })
        .collect();
    assert!(lengths.len() > 10 && *lengths.last().unwrap() <= 100);
}

#[test]
fn chance_follows_the_seed() {
    let failures = |seed| -> Vec<bool> {
        let storage = FaultyStorage::new(seed);
        storage.inject(Fault::new(Call::Sync, Effect::InputOutput).chance(300));
        let file = storage.create("log").unwrap();
        (0..100).map(|_| file.sync_data().is_err()).collect()
    };
    assert_eq!(failures(5), failures(5));
    assert_ne!(failures(5), failures(6));
    let count = failures(5).iter().filter(|failed| **failed).count();
    assert!((15..45).contains(&count), "{count} of 100");
}

#[test]
fn a_bit_can_be_flipped_wherever_it_is_stored() {
    let (storage, file) = with_file("log", b"aaaa");
    file.write_all_at(b"bbbb", 4).unwrap();
    storage.flip_bit("log", 1, 0);
    storage.flip_bit("log", 6, 1);
    let expected = b"a`aabb`b";
    assert_eq!(storage.contents("log"), holds(expected));
    assert_eq!(storage.crash(Crash::KEEP_ALL).contents("log"), holds(expected));
    assert_eq!(storage.crash(Crash::KEEP_NONE).contents("log"), holds(b"a`aa"));
}

#[test]
fn files_can_be_put_and_taken_away_from_outside() {
    let (storage, file) = with_file("log", b"before");
    storage.put("log", b"after");
    storage.put("deep/down/file", b"x");
    let mut bytes = [0; 10];
    assert_eq!(file.read_full_at(&mut bytes, 0).unwrap(), 5, "open handles see it");
    assert_eq!(storage.list("deep/down").unwrap(), ["file"]);
    let after = storage.crash(Crash::KEEP_NONE);
    assert_eq!(after.paths(), ["deep/down/file", "log"]);
    after.delete("log");
    assert_eq!(after.crash(Crash::KEEP_NONE).paths(), ["deep/down/file"]);
}

/// A little of everything; stops at the first error.
fn workload(storage: &FaultyStorage) -> std::io::Result<()> {
    storage.create_dir("log")?;
    storage.sync_dir("")?;
    for number in 0..4_u64 {
        let temporary = format!("log/{number}.tmp");
        let file = storage.create(&temporary)?;
        file.write_all_at(&[number as u8 + 1; 700], 0)?;
        file.sync_data()?;
        storage.rename(&temporary, &format!("log/{number}"))?;
        storage.sync_dir("log")?;
        for piece in 0..3 {
            file.write_all_at(&[9; 300], 700 + piece * 300)?;
            file.sync_data()?;
        }
        file.set_len(1000)?;
        if number > 1 {
            storage.remove(&format!("log/{}", number - 2))?;
        }
    }
    Ok(())
}

#[test]
fn the_power_goes_at_the_chosen_call_and_stays_off() {
    let whole = FaultyStorage::new(1);
    workload(&whole).unwrap();
    let count = whole.mutating_calls();
    assert!(count > 40 && count <= whole.calls());
    let mut lost_something = 0;
    for n in 1..=count {
        let storage = FaultyStorage::new(n);
        storage.crash_at_call(n);
        let error = workload(&storage).unwrap_err();
        assert!(is_power_off(&error) && error.to_string() == "power is off");
        assert!(!storage.is_on());
        assert_eq!(storage.mutating_calls(), n);
        assert!(is_power_off(&storage.list("").unwrap_err()), "reading fails too");
        assert!(is_power_off(&storage.lock().err().unwrap()));
        for how in Crash::variants(n, 20) {
            let after = storage.crash(how);
            assert!(!after.has_pending() && after.is_on());
            lost_something += usize::from(after.image() != storage.crash(Crash::KEEP_ALL).image());
        }
    }
    assert!(lost_something > 100);
    let storage = FaultyStorage::new(1);
    storage.crash_at_call(count + 1);
    workload(&storage).unwrap();
}

#[test]
fn the_last_call_may_have_a_part_of_its_effect() {
    let durable_lengths: BTreeSet<usize> = (0..100)
        .map(|seed| {
            let storage = FaultyStorage::new(seed);
            let file = storage.create("log").unwrap();
            storage.sync_dir("").unwrap();
            file.write_all_at(&[1; 5120], 0).unwrap();
            storage.crash_in_call(4);
            assert!(is_power_off(&file.sync_data().unwrap_err()));
            storage.crash(Crash::KEEP_NONE).contents("log").unwrap().len()
        })
        .collect();
    assert_eq!(durable_lengths, (0..=10).map(|sectors| sectors * 512).collect());

    let created: BTreeSet<usize> = (0..20)
        .map(|seed| {
            let storage = FaultyStorage::new(seed);
            storage.crash_in_call(1);
            assert!(is_power_off(&storage.create("log").err().unwrap()));
            storage.crash(Crash::KEEP_ALL).paths().len()
        })
        .collect();
    assert_eq!(created, [0, 1].into());
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let run = |seed: u64| {
        let storage = FaultyStorage::new(seed);
        storage.inject(Fault::new(Call::Write, Effect::Short).chance(300));
        storage.crash_in_call(20 + seed % 30);
        storage.start_trace();
        let _ = workload(&storage);
        let images: Vec<_> =
            Crash::variants(seed, 30).map(|how| storage.crash(how).image()).collect();
        (storage.trace(), images)
    };
    let mut different = BTreeSet::new();
    for seed in 0..20 {
        let (trace, images) = run(seed);
        assert_eq!((trace.clone(), images), run(seed), "seed {seed}");
        different.insert(trace);
    }
    assert_eq!(different.len(), 20);
}

#[test]
fn an_image_is_not_changed_by_what_comes_later() {
    let (storage, file) = with_file("log", b"then");
    let image = storage.image();
    file.write_all_at(b"later", 0).unwrap();
    file.sync_data().unwrap();
    storage.create("new").unwrap();
    let restarted = image.restart();
    assert_eq!(restarted.contents("log"), holds(b"then"));
    restarted.open("log").unwrap().write_all_at(b"own", 0).unwrap();
    assert_eq!(image.crash(Crash::KEEP_ALL).contents("log"), holds(b"then"));
    assert_eq!(storage.contents("log"), holds(b"later"));
    assert_eq!(restarted.paths(), ["log"]);
}

#[test]
fn the_trace_says_what_was_called_and_what_came_of_it() {
    let storage = FaultyStorage::new(1);
    storage.start_trace();
    let file = storage.create("log").unwrap();
    file.write_all_at(b"abc", 5).unwrap();
    storage.rename("log", "moved").unwrap();
    storage.crash_at_call(4);
    let _ = file.sync_data();
    let _ = storage.open("log");
    let expected = "1 (mutating 1) Create log -> 0\n\
                    2 (mutating 2) Write log at 5, 3 bytes -> 3\n\
                    3 (mutating 3) Rename log -> moved -> ()\n\
                    4 (mutating 4) Sync moved -> error: power is off\n\
                    5 Open log -> error: power is off";
    assert_eq!(storage.trace(), expected);
}

#[test]
fn an_observer_is_told_before_and_after_each_call_and_may_look() {
    let storage = FaultyStorage::new(1);
    let told = Arc::new(Mutex::new(Vec::new()));
    let kept = told.clone();
    storage.observe(move |disk, when, call, path| {
        let line = format!("{when:?} {call:?} {path:?}: {:?}", disk.contents(path));
        kept.lock().unwrap().push(line);
    });
    storage.create("a").unwrap().write_all_at(b"x", 0).unwrap();
    let told = std::mem::take(&mut *told.lock().unwrap());
    let expected = [
        r#"Before Create "a": None"#,
        r#"After Create "a": Some([])"#,
        r#"Before Write "a": Some([])"#,
        r#"After Write "a": Some([120])"#,
    ];
    assert_eq!(told, expected);
}
