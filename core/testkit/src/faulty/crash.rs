//! What a power cut leaves on the disk.
//!
//! Anything synced stays. Of the rest, the variant says what got there: nothing, all, the first so many
//! changes, or any subset. Bytes that were durable and never written again are never touched, and a
//! file that was durably cut never shows what was behind the cut.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::bytes::{Bytes, SECTOR_BYTES, Sector};
use super::disk::{Change, Content, Disk, Node, Tree, parent};
use super::rng::Rng;

/// What becomes of pending bytes and lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepBytes {
    /// None of them.
    None,
    /// All of them.
    All,
    /// Of each file the first so many changes, the next one torn at a byte.
    Prefix,
    /// Of each file any sectors in any order, each old, new (any version), torn at a byte, or zero
    /// where it was never durable; and any length the file had.
    Sectors,
}

/// What becomes of pending names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepNames {
    /// None of them.
    None,
    /// All of them.
    All,
    /// The first so many.
    Prefix,
    /// Any of them, but none without the earlier ones of the same name.
    Subset,
}

/// One way for the power to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crash {
    /// What becomes of pending bytes and lengths.
    pub bytes: KeepBytes,
    /// What becomes of pending names.
    pub names: KeepNames,
    /// Decides wherever there is a choice.
    pub seed: u64,
}

impl Crash {
    /// Only what was synced is there.
    pub const KEEP_NONE: Self = Self { bytes: KeepBytes::None, names: KeepNames::None, seed: 0 };

    /// Everything got to the disk in time.
    pub const KEEP_ALL: Self = Self { bytes: KeepBytes::All, names: KeepNames::All, seed: 0 };

    /// Names got there and bytes did not: empty files, and renames that overtook what they rename.
    pub const NAMES_ONLY: Self = Self { bytes: KeepBytes::None, names: KeepNames::All, seed: 0 };

    /// Bytes got there and names did not.
    pub const BYTES_ONLY: Self = Self { bytes: KeepBytes::All, names: KeepNames::None, seed: 0 };

    /// A variant chosen by the seed; mostly the ones that tear.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let bytes = match rng.below(10) {
            0 => KeepBytes::None,
            1 => KeepBytes::All,
            2..=4 => KeepBytes::Prefix,
            _ => KeepBytes::Sectors,
        };
        let names = match rng.below(10) {
            0 => KeepNames::None,
            1 | 2 => KeepNames::All,
            3..=5 => KeepNames::Prefix,
            _ => KeepNames::Subset,
        };
        Self { bytes, names, seed: rng.next_u64() }
    }

    /// The four fixed variants, then seeded ones: `count` in all.
    pub fn variants(seed: u64, count: usize) -> impl Iterator<Item = Self> {
        let fixed = [Self::KEEP_NONE, Self::KEEP_ALL, Self::NAMES_ONLY, Self::BYTES_ONLY];
        let mut rng = Rng::new(seed);
        let seeded = std::iter::repeat_with(move || Self::seeded(rng.next_u64()));
        fixed.into_iter().chain(seeded).take(count)
    }
}

/// The disk as the next machine finds it.
pub(super) fn crash(disk: &Disk, how: Crash) -> Disk {
    let mut rng = Rng::new(how.seed);
    let mut tree = surviving_names(disk, how.names, &mut rng);
    drop_unreachable(&mut tree);
    let mut contents = BTreeMap::new();
    for node in tree.values() {
        if let Node::File(id) = node {
            contents.insert(*id, surviving_bytes(disk.view(*id), how.bytes, &mut rng));
        }
    }
    Disk::settled(tree, contents, disk)
}

fn surviving_names(disk: &Disk, keep: KeepNames, rng: &mut Rng) -> Tree {
    let mut tree = disk.durable.clone();
    let count = match keep {
        KeepNames::None => 0,
        KeepNames::All | KeepNames::Subset => disk.pending.len(),
        KeepNames::Prefix => rng.index(disk.pending.len() + 1),
    };
    let keep_per_mille = mood(rng);
    let mut lost = BTreeSet::new();
    for entry in disk.pending.iter().take(count) {
        let chosen = keep != KeepNames::Subset || rng.chance(keep_per_mille);
        if chosen && entry.change.paths().all(|path| !lost.contains(path)) {
            entry.change.apply(&mut tree);
        } else {
            lost.extend(entry.change.paths());
        }
    }
    tree
}

/// A name in a directory that itself was lost is lost.
fn drop_unreachable(tree: &mut Tree) {
    // A directory sorts before what is in it, so one pass decides from the top down.
    let mut kept: Tree = Tree::new();
    for (path, node) in std::mem::take(tree) {
        let directory = parent(&path);
        if directory.is_empty() || kept.get(directory) == Some(&Node::Directory) {
            kept.insert(path, node);
        }
    }
    *tree = kept;
}

