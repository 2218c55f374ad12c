//! A disk that hangs when a test says so: the observer of syncs holds the log's writer.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rstmdb_engine::SyncObserver;
use rstmdb_testkit::wire::await_condition;

/// Holds the writer after a sync while it is shut.
#[derive(Default)]
pub struct Gate {
    /// Whether it is shut, and whether the writer stands before it.
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Gate {
    /// What stands at the gate.
    pub fn observer(self: &Arc<Gate>) -> SyncObserver {
        let gate = self.clone();
        SyncObserver(Arc::new(move |_: Duration| {
            let mut state = gate.state.lock();
            while state.0 {
                state.1 = true;
                gate.changed.wait(&mut state);
            }
            state.1 = false;
        }))
    }

    /// Shuts it, or opens it.
    pub fn set(&self, shut: bool) {
        self.state.lock().0 = shut;
        self.changed.notify_all();
    }

    /// Waits until the writer stands before it.
    pub fn await_writer(&self) {
        await_condition("the writer is held", || self.state.lock().1);
    }
}

/// Opens the gate when a test ends, however it does.
pub struct Opener(pub Arc<Gate>);

impl Drop for Opener {
    fn drop(&mut self) {
        self.0.set(false);
    }
}
