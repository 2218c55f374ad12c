//! Records: the effects of one request. An atomic batch is one record with several effects.
//!
//! See `README.md` beside this file for the byte layout.

use rstmdb_types::Offset;

use super::kinds::Effect;
use crate::codec::{Reader, put_u64};

/// Appends a record: its length, the number of effects, and the effects' bytes.
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

/// The effects in a frame's payload with their offsets; ends early at bytes that are not a record.
#[derive(Debug, Clone)]
pub(crate) struct Effects<'a> {
    payload: Reader<'a>,
    record: Reader<'a>,
    left: u32,
    next: Offset,
    damaged: bool,
}

impl<'a> Effects<'a> {
    pub(crate) fn new(payload: &'a [u8], first: Offset) -> Effects<'a> {
        Effects {
            payload: Reader::new(payload),
            record: Reader::new(&[]),
            left: 0,
            next: first,
            damaged: false,
        }
    }

    /// Whether the iteration ended at bytes that are not a record.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged
    }

    /// The offset of the next effect; after the iteration, the one behind the last.
    pub(crate) fn next_offset(&self) -> Offset {
        self.next
    }

    fn step(&mut self) -> Option<Effect<'a>> {
        if self.left == 0 {
            let head = self.payload.u64()?;
            self.left = if head & 1 == 0 { 1 } else { self.payload.u32()? };
            self.record = Reader::new(self.payload.bytes(usize::try_from(head >> 1).ok()?)?);
        }
        let effect = Effect::decode(&mut self.record)?;
        self.left = self.left.checked_sub(1)?;
        (self.left > 0 || self.record.is_empty()).then_some(effect)
    }
}

impl<'a> Iterator for Effects<'a> {
    type Item = (Offset, Effect<'a>);

    fn next(&mut self) -> Option<(Offset, Effect<'a>)> {
        if self.damaged || (self.left == 0 && self.payload.is_empty()) {
            return None;
        }
        let Some(effect) = self.step() else {
            self.damaged = true;
            return None;
        };
        let offset = self.next;
        self.next += 1;
        Some((offset, effect))
    }
}
