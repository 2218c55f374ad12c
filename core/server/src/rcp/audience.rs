//! Watches that are told the same: an event is written out once for all of them.
//!
//! Each has its own place in the log. The first that comes to a place reads what is there and leaves the texts for the
//! others, which only take them; one that is far behind reads for itself. Texts are kept until every watch has passed
//! them, and no more than so many bytes: of each audience, and of all.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use rstmdb_protocol::Dialect;
use rstmdb_protocol::message::{self, EventText};
use rstmdb_types::{InstanceEvent, LogPosition, Offset};

use crate::calls::{KnownContexts, Selection};

/// What an audience keeps of texts that others may still want.
const KEPT_BYTES: usize = 1 << 20;

/// What all audiences of a server keep.
const ALL_KEPT_BYTES: usize = 64 << 20;

/// Events that were read in one go, as text.
#[derive(Debug)]
pub(crate) struct EventTexts {
    /// Where they were read from.
    from: Offset,
    /// Where a watch is that was told all of them: they are of one history, which is that of this place.
    pub end: LogPosition,
    bytes: Vec<u8>,
    places: Vec<TextPlace>,
}

/// Where the text of an event is: it begins where the one before ends.
#[derive(Debug)]
struct TextPlace {
    offset: Offset,
    tail: usize,
    end: usize,
}

impl EventTexts {
    pub(crate) fn write(
        from: Offset,
        end: LogPosition,
        dialect: Dialect,
        events: &VecDeque<InstanceEvent>,
    ) -> EventTexts {
        let (mut bytes, mut places) = (Vec::new(), Vec::with_capacity(events.len()));
        for event in events {
            let tail = message::event_text(&mut bytes, dialect, event);
            places.push(TextPlace { offset: event.wal_offset, tail, end: bytes.len() });
        }
        // Others may want them for long.
        bytes.shrink_to_fit();
        EventTexts { from, end, bytes, places }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn get(&self, index: usize) -> Option<EventText<'_>> {
        let place = self.places.get(index)?;
        let begin = index.checked_sub(1).and_then(|before| self.places.get(before));
        let begin = begin.map_or(0, |before| before.end);
        Some(EventText {
            offset: place.offset,
            head: self.bytes.get(begin..place.tail)?,
            tail: self.bytes.get(place.tail..place.end)?,
        })
    }

    fn size(&self) -> usize {
        size_of::<EventTexts>()
            + self.bytes.capacity()
            + self.places.capacity() * size_of::<TextPlace>()
    }
}

/// Watches of the same events in the same dialect.
#[derive(Debug)]
pub(crate) struct Audience {
    key: AudienceKey,
    kept: Mutex<Kept>,
    /// What was learnt while reading the newest.
    contexts: KnownContexts,
}

/// The newest texts, in order, and who wants them.
#[derive(Debug, Default)]
struct Kept {
    texts: VecDeque<Arc<EventTexts>>,
    bytes: usize,
    /// Where the newest that were read while several watched begin.
    newest: Option<Offset>,
    /// How many watches are at each place.
    watches: BTreeMap<Offset, usize>,
}

impl Kept {
    fn enter(&mut self, place: Offset) {
        *self.watches.entry(place).or_default() += 1;
    }

    fn leave(&mut self, place: Offset) {
        if let Some(count) = self.watches.get_mut(&place) {
            *count -= 1;
            if *count == 0 {
                self.watches.remove(&place);
            }
        }
    }

    fn is_shared(&self) -> bool {
        self.watches.len() > 1 || self.watches.values().any(|count| *count > 1)
    }

    /// Frees what nobody else comes to, and the oldest beyond `bytes_max`.
    fn free(&mut self, bytes_max: usize, all: &AtomicUsize) {
        let first = if self.is_shared() { self.watches.keys().next().copied() } else { None };
        if first.is_none() {
            self.newest = None;
        }
        while self.bytes > bytes_max
            || self
                .texts
                .front()
                .is_some_and(|oldest| first.is_none_or(|first| oldest.from < first))
        {
            let Some(oldest) = self.texts.pop_front() else { break };
            self.bytes -= oldest.size();
            all.fetch_sub(oldest.size(), Ordering::Relaxed);
        }
    }
}

