//! The effects in the payload of a frame, one after the other.
//!
//! A record holds the effects of one request, each takes one offset. One alone has the record's length,
//! several have one each, so what a later release wrote can be stepped over and named. In format 1 the
//! effects of a record stood there without lengths.

use rstmdb_types::Offset;

use super::kinds::Effect;
use crate::codec::{Reader, put_u64};

/// Appends a record. One effect is `bytes`; of several each was closed with [`close_effect`].
pub(crate) fn put_record(out: &mut Vec<u8>, effects: u32, bytes: &[u8]) {
    // One effect is the common case: it costs a single bit.
    let length = bytes.len() as u64;
    if effects == 1 {
        put_u64(out, length << 1);
    } else {
        put_u64(out, length << 1 | 1);
        put_u64(out, u64::from(effects));
    }
    out.extend_from_slice(bytes);
}

/// Puts the length before an effect that was appended to `bytes` from `begin` on.
pub(crate) fn close_effect(bytes: &mut Vec<u8>, begin: usize) {
    let end = bytes.len();
    put_u64(bytes, end.saturating_sub(begin) as u64);
    let length_bytes = bytes.len() - end;
    if let Some(effect) = bytes.get_mut(begin..) {
        effect.rotate_right(length_bytes);
    }
}

/// The effects that were closed one by one, as [`put_record`] wants them.
pub(crate) fn closed(effects: u32, bytes: &[u8]) -> &[u8] {
    if effects != 1 {
        return bytes;
    }
    let mut reader = Reader::new(bytes);
    reader.u64().map_or(bytes, |_| reader.rest())
}

/// Why not all effects of a payload could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// The bytes are not what a release writes.
    Damaged,
    /// An effect is of a kind, or has bits, that only a later release knows.
    Newer { kind: u64 },
}

/// The effects in a frame's payload with their offsets; those of a later release are stepped over.
#[derive(Debug, Clone)]
pub(crate) struct Effects<'a> {
    has_lengths: bool,
    payload: Reader<'a>,
    /// What is left of the record, and of its effects.
    record: Reader<'a>,
    left: u32,
    next: Offset,
    fault: Option<Unreadable>,
}

impl<'a> Effects<'a> {
    /// The effects of a frame of this format; the first has the offset `first`.
    pub(crate) fn new(format: u8, payload: &'a [u8], first: Offset) -> Effects<'a> {
        Effects {
            has_lengths: format > 1,
            payload: Reader::new(payload),
            record: Reader::new(&[]),
            left: 0,
            next: first,
            fault: None,
        }
    }

    /// The first thing that was wrong so far.
    pub(crate) fn fault(&self) -> Option<Unreadable> {
        self.fault
    }

    /// Whether the next effect is of the record of the last one.
    pub(crate) fn is_inside_record(&self) -> bool {
        self.left > 0
    }

    /// The offset of the next effect; after the iteration, the one behind the last.
    pub(crate) fn next_offset(&self) -> Offset {
        self.next
    }

    /// The bytes of the next effect; in a batch of format 1, with all that follows.
    fn step(&mut self) -> Option<Reader<'a>> {
        if self.left > 0 {
            return self.next_of_batch();
        }
        let head = self.payload.u64()?;
        let is_batch = head & 1 != 0;
        let effects = if is_batch { self.payload.u32()? } else { 1 };
        let bytes = Reader::new(self.payload.bytes(usize::try_from(head >> 1).ok()?)?);
        self.left = effects.checked_sub(1)?;
        self.record = if is_batch { bytes } else { Reader::new(&[]) };
        if !is_batch {
            return Some(bytes);
        }
        self.left = effects;
        self.next_of_batch()
    }

    fn next_of_batch(&mut self) -> Option<Reader<'a>> {
        self.left -= 1;
        if !self.has_lengths {
            return Some(self.record);
        }
        let length = usize::try_from(self.record.u64()?).ok()?;
        let effect = self.record.bytes(length)?;
        (self.left > 0 || self.record.is_empty()).then(|| Reader::new(effect))
    }

    /// Tells what a later release wrote from damage, behind which nothing is read.
    #[cold]
    fn note_fault(&mut self, bytes: Option<Reader<'a>>) {
        let newer = bytes.and_then(Effect::unknown_kind).map(|kind| Unreadable::Newer { kind });
        self.fault.get_or_insert(newer.unwrap_or(Unreadable::Damaged));
        // In format 1 nothing says where the next one begins.
        if newer.is_none() || !self.has_lengths {
            self.end();
        }
    }

    fn end(&mut self) {
        (self.left, self.payload) = (0, Reader::new(&[]));
    }

    /// Reads the effect, which fills its bytes.
    #[inline]
    fn decode(&mut self, mut bytes: Reader<'a>) -> Option<Effect<'a>> {
        let effect = Effect::decode(&mut bytes)?;
        let shares = !self.has_lengths && self.left > 0;
        if shares {
            self.record = bytes;
        }
        (shares || bytes.is_empty()).then_some(effect)
    }
}