fn surviving_bytes(content: &Content, keep: KeepBytes, rng: &mut Rng) -> Bytes {
    match keep {
        KeepBytes::None => content.durable.clone(),
        KeepBytes::All => {
            let mut bytes = content.durable.clone();
            content.pending.iter().for_each(|change| change.apply(&mut bytes));
            bytes
        }
        KeepBytes::Prefix => prefix(content, rng),
        KeepBytes::Sectors => subset(content, rng),
    }
}

fn prefix(content: &Content, rng: &mut Rng) -> Bytes {
    let mut bytes = content.durable.clone();
    let count = rng.index(content.pending.len() + 1);
    content.pending.iter().take(count).for_each(|change| change.apply(&mut bytes));
    if let Some(Change::Sector { index, image, length }) = content.pending.get(count) {
        let torn = torn(&bytes.sector(*index), image, rng, true);
        // The length may stop at the tear or run on to where the write was to end.
        let start = index * SECTOR_BYTES as u64;
        let end = length.saturating_sub(start).min(SECTOR_BYTES as u64);
        let reach = start + if rng.chance(500) { end } else { rng.below(end + 1) };
        if reach > bytes.length() {
            bytes.set_len(reach);
        }
        bytes.put_sector(*index, &torn);
    }
    bytes
}

/// What a crash may choose from for one file.
struct Choices {
    /// What is there when no pending sector is.
    base: Bytes,
    /// How far `base` holds bytes that were durable.
    durable_end: u64,
    versions: BTreeMap<u64, Vec<Arc<Sector>>>,
    lengths: Vec<u64>,
}

impl Choices {
    /// Cuts of a file get to the disk in order: one that did not hides all that came after it.
    fn new(content: &Content, rng: &mut Rng) -> Self {
        let durable_end = content.durable.length();
        let mut choices = Self {
            base: content.durable.clone(),
            durable_end,
            versions: BTreeMap::new(),
            lengths: vec![durable_end],
        };
        let mut length_then = durable_end;
        for change in &content.pending {
            match change {
                Change::Sector { index, image, length } => {
                    length_then = *length;
                    choices.lengths.push(*length);
                    choices.versions.entry(*index).or_default().push(image.clone());
                }
                Change::Length(length) if *length >= length_then => {
                    length_then = *length;
                    choices.lengths.push(*length);
                }
                Change::Length(length) => {
                    if rng.chance(500) {
                        return choices;
                    }
                    length_then = *length;
                    choices.cut(*length);
                }
            }
        }
        choices
    }

    fn cut(&mut self, length: u64) {
        self.lengths = vec![length];
        self.durable_end = self.durable_end.min(length);
        if length < self.base.length() {
            self.base.set_len(length);
        }
        let (boundary, inside) = (length / SECTOR_BYTES as u64, length % SECTOR_BYTES as u64);
        self.versions.retain(|index, _| *index < boundary || (*index == boundary && inside > 0));
        for image in self.versions.entry(boundary).or_default() {
            Arc::make_mut(image)[inside as usize..].fill(0);
        }
        if self.versions.get(&boundary).is_some_and(Vec::is_empty) {
            self.versions.remove(&boundary);
        }
    }
}

fn subset(content: &Content, rng: &mut Rng) -> Bytes {
    let choices = Choices::new(content, rng);
    let mut bytes = choices.base;
    bytes.set_len(choices.lengths[rng.index(choices.lengths.len())]);
    let keep_per_mille = mood(rng);
    for (index, versions) in choices.versions {
        let old = bytes.sector(index);
        let newest = versions.len() - 1;
        let chosen = if rng.chance(700) { newest } else { rng.index(versions.len()) };
        let new = &versions[chosen];
        if rng.chance(keep_per_mille) {
            bytes.put_sector(index, new);
            continue;
        }
        match rng.below(4) {
            0 | 1 => bytes.put_sector(index, &old),
            2 => {
                let before = if chosen == 0 { &old } else { &*versions[chosen - 1] };
                bytes.put_sector(index, &torn(before, new, rng, false));
            }
            _ => {
                let start = index * SECTOR_BYTES as u64;
                let durable = choices.durable_end.saturating_sub(start).min(SECTOR_BYTES as u64);
                let mut zeroed = old;
                zeroed[durable as usize..].fill(0);
                bytes.put_sector(index, &zeroed);
            }
        }
    }
    bytes
}

/// The first bytes of one sector and the last of the other; which is which, only if not `in_order`.
fn torn(old: &Sector, new: &Sector, rng: &mut Rng, in_order: bool) -> Sector {
    let at = rng.index(SECTOR_BYTES + 1);
    let (first, last) = if in_order || rng.chance(500) { (new, old) } else { (old, new) };
    let mut mixed = *last;
    mixed[..at].copy_from_slice(&first[..at]);
    mixed
}

/// How likely each pending thing survives: mostly, hardly, or half of the time.
fn mood(rng: &mut Rng) -> u32 {
    [100, 500, 900, 980][rng.index(4)]
}
