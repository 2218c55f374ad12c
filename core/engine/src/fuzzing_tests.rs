//! Replays the fuzz corpus and damages it at random, so that what fuzzing once found stays fixed.

use super::*;

fn replay(target: &str, run: fn(&[u8])) {
    let folder =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut seed = 1u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize
    };
    let rounds =
        if std::env::var("RSTMDB_SOAK").is_ok_and(|soak| soak != "0") { 20_000 } else { 200 };
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        let bytes = std::fs::read(&path).unwrap();
        run(&bytes);
        for _ in 0..rounds {
            let mut damaged = bytes.clone();
            for _ in 0..=random() % 4 {
                let at = random() % damaged.len();
                damaged[at] = [0, 1, 0x7f, 0x80, 0xff, random() as u8][random() % 6];
            }
            damaged.truncate(
                damaged.len() - if random() % 4 == 0 { random() % damaged.len() } else { 0 },
            );
            run(&damaged);
        }
        count += 1;
    }
    assert!(count > 0, "{} is empty", folder.display());
}

#[test]
fn segments_of_the_corpus_are_read_or_refused() {
    replay("log", log);
}

#[test]
fn checkpoints_of_the_corpus_are_read_or_refused() {
    replay("checkpoint", checkpoint);
}

#[test]
fn backups_of_the_corpus_are_read_or_refused() {
    replay("backup", backup);
}

#[test]
fn manifests_of_the_corpus_are_read_or_refused() {
    replay("manifest", manifest);
}
