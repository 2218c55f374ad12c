//! Deletes an instance; its id may be used again.

use rstmdb_types::{DeleteInstanceRequest, DeleteInstanceResult, Offset, Result};

use super::Edge;
use super::decision::{AtOffset, Draft, Drafts, Env, Evaluate, Step};
use super::keys::{Keyed, wrong_answer};
use crate::error::instance_not_found;
use crate::log::Body;
use crate::log::kinds::{Delete, DeleteAgain};
use crate::pending::Evaluated;
use crate::shared::Shared;
use crate::state::locked::{Known, Locked};
use crate::state::{Answer, Owner};

/// A deletion on its way.
pub(crate) struct DeleteInstance<'r> {
    request: &'r DeleteInstanceRequest,
    keyed: Keyed,
}

impl DeleteInstance<'_> {
    pub(crate) fn new(request: &DeleteInstanceRequest) -> DeleteInstance<'_> {
        let keyed = Keyed::new(request.idempotency_key.as_ref(), request);
        DeleteInstance { request, keyed }
    }

    fn result(&self, wal_offset: Offset) -> DeleteInstanceResult {
        DeleteInstanceResult {
            instance_id: self.request.instance_id.clone(),
            deleted: true,
            wal_offset,
        }
    }
}

impl Evaluate for DeleteInstance<'_> {
    type Result = DeleteInstanceResult;

    fn instance_id(&self) -> &str {
        &self.request.instance_id
    }

    fn evaluate(
        &self,
        env: &Env<'_>,
        locked: &Locked<'_>,
        hash: u64,
    ) -> Result<Step<'_, DeleteInstanceResult>> {
        let id = &self.request.instance_id;
        let found = locked.look(hash).zip(locked.find(hash, id));
        let (partition, (number, slot)) = found.ok_or_else(|| instance_not_found(id))?;
        if let Some(key) = &self.request.idempotency_key {
            env.limits.check_name("idempotency_key", key)?;
            let owner = Owner { slot: number };
            if let Some(entry) = self.keyed.find(partition.keys(), owner, key, env)? {
                return match entry.answer {
                    Answer::Delete { deletion } => Ok(Step::Known(self.result(deletion))),
                    _ => Err(wrong_answer(entry)),
                };
            }
        }
        let key = self.keyed.key_ref(self.request.idempotency_key.as_ref());
        let known = Known::Instance { slot: number, hash, ctx: None };
        // The last change of a deleted instance is its deletion.
        if slot.deleted {
            let result = self.result(slot.last);
            let Some(key) = key else { return Ok(Step::Known(result)) };
            let body = Body::DeleteAgain(DeleteAgain { id, deletion: slot.last, key });
            return Ok(Step::Change(Drafts::One(Draft { body, known }), result));
        }
        let body = Body::Delete(Delete {
            machine: slot.machine.number,
            id,
            from: slot.state,
            previous: slot.last,
            key,
        });
        Ok(Step::Change(Drafts::One(Draft { body, known }), self.result(0)))
    }
}

impl AtOffset for DeleteInstanceResult {
    fn set_offset(&mut self, offset: Offset) {
        // That of a deletion that was there before stays.
        if self.wal_offset == 0 {
            self.wal_offset = offset;
        }
    }
}

impl Shared {
    pub(crate) fn delete_instance(
        &self,
        request: DeleteInstanceRequest,
        edge: &Edge<'_>,
    ) -> Evaluated<DeleteInstanceResult> {
        self.write(edge, &DeleteInstance::new(&request))
    }
}
