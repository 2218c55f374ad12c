//! Who follows which instance: a change wakes those that want it, however many others there are.
//!
//! Each batch is looked at once, by whoever writes it. A follower that is noticed there reads the log from the change
//! on, as every watch does; to the others it only makes known how far the log has come without them. Nothing piles up
//! for one that does not ask: what is kept is where its first and its last change are.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;
use std::task::Waker;

use rstmdb_types::{Offset, Text};

use crate::log::Ring;
use crate::sync::{AtomicU64, Mutex, Ordering};

/// Followers that are looked at in one go of [`Followers::tell_places`], under the lock that commits take too.
const TOLD_AT_ONCE: usize = 128;

/// How far a watch has come, for whoever asks how far behind it is.
#[derive(Debug, Default)]
pub struct WatchedPlace {
    /// What it looks at next; 0 while it waits for changes of its instance, with all before looked at.
    next: AtomicU64,
    noticed: Mutex<Noticed>,
}

/// What a follower did not look at yet.
#[derive(Debug, Default)]
struct Noticed {
    first: Offset,
    /// 0 when there is nothing.
    last: Offset,
    /// How far it knows that the log has come.
    told: Offset,
    waker: Option<Waker>,
}

impl WatchedPlace {
    /// How many changes it has not looked at, of a log whose last one this is.
    pub fn behind(&self, latest: Offset) -> u64 {
        let next = match self.next.load(Ordering::Relaxed) {
            0 => {
                let noticed = self.noticed.lock();
                if noticed.last == 0 { Offset::MAX } else { noticed.first }
            }
            next => next,
        };
        latest.saturating_add(1).saturating_sub(next)
    }

    pub(crate) fn set(&self, next: Offset) {
        self.next.store(next, Ordering::Relaxed);
    }

    fn notice(&self, first: Offset, last: Offset, woken: &mut Vec<Waker>) {
        let mut noticed = self.noticed.lock();
        if noticed.last == 0 {
            noticed.first = first;
        }
        noticed.last = last;
        woken.extend(noticed.waker.take());
    }

    /// Where the changes are that were noticed since the last time; if there are none, the waker stays for them.
    fn take(&self, reached: Offset, waker: &Waker) -> Option<(Offset, Offset)> {
        let mut noticed = self.noticed.lock();
        if noticed.last > 0 {
            return Some((noticed.first, std::mem::take(&mut noticed.last)));
        }
        noticed.told = noticed.told.max(reached);
        if !noticed.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            noticed.waker = Some(waker.clone());
        }
        None
    }
}

/// How far the followers have been seen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Changes up to here were noticed, where somebody follows their instance.
    pub reached: Offset,
    /// The term of the newest.
    pub term: u64,
}

/// A batch that was looked at.
#[derive(Debug)]
pub(crate) struct NoticedBatch {
    last: Offset,
    term: Option<u64>,
    woken: Vec<Waker>,
}

/// All that follow one instance each.
#[derive(Debug, Default)]
pub(crate) struct Followers {
    list: Mutex<FollowerList>,
    reached: AtomicU64,
    term: AtomicU64,
}

#[derive(Debug, Default)]
struct FollowerList {
    by_instance: HashMap<Text, Vec<Arc<WatchedPlace>>>,
    /// By the number of the watch.
    by_number: BTreeMap<u64, Arc<WatchedPlace>>,
}

impl Followers {
    /// Changes that are appended after this returns are noticed for the place. So many are committed already.
    pub(crate) fn add(
        &self,
        instance: &Text,
        number: u64,
        place: &Arc<WatchedPlace>,
        committed: Offset,
    ) {
        let mut list = self.list.lock();
        if list.by_number.is_empty() {
            // There was nobody to notice anything for.
            self.reached.fetch_max(committed, Ordering::SeqCst);
        }
        list.by_instance.entry(instance.clone()).or_default().push(place.clone());
        list.by_number.insert(number, place.clone());
    }