/// The place of a watch in its audience, for as long as it is in there.
#[derive(Debug)]
pub(crate) struct Seat {
    audiences: Arc<Audiences>,
    audience: Arc<Audience>,
    /// The next offset it looks at.
    place: Offset,
}

impl Seat {
    /// What somebody read from there, where this watch is now.
    pub(crate) fn find(&mut self, from: Offset) -> Option<Arc<EventTexts>> {
        let mut kept = self.audience.kept.lock();
        let at = kept.texts.binary_search_by_key(&from, |texts| texts.from).ok();
        let found = at.and_then(|at| kept.texts.get(at).cloned());
        let place = found.as_ref().map_or(from, |texts| texts.end.next);
        Self::go_to(&mut self.place, place, &mut kept, &self.audiences);
        found
    }

    /// What is known of contexts, for who is not behind the others.
    pub(crate) fn contexts(&self, from: Offset) -> Option<&KnownContexts> {
        let newest = self.audience.kept.lock().newest;
        newest.is_none_or(|newest| newest <= from).then_some(&self.audience.contexts)
    }

    /// Leaves what this watch read for those that have not passed it, if there are any and it is the newest.
    pub(crate) fn leave(&mut self, texts: &Arc<EventTexts>) {
        let mut kept = self.audience.kept.lock();
        Self::go_to(&mut self.place, texts.end.next, &mut kept, &self.audiences);
        if !kept.is_shared() || kept.newest.is_some_and(|newest| newest >= texts.from) {
            return;
        }
        kept.newest = Some(texts.from);
        let is_wanted = kept.watches.keys().next().is_some_and(|first| *first <= texts.from);
        let Some(room) = KEPT_BYTES.checked_sub(texts.size()).filter(|_| is_wanted) else { return };
        kept.free(room, &self.audiences.kept_bytes);
        if self.audiences.take_room(texts.size()) {
            kept.bytes += texts.size();
            kept.texts.push_back(texts.clone());
        }
    }

    fn go_to(place: &mut Offset, next: Offset, kept: &mut Kept, audiences: &Audiences) {
        if *place != next {
            kept.enter(next);
            kept.leave(*place);
            *place = next;
            kept.free(KEPT_BYTES, &audiences.kept_bytes);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut list = self.audiences.list.lock();
        let mut kept = self.audience.kept.lock();
        kept.leave(self.place);
        kept.free(KEPT_BYTES, &self.audiences.kept_bytes);
        if kept.watches.is_empty() {
            list.remove(&self.audience.key);
        }
    }
}

/// What all in an audience have in common.
type AudienceKey = Arc<(Selection, Dialect)>;

/// All audiences, for as long as anybody is in them.
#[derive(Debug, Default)]
pub(crate) struct Audiences {
    list: Mutex<HashMap<AudienceKey, Arc<Audience>>>,
    /// The size of all texts that are kept.
    kept_bytes: AtomicUsize,
}

impl Audiences {
    /// A seat in the audience of a watch that has come to a place.
    pub(crate) fn join(
        self: &Arc<Self>,
        selection: &Selection,
        dialect: Dialect,
        place: Offset,
    ) -> Seat {
        let key = Arc::new((selection.clone(), dialect));
        let mut list = self.list.lock();
        let audience = list.entry(key).or_insert_with_key(|key| {
            let (kept, contexts) = (Mutex::default(), KnownContexts::default());
            Arc::new(Audience { key: key.clone(), kept, contexts })
        });
        audience.kept.lock().enter(place);
        Seat { audiences: self.clone(), audience: audience.clone(), place }
    }

