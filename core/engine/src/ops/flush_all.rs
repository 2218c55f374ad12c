//! Removes all machines and instances.

use rstmdb_types::error::reason;
use rstmdb_types::{Error, FlushAllRequest, FlushAllResult};

use super::Edge;
use super::decision::{AtOffset, Draft, Drafts};
use crate::log::Body;
use crate::log::kinds::FlushAll;
use crate::pending::Evaluated;
use crate::shared::Shared;
use crate::state::locked::{Known, Locked};

impl Shared {
    pub(crate) fn flush_all(
        &self,
        _request: FlushAllRequest,
        edge: &Edge<'_>,
    ) -> Evaluated<FlushAllResult> {
        if !self.options.allow_flush_all {
            let message = "flush_all is off; open the database with allow_flush_all to use it";
            let error = Error::invalid(reason::DISABLED, message).with("option", "allow_flush_all");
            return self.ready(Err(error));
        }
        let mut locked = Locked::all(&self.state).undoing(self.undo_below());
        if let Err(refusal) = self.queue.check_stands() {
            return self.ready(Err(refusal));
        }
        let instances = locked.partitions().map(|part| part.counts().iter().sum::<u64>()).sum();
        let machines = locked.machines().map_or(0, |machines| machines.len() as u64);
        let result = FlushAllResult {
            flushed: true,
            instances_removed: instances,
            machines_removed: machines,
        };
        let draft = Draft { body: Body::FlushAll(FlushAll), known: Known::Nothing };
        let evaluated = self.log(&mut locked, edge.at_ms, Drafts::One(draft), result);
        drop(locked);
        self.queue.announce();
        evaluated
    }
}

impl AtOffset for FlushAllResult {}
