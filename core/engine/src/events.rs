//! Reading effects back as events, with the context after each.
//!
//! Most effects hold only what they changed. The context after one is found, cheapest first, from the
//! one before it in the same reading, from the instance as it is now, or by going back along the
//! instance's effects to one that holds the whole context.

use std::collections::HashMap;
use std::sync::Arc;

use rstmdb_types::{Error, Json, Offset, Result, Text};

use crate::error::{compacted, corrupt};
use crate::log::kinds::{Context, Delta, Subject};
use crate::log::{Body, Effect, Frame};
use crate::shared::Shared;

/// Contexts remembered by one reader of the log.
const CONTEXTS_MAX: usize = 4096;

impl Shared {
    /// The frame that holds a committed offset; it is `compacted` when compaction was faster.
    pub(crate) fn frame(&self, offset: Offset) -> Result<Arc<Frame>> {
        self.find_frame(offset).map_err(|error| self.unless_compacted(offset, error))
    }

    /// What is the matter when reading an offset failed: its segment may have been deleted meanwhile.
    pub(crate) fn unless_compacted(&self, offset: Offset, error: Error) -> Error {
        let first = self.first_offset();
        // Offset 0 is none: a chain that leads there is damaged.
        if (1..first).contains(&offset) {
            return compacted(offset, first);
        }
        self.note_damage(&error);
        error
    }

    fn find_frame(&self, offset: Offset) -> Result<Arc<Frame>> {
        if let Some(frame) = self.ring.get(offset) {
            return Ok(frame);
        }
        if let Some(frame) = self.files.frame(offset)? {
            return Ok(frame);
        }
        // In memory, what is committed may not have been handed over yet.
        self.queue.flush()?;
        match self.files.frame(offset)? {
            Some(frame) => Ok(frame),
            None => Err(corrupt("log", 0, &format!("offset {offset} is missing"))),
        }
    }

    /// Calls `read` with the effect at a committed offset.
    pub(crate) fn with_effect<T>(
        &self,
        offset: Offset,
        read: impl FnOnce(&Effect<'_>) -> T,
    ) -> Result<T> {
        let frame = self.frame(offset)?;
        let found = frame.effects().find(|(at, _)| *at == offset);
        let problem = match found {
            // Going back must come to an end.
            Some((_, effect)) if effect.body.previous() < offset => return Ok(read(&effect)),
            Some(_) => "comes after itself",
            None => "is missing",
        };
        let error = corrupt("log", 0, &format!("the effect at offset {offset} {problem}"));
        self.note_damage(&error);
        Err(error)
    }
}

/// Finds the context after each effect that one reader comes to.
#[derive(Debug, Default)]
pub(crate) struct Contexts {
    known: HashMap<Text, (Offset, Json)>,
}

impl Contexts {
    /// The context after an effect of an instance. It is `compacted` when the effects that tell it
    /// are deleted: the log from its first offset on stands alone, so this one is below.
    pub(crate) fn after(
        &mut self,
        shared: &Shared,
        offset: Offset,
        body: &Body<'_>,
    ) -> Result<Option<Json>> {
        let Some(Subject { id, previous }) = body.subject() else { return Ok(None) };
        let ctx = match body.context() {
            Context::Gone => {
                self.known.remove(id);
                return Ok(None);
            }
            Context::Whole(ctx) => ctx,
            Context::Delta(delta) => self.derive(shared, offset, (id, previous), delta)?,
        };
        if self.known.len() >= CONTEXTS_MAX && !self.known.contains_key(id) {
            self.known.clear();
        }
        // One of several readers may be behind the others.
        if self.known.get(id).is_none_or(|(known, _)| *known < offset) {
            self.known.insert(id.into(), (offset, ctx.clone()));
        }
        Ok(Some(ctx))
    }

    fn derive(
        &self,
        shared: &Shared,
        offset: Offset,
        (id, previous): (&str, Offset),
        delta: Delta,
    ) -> Result<Json> {
        if let Some((at, before)) = self.known.get(id)
            && *at == previous
        {
            return Ok(delta.after(before));
        }
        let hash = shared.state.hash(id);
        {
            let partition = shared.state.partition(hash);
            let slot = partition.known(hash, id);
            if let Some(slot) = slot.filter(|slot| slot.last == offset && !slot.deleted) {
                return Ok(slot.ctx.clone());
            }
        }
        let mut deltas = vec![delta];
        let mut at = previous;
        let anchor = loop {
            let read = shared.with_effect(at, |effect| {
                let told = match effect.body.context() {
                    Context::Whole(ctx) => Some(ctx),
                    Context::Delta(delta) => {
                        deltas.push(delta);
                        None
                    }
                    // Nothing can be merged into what is gone.
                    Context::Gone => Some(Json::empty_object()),
                };
                (told, effect.body.previous())
            });
            let read = read.map_err(|error| shared.unless_compacted(offset, error));
            match read? {
                (Some(ctx), _) => break ctx,
                (None, before) => at = before,
            }
        };
        Ok(deltas.iter().rev().fold(anchor, |ctx, delta| delta.after(&ctx)))
    }
}
