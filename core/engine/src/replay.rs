//! Applying logged effects to the state, with the same methods that live changes use.

use rstmdb_types::{Json, Offset, Result, Text};

use crate::error::corrupt;
use crate::events::{merged, own_context};
use crate::log::{Body, Effect, KeyRef};
use crate::shared::State;
use crate::state::keys::KeyBounds;
use crate::state::partition::{Birth, Partition, Transition};
use crate::state::{Answer, KeyEntry, Owner};

/// Replays effects in log order over an empty state or a checkpoint.
pub(crate) struct Replayer<'a> {
    pub state: &'a State,
    pub bounds: KeyBounds,
}

impl Replayer<'_> {
    /// Applies one effect, unless the checkpoint has it already.
    pub(crate) fn apply(&self, offset: Offset, effect: &Effect<'_>) -> Result<()> {
        if effect.body.previous() >= offset {
            return Err(misfit(offset, "it comes after itself"));
        }
        let done = match effect.body {
            Body::PutMachine { number, machine, version, definition } => {
                let mut machines = self.state.machines.write();
                if number < machines.next_number() {
                    return Ok(());
                }
                if number > machines.next_number() {
                    return Err(misfit(offset, "a machine before it is missing"));
                }
                return machines.restore(machine, version, definition, offset, false);
            }
            Body::Create { .. } => self.create(offset, effect),
            Body::Apply { .. } => self.transition(offset, effect),
            Body::Delete { .. } => self.delete(offset, effect),
            Body::BatchResult { key, fingerprint, results } => {
                let key = KeyRef { key, fingerprint, global: true };
                let answer = Answer::Batch { results: Json::from_canonical(results) };
                self.remember_global(offset, effect, key, answer);
                Some(())
            }
            Body::FlushAll => {
                let mut machines = self.state.machines.write();
                let mut keys = self.state.global_keys.lock();
                for partition in &mut self.state.lock_all() {
                    partition.flush(offset, self.bounds);
                }
                machines.flush(offset);
                keys.flush(offset);
                Some(())
            }
        };
        done.ok_or_else(|| misfit(offset, "it does not fit what came before it"))
    }

    fn create(&self, offset: Offset, effect: &Effect<'_>) -> Option<()> {
        let Body::Create { machine, id, state, key, .. } = effect.body else { return None };
        let machine = self.state.machines.read().by_number(machine)?.clone();
        let hash = self.state.hash(id);
        let mut partition = self.state.partition(hash);
        let existing = partition.find(hash, id);
        if existing.and_then(|slot| partition.slot(slot)).is_some_and(|slot| slot.last >= offset) {
            return Some(());
        }
        let state = state.unwrap_or_else(|| machine.machine.initial());
        machine.machine.states().get(state as usize)?;
        let name = machine.state_name(state);
        let ctx = own_context(&effect.body)?;
        let birth = Birth { id: id.into(), machine, state, ctx, at: effect.at, offset };
        let (slot, _) = partition.create(hash, existing, birth);
        let answer = Answer::Create { id: id.into(), state: name };
        match key {
            Some(key) if key.global => {
                drop(partition);
                self.remember_global(offset, effect, key, answer);
            }
            Some(key) => self.remember(&mut partition, slot, offset, effect, key, answer),
            None => {}
        }
        Some(())
    }

    fn transition(&self, offset: Offset, effect: &Effect<'_>) -> Option<()> {
        let Body::Apply { machine, id, from, to, payload, event_id, key, .. } = effect.body else {
            return None;
        };
        let hash = self.state.hash(id);
        let mut partition = self.state.partition(hash);
        let number = partition.find(hash, id)?;
        let slot = partition.slot(number)?;
        if slot.last >= offset {
            return Some(());
        }
        if slot.deleted || slot.machine.number != machine || slot.state != from {
            return None;
        }
        slot.machine.machine.states().get(to as usize)?;
        let own = own_context(&effect.body);
        let anchored = own.is_some();
        let ctx = match own {
            Some(ctx) => ctx,
            None => merged(&slot.ctx, payload.map(Json::from_canonical).as_ref()),
        };
        let answer = key.map(|_| Answer::Apply {
            from: slot.machine.state_name(from),
            to: slot.machine.state_name(to),
            ctx: ctx.clone(),
            event_id: event_id.map(Text::from),
        });
        let payload_bytes = payload.map_or(0, str::len);
        let at = effect.at;
        partition
            .apply(number, Transition { to, ctx, at, offset, event_id, payload_bytes, anchored })?;
        if let (Some(key), Some(answer)) = (key, answer) {
            self.remember(&mut partition, number, offset, effect, key, answer);
        }
        Some(())
    }

    fn delete(&self, offset: Offset, effect: &Effect<'_>) -> Option<()> {
        let Body::Delete { id, key, .. } = effect.body else { return None };
        let hash = self.state.hash(id);
        let mut partition = self.state.partition(hash);
        let number = partition.find(hash, id)?;
        let slot = partition.slot(number)?;
        if slot.last >= offset {
            return Some(());
        }
        if slot.deleted {
            return None;
        }
        partition.delete(number, effect.at, offset)?;
        if let Some(key) = key {
            self.remember(&mut partition, number, offset, effect, key, Answer::Delete);
        }
        Some(())
    }

    fn remember(
        &self,
        partition: &mut Partition,
        slot: u32,
        offset: Offset,
        effect: &Effect<'_>,
        key: KeyRef<'_>,
        answer: Answer,
    ) {
        let owner = partition.owner(slot);
        partition.remember(key_entry(owner, offset, effect, key, answer), self.bounds);
    }

    fn remember_global(
        &self,
        offset: Offset,
        effect: &Effect<'_>,
        key: KeyRef<'_>,
        answer: Answer,
    ) {
        let entry = key_entry(Owner::DATABASE, offset, effect, key, answer);
        self.state.global_keys.lock().remember(entry, self.bounds);
    }
}

fn key_entry(
    owner: Owner,
    offset: Offset,
    effect: &Effect<'_>,
    key: KeyRef<'_>,
    answer: Answer,
) -> KeyEntry {
    KeyEntry {
        owner,
        key: key.key.into(),
        fingerprint: key.fingerprint,
        at: effect.at,
        offset,
        answer,
    }
}

fn misfit(offset: Offset, what: &str) -> rstmdb_types::Error {
    corrupt("log", 0, &format!("the effect at offset {offset} can't be applied: {what}"))
        .with("offset", offset)
}
