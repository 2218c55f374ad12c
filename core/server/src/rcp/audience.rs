//! Watches that are told the same: an event is written out once for all of them.
//!
//! Each has its own place in the log. The first that comes to a place reads what is there and leaves the texts for the
//! others, which only take them; one that is far behind reads for itself. The newest texts are kept while several
//! share them, and no more than so many bytes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rstmdb_protocol::Dialect;
use rstmdb_protocol::message::{self, EventText};
use rstmdb_types::{InstanceEvent, LogPosition, Offset};

use crate::calls::{KnownContexts, Selection};

/// What an audience keeps of texts that others may still want.
const KEPT_BYTES: usize = 1 << 20;

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
        size_of::<EventTexts>() + self.bytes.len() + self.places.len() * size_of::<TextPlace>()
    }
}

/// Watches of the same events in the same dialect.
#[derive(Debug, Default)]
pub(crate) struct Audience {
    texts: Mutex<Kept>,
    /// What was learnt while reading the newest.
    contexts: KnownContexts,
}

/// The newest texts, in order.
#[derive(Debug, Default)]
struct Kept {
    texts: VecDeque<Arc<EventTexts>>,
    bytes: usize,
}

impl Audience {
    /// What somebody read from there.
    pub(crate) fn find(&self, from: Offset) -> Option<Arc<EventTexts>> {
        let kept = self.texts.lock();
        let at = kept.texts.binary_search_by_key(&from, |texts| texts.from).ok()?;
        kept.texts.get(at).cloned()
    }

    /// What is known of contexts, for who is not behind the others.
    pub(crate) fn contexts(&self, from: Offset) -> Option<&KnownContexts> {
        let kept = self.texts.lock();
        kept.texts.back().is_none_or(|newest| newest.from <= from).then_some(&self.contexts)
    }

    /// Leaves texts for the others, if there are any and these are the newest.
    pub(crate) fn leave(self: &Arc<Self>, texts: &Arc<EventTexts>) {
        let is_alone = Arc::strong_count(self) == 1;
        let mut kept = self.texts.lock();
        if is_alone {
            *kept = Kept::default();
            return;
        }
        if kept.texts.back().is_some_and(|newest| newest.from >= texts.from) {
            return;
        }
        kept.bytes += texts.size();
        kept.texts.push_back(texts.clone());
        while kept.bytes > KEPT_BYTES {
            let Some(oldest) = kept.texts.pop_front() else { break };
            kept.bytes -= oldest.size();
        }
    }
}

/// All audiences, for as long as anybody is in them.
#[derive(Debug, Default)]
pub(crate) struct Audiences(Mutex<HashMap<(Selection, Dialect), Weak<Audience>>>);

impl Audiences {
    /// The audience of a watch.
    pub(crate) fn join(&self, selection: &Selection, dialect: Dialect) -> Arc<Audience> {
        let mut all = self.0.lock();
        let known = all.get(&(selection.clone(), dialect)).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            all.retain(|_, audience| audience.strong_count() > 0);
            let audience = Arc::<Audience>::default();
            all.insert((selection.clone(), dialect), Arc::downgrade(&audience));
            audience
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(from: Offset, bytes: usize) -> Arc<EventTexts> {
        let end = LogPosition { next: from + 1, history_id: None };
        Arc::new(EventTexts { from, end, bytes: vec![0; bytes], places: Vec::new() })
    }

    #[test]
    fn the_newest_texts_are_kept_while_several_share_them() {
        let audience = Arc::<Audience>::default();
        audience.leave(&texts(1, 10));
        assert!(audience.find(1).is_none(), "nobody else wants them");
        let other = audience.clone();
        audience.leave(&texts(1, 10));
        audience.leave(&texts(5, 10));
        audience.leave(&texts(3, 10));
        assert!(audience.find(1).is_some() && audience.find(5).is_some());
        assert!(audience.find(3).is_none(), "who is behind leaves nothing");
        assert!(audience.contexts(5).is_some() && audience.contexts(4).is_none());
        audience.leave(&texts(6, KEPT_BYTES - 200));
        assert!(audience.find(1).is_none() && audience.find(6).is_some(), "the oldest go");
        audience.leave(&texts(7, KEPT_BYTES));
        assert!(audience.find(7).is_none(), "what is too large is not kept");
        drop(other);
    }

    #[test]
    fn an_audience_is_forgotten_with_its_last_watch() {
        let audiences = Audiences::default();
        let selection = |request: &str| Selection::for_test(1, request);
        let first = audiences.join(&selection("a"), Dialect::Plain);
        assert!(Arc::ptr_eq(&first, &audiences.join(&selection("a"), Dialect::Plain)));
        for (other, dialect) in [("b", Dialect::Plain), ("a", Dialect::Extended)] {
            assert!(!Arc::ptr_eq(&first, &audiences.join(&selection(other), dialect)));
        }
        drop(first);
        let _other = audiences.join(&selection("c"), Dialect::Plain);
        assert_eq!(audiences.0.lock().len(), 1);
    }
}
