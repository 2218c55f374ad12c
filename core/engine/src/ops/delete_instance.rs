//! Deletes an instance; its id may be used again.

use rstmdb_types::{DeleteInstanceRequest, DeleteInstanceResult, Offset, Result};

use super::apply_event::wrong_answer;
use super::{Edge, Env, InstanceWrite, Step, fingerprint, key_ref, remembered};
use crate::error::instance_not_found;
use crate::log::{Body, Effect};
use crate::pending::Evaluated;
use crate::shared::Shared;
use crate::state::partition::UndoStep;
use crate::state::{Answer, KeyEntry, KeyTable, Partition};

/// A deletion on its way; what is decided is the slot.
pub(crate) struct DeleteInstance {
    request: DeleteInstanceRequest,
    fingerprint: u64,
}

impl DeleteInstance {
    pub(crate) fn new(request: DeleteInstanceRequest) -> DeleteInstance {
        let keyed = request.idempotency_key.is_some();
        let fingerprint = if keyed { fingerprint("DELETE_INSTANCE", &request) } else { 0 };
        DeleteInstance { request, fingerprint }
    }

    fn result(&self, wal_offset: Offset) -> DeleteInstanceResult {
        DeleteInstanceResult {
            instance_id: self.request.instance_id.clone(),
            deleted: true,
            wal_offset,
        }
    }
}

impl InstanceWrite for DeleteInstance {
    type Result = DeleteInstanceResult;
    type Change = u32;

    fn instance_id(&self) -> &str {
        &self.request.instance_id
    }

    fn evaluate(
        &self,
        env: &Env<'_>,
        partition: &Partition,
        _global: Option<&KeyTable>,
        hash: u64,
    ) -> Result<Step<DeleteInstanceResult, u32>> {
        let id = &self.request.instance_id;
        let number = partition.find(hash, id).ok_or_else(|| instance_not_found(id))?;
        let slot = partition.slot(number).ok_or_else(|| instance_not_found(id))?;
        if let Some(key) = &self.request.idempotency_key {
            env.limits.check_name("idempotency_key", key)?;
            let owner = partition.owner(number);
            let known = remembered(partition.keys(), owner, key, self.fingerprint, env)?;
            if let Some(entry) = known {
                return match entry.answer {
                    Answer::Delete => Ok(Step::Known(self.result(entry.offset))),
                    _ => Err(wrong_answer(entry)),
                };
            }
        }
        // The last change of a deleted instance is its deletion.
        if slot.deleted {
            Ok(Step::Known(self.result(slot.last)))
        } else {
            Ok(Step::Change(number))
        }
    }

    fn encode(&self, env: &Env<'_>, partition: &Partition, change: &u32, out: &mut Vec<u8>) {
        let Some(slot) = partition.slot(*change) else { return };
        Effect {
            at: env.now,
            body: Body::Delete {
                machine: slot.machine.number,
                id: &slot.id,
                from: slot.state,
                previous: slot.last,
                key: key_ref(self.request.idempotency_key.as_deref(), self.fingerprint, false),
            },
        }
        .encode(out);
    }

    fn commit(
        self,
        env: &Env<'_>,
        partition: &mut Partition,
        _hash: u64,
        change: u32,
        offset: Offset,
    ) -> (DeleteInstanceResult, Option<UndoStep>, Option<KeyEntry>) {
        let undo = partition.delete(change, env.now, offset);
        let result = self.result(offset);
        let remember = self.request.idempotency_key.map(|key| KeyEntry {
            owner: partition.owner(change),
            key,
            fingerprint: self.fingerprint,
            at: env.now,
            offset,
            answer: Answer::Delete,
        });
        (result, undo, remember)
    }
}

impl Shared {
    pub(crate) fn delete_instance(
        &self,
        request: DeleteInstanceRequest,
        edge: &Edge,
    ) -> Evaluated<DeleteInstanceResult> {
        self.write(edge, DeleteInstance::new(request))
    }
}
