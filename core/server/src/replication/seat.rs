//! The door as the place where the engine of a directory answers.

use std::sync::Arc;

use rstmdb_cluster::follow::EngineSeat;
use rstmdb_engine::Engine;

use crate::calls::Calls;

/// Puts the engine of a replica into service, and takes it out while its files change.
pub(super) struct DoorSeat(pub Arc<Calls>);

impl EngineSeat for DoorSeat {
    fn occupy(&self, engine: &Arc<Engine>) {
        engine.set_checkpoint_policy(self.0.settings().load().compaction.policy());
        self.0.install(engine.clone());
    }

    fn vacate(&self) {
        self.0.withdraw();
    }
}
