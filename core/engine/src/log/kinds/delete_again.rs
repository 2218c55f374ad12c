//! An instance that was deleted already was to be deleted once more, with a key: the answer is remembered
//! under it, so that a retry gets it when somebody has created the id again.

use rstmdb_types::{Json, Offset, WalEntry};

use super::{KEY_FLAGS, KeyRef, Kind, Stamp, get_key, put_key};
use crate::codec::{Reader, put_str, put_u64};
use crate::state::locked::{Known, Locked, Misfit};
use crate::state::{Answer, Machines, Owner};

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DeleteAgain<'a> {
    pub id: &'a str,
    /// The offset of the deletion, which the answer tells.
    pub deletion: Offset,
    pub key: KeyRef<'a>,
}

impl<'a> Kind<'a> for DeleteAgain<'a> {
    const FLAGS: u8 = KEY_FLAGS;

    fn encode(&self, out: &mut Vec<u8>) -> u8 {
        put_str(out, self.id);
        put_u64(out, self.deletion);
        put_key(out, Some(self.key))
    }

    fn decode(reader: &mut Reader<'a>, flags: u8) -> Option<Self> {
        let id = reader.str()?;
        let deletion = reader.u64()?;
        Some(DeleteAgain { id, deletion, key: get_key(reader, flags)?? })
    }

    fn apply(&self, locked: &mut Locked<'_>, stamp: Stamp, known: Known) -> Result<(), Misfit> {
        let (hash, known) = match known {
            Known::Instance { slot, hash, .. } => (hash, Some(slot)),
            _ => (locked.state.hash(self.id), None),
        };
        let (partition, rules) = locked.partition(hash)?;
        let number = match known {
            Some(slot) => slot,
            None => partition.find(hash, self.id).ok_or(Misfit("its instance is missing"))?,
        };
        let slot = partition.slot(number).ok_or(Misfit("its instance is missing"))?;
        if slot.touched() >= stamp.offset {
            return Ok(());
        }
        if !slot.deleted || slot.last != self.deletion {
            return Err(Misfit("its instance was not deleted there"));
        }
        let undo = partition.delete_again(number, stamp.offset);
        let undo = undo.ok_or(Misfit("its instance is missing"))?;
        partition.keep_undo(stamp.offset, undo, rules.undo_below);
        let answer = Answer::Delete { deletion: self.deletion };
        locked.remember(Some((hash, Owner { slot: number })), self.key, stamp, answer)
    }

    fn entry(&self, _machines: &Machines, _ctx: Json) -> Option<WalEntry> {
        Some(WalEntry::DeleteAgain {
            instance_id: self.id.into(),
            deletion: self.deletion,
            idempotency_key: self.key.key.into(),
        })
    }

    fn is_internal(&self) -> bool {
        true
    }
}