    /// Takes room for texts from what all may keep; says whether there was as much.
    fn take_room(&self, bytes: usize) -> bool {
        let take = |kept: usize| kept.checked_add(bytes).filter(|kept| *kept <= ALL_KEPT_BYTES);
        self.kept_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(from: Offset, bytes: usize) -> Arc<EventTexts> {
        let end = LogPosition { next: from + 1, history_id: None };
        Arc::new(EventTexts { from, end, bytes: vec![0; bytes], places: Vec::new() })
    }

    fn join(audiences: &Arc<Audiences>, request: &str, place: Offset) -> Seat {
        audiences.join(&Selection::for_test(1, request), Dialect::Plain, place)
    }

    fn kept_bytes(audiences: &Audiences) -> usize {
        audiences.kept_bytes.load(Ordering::Relaxed)
    }

    #[test]
    fn the_newest_texts_are_kept_while_several_share_them() {
        let audiences = Arc::<Audiences>::default();
        let mut first = join(&audiences, "a", 1);
        first.leave(&texts(1, 10));
        assert_eq!(kept_bytes(&audiences), 0, "nobody else wants them");
        let mut other = join(&audiences, "a", 1);
        first.leave(&texts(1, 10));
        first.leave(&texts(5, 10));
        first.leave(&texts(3, 10));
        assert_eq!(first.audience.kept.lock().texts.len(), 2, "who is behind leaves nothing");
        assert!(other.contexts(5).is_some() && other.contexts(4).is_none());
        first.leave(&texts(6, KEPT_BYTES - 200));
        assert!(other.find(1).is_none() && other.find(6).is_some(), "the oldest go");
        first.leave(&texts(7, KEPT_BYTES));
        assert!(other.find(7).is_none(), "what is too large is not kept");
    }

    #[test]
    fn texts_are_freed_when_every_watch_has_passed_them() {
        let audiences = Arc::<Audiences>::default();
        let (mut first, mut second, mut third) =
            (join(&audiences, "a", 1), join(&audiences, "a", 1), join(&audiences, "a", 2));
        first.leave(&texts(1, 10));
        first.leave(&texts(2, 10));
        let both = kept_bytes(&audiences);
        assert!(second.find(1).is_some() && kept_bytes(&audiences) < both, "the third began later");
        assert!(second.find(2).is_some() && third.find(2).is_some());
        assert_eq!(kept_bytes(&audiences), 0);
        assert!(first.contexts(1).is_none(), "what was read newest is known all the same");
        // One that ends wants nothing, and one that is left alone has nobody to share with.
        first.leave(&texts(3, 10));
        assert!(second.find(3).is_some() && kept_bytes(&audiences) > 0);
        drop(third);
        assert_eq!(kept_bytes(&audiences), 0);
        first.leave(&texts(4, 10));
        drop(first);
        assert_eq!(kept_bytes(&audiences), 0);
        assert!(second.find(4).is_none() && second.contexts(1).is_some());
    }

    #[test]
    fn all_audiences_keep_no_more_than_so_many_bytes_together() {
        let audiences = Arc::<Audiences>::default();
        let mut seats: Vec<[Seat; 2]> = (0..ALL_KEPT_BYTES / KEPT_BYTES + 9)
            .map(|n| [join(&audiences, &n.to_string(), 1), join(&audiences, &n.to_string(), 1)])
            .collect();
        // One text in many places: only its size counts.
        let large = texts(1, KEPT_BYTES - 200);
        for [first, _] in &mut seats {
            first.leave(&large);
        }
        assert!(kept_bytes(&audiences) <= ALL_KEPT_BYTES);
        let [_, last] = seats.last_mut().unwrap();
        assert!(last.find(1).is_none(), "there was no room left");
        drop(seats.drain(..20));
        let [first, last] = seats.last_mut().unwrap();
        first.leave(&texts(2, KEPT_BYTES - 200));
        assert!(last.find(2).is_some(), "there is room again");
        drop(seats);
        assert_eq!(kept_bytes(&audiences), 0);
    }

    #[test]
    fn what_is_kept_counts_as_what_it_takes() {
        let bytes = Vec::with_capacity(1000);
        let end = LogPosition { next: 2, history_id: None };
        let texts = EventTexts { from: 1, end, bytes, places: Vec::with_capacity(10) };
        assert!(texts.size() >= 1000 + 10 * size_of::<TextPlace>());
    }

    #[test]
    fn an_audience_is_forgotten_with_its_last_watch() {
        let audiences = Arc::<Audiences>::default();
        let first = join(&audiences, "a", 1);
        assert!(Arc::ptr_eq(&first.audience, &join(&audiences, "a", 9).audience));
        for (other, dialect) in [("b", Dialect::Plain), ("a", Dialect::Extended)] {
            let other = audiences.join(&Selection::for_test(1, other), dialect, 1);
            assert!(!Arc::ptr_eq(&first.audience, &other.audience));
        }
        assert_eq!(audiences.list.lock().len(), 1);
        drop(first);
        assert!(audiences.list.lock().is_empty());
    }
}