impl<'a> Iterator for Effects<'a> {
    type Item = (Offset, Effect<'a>);

    fn next(&mut self) -> Option<(Offset, Effect<'a>)> {
        while self.left > 0 || !self.payload.is_empty() {
            let bytes = self.step();
            let offset = self.next;
            self.next += 1;
            if let Some(effect) = bytes.and_then(|bytes| self.decode(bytes)) {
                return Some((offset, effect));
            }
            self.note_fault(bytes);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Body;
    use crate::log::kinds::{BatchResult, Delete, FlushAll, KeyRef, Piece};

    fn bodies() -> Vec<Body<'static>> {
        let key = Some(KeyRef { key: "k", fingerprint: 7, global: false });
        vec![
            Body::Delete(Delete { machine: 1, id: "a", from: 1, previous: 10, key }),
            Body::BatchResult(BatchResult { key: "b", fingerprint: 1, results: Piece::Read("[]") }),
            Body::FlushAll(FlushAll),
        ]
    }

    /// A batch of all bodies and one effect alone.
    fn payload(format: u8) -> Vec<u8> {
        let mut batch = Vec::new();
        for body in bodies() {
            let begin = batch.len();
            Effect { at: -5, body }.encode(&mut batch);
            if format > 1 {
                close_effect(&mut batch, begin);
            }
        }
        let mut payload = Vec::new();
        put_record(&mut payload, bodies().len() as u32, &batch);
        put_record(&mut payload, 1, &flush());
        payload
    }

    fn flush() -> Vec<u8> {
        let mut bytes = Vec::new();
        Effect { at: 1, body: Body::FlushAll(FlushAll) }.encode(&mut bytes);
        bytes
    }

    #[test]
    fn effects_of_both_formats_round_trip() {
        for format in [1, 2] {
            let payload = payload(format);
            let mut effects = Effects::new(format, &payload, 40);
            for (index, body) in bodies().into_iter().enumerate() {
                assert_eq!(effects.next(), Some((40 + index as u64, Effect { at: -5, body })));
            }
            assert_eq!(
                effects.next(),
                Some((43, Effect { at: 1, body: Body::FlushAll(FlushAll) }))
            );
            assert_eq!(effects.next(), None);
            assert_eq!((effects.fault(), effects.next_offset()), (None, 44));
            for cut in 1..payload.len() {
                let mut effects = Effects::new(format, &payload[..cut], 1);
                let read = effects.by_ref().count();
                assert!(effects.fault() == Some(Unreadable::Damaged) || read < 4);
            }
        }
    }

    #[test]
    fn an_effect_of_a_batch_that_turns_out_to_be_alone_needs_no_length_of_its_own() {
        let mut batch = flush();
        close_effect(&mut batch, 0);
        assert_eq!(closed(1, &batch), flush());
        assert_eq!(closed(2, &batch), batch);
    }

    #[test]
    fn unknown_effects_are_stepped_over_and_named() {
        let mut batch = Vec::new();
        for effect in [&b"\x0b\0what comes later"[..], &flush(), b"\x46\0"] {
            let begin = batch.len();
            batch.extend_from_slice(effect);
            close_effect(&mut batch, begin);
        }
        let mut payload = Vec::new();
        put_record(&mut payload, 3, &batch);
        put_record(&mut payload, 1, b"\x0e\0");
        put_record(&mut payload, 1, &flush());
        let mut effects = Effects::new(2, &payload, 1);
        let read: Vec<_> = effects.by_ref().map(|(offset, _)| offset).collect();
        assert_eq!(read, [2, 5]);
        assert_eq!(effects.fault(), Some(Unreadable::Newer { kind: 11 }));
        assert_eq!(effects.next_offset(), 6);
    }

    #[test]
    fn bytes_that_are_left_over_are_damage() {
        let long = [flush(), vec![0]].concat();
        let mut alone = Vec::new();
        put_record(&mut alone, 1, &long);
        let mut batch = Vec::new();
        for _ in 0..2 {
            let begin = batch.len();
            batch.extend_from_slice(&long);
            close_effect(&mut batch, begin);
        }
        let mut both = Vec::new();
        put_record(&mut both, 2, &batch);
        for (format, payload) in [(1, &alone), (2, &alone), (2, &both)] {
            let mut effects = Effects::new(format, payload, 1);
            assert_eq!(effects.by_ref().count(), 0);
            assert_eq!(effects.fault(), Some(Unreadable::Damaged));
        }
    }
}