    pub(crate) fn remove(&self, instance: &Text, number: u64, place: &Arc<WatchedPlace>) {
        let mut list = self.list.lock();
        list.by_number.remove(&number);
        if let Some(places) = list.by_instance.get_mut(instance) {
            places.retain(|known| !Arc::ptr_eq(known, place));
            if places.is_empty() {
                list.by_instance.remove(instance);
            }
        }
    }

    /// How far they were seen to. What is noticed up to there is noticed before this says so.
    pub(crate) fn seen(&self) -> Seen {
        let reached = self.reached.load(Ordering::SeqCst);
        Seen { reached, term: self.term.load(Ordering::SeqCst) }
    }

    /// How far they were seen to; none when there is nobody.
    pub(crate) fn reach(&self) -> Option<Offset> {
        let is_empty = self.list.lock().by_number.is_empty();
        (!is_empty).then(|| self.reached.load(Ordering::SeqCst))
    }

    /// Changes for a place that knows the log up to `seen`: from where to where, or none yet; then it is woken for
    /// the next one.
    pub(crate) fn poll(
        &self,
        place: &WatchedPlace,
        seen: Seen,
        waker: &Waker,
    ) -> Option<(Offset, Offset)> {
        place.take(seen.reached, waker)
    }

    /// Looks at the changes of a batch that is written and not committed yet: whoever sees that it is finds them
    /// noticed. Who is to be woken then is returned; nobody when nobody follows anything.
    pub(crate) fn notice(&self, ring: &Ring, first: Offset, last: Offset) -> Option<NoticedBatch> {
        let (mut woken, mut term) = (Vec::new(), None);
        let list = self.list.lock();
        if list.by_number.is_empty() {
            return None;
        }
        let mut next = first;
        while next <= last {
            let Some(frame) = ring.get(next) else {
                // It was written before anybody followed: they look themselves.
                for place in list.by_number.values() {
                    place.notice(next, last, &mut woken);
                }
                break;
            };
            for (offset, effect) in frame.effects() {
                let places = effect.body.instance().and_then(|id| list.by_instance.get(id));
                for place in places.into_iter().flatten() {
                    place.notice(offset, offset, &mut woken);
                }
            }
            term = Some(frame.header.term);
            next = frame.header.last() + 1;
        }
        Some(NoticedBatch { last, term, woken })
    }

    /// A batch that was looked at is committed.
    pub(crate) fn committed(&self, batch: NoticedBatch) {
        if let Some(term) = batch.term {
            self.term.store(term, Ordering::SeqCst);
        }
        self.reached.fetch_max(batch.last, Ordering::SeqCst);
        batch.woken.into_iter().for_each(Waker::wake);
    }

    /// Wakes all of them.
    pub(crate) fn wake_all(&self) {
        let list = self.list.lock();
        let woken: Vec<_> =
            list.by_number.values().filter_map(|place| place.noticed.lock().waker.take()).collect();
        drop(list);
        woken.into_iter().for_each(Waker::wake);
    }

    /// Wakes some of those that do not know how far the log has come, from behind this number on; returns the number
    /// of the last that was looked at, unless it was the last there is.
    pub(crate) fn tell_places(&self, after: Option<u64>) -> Option<u64> {
        let reached = self.reached.load(Ordering::SeqCst);
        let mut woken = Vec::new();
        let list = self.list.lock();
        let from = after.map_or(Unbounded, Excluded);
        let mut last = None;
        for (number, place) in list.by_number.range((from, Unbounded)).take(TOLD_AT_ONCE) {
            let mut noticed = place.noticed.lock();
            if noticed.told < reached {
                woken.extend(noticed.waker.take());
            }
            last = Some(*number);
        }
        let is_end = list.by_number.last_key_value().map(|(number, _)| *number) == last;
        drop(list);
        woken.into_iter().for_each(Waker::wake);
        last.filter(|_| !is_end)
    }
}
