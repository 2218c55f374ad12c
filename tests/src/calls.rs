//! Operations on JSON requests that can be handed in first and waited for later.

use rstmdb_engine::{Engine, Pending};
use rstmdb_types::error::reason;
use rstmdb_types::{Error, Json, Operation, Result};
use serde::Serialize;
use serde_json::Value;

/// An answer on its way.
pub struct Answer<'a> {
    /// Whether it was known at once.
    pub is_ready: bool,
    wait: Box<dyn FnOnce() -> Result<Json> + 'a>,
}

impl std::fmt::Debug for Answer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Answer(ready: {})", self.is_ready)
    }
}

impl Answer<'_> {
    /// Waits until it may be shown.
    pub fn wait(self) -> Result<Json> {
        (self.wait)()
    }
}

fn answer<'a, T: Serialize + 'a>(pending: Pending<'a, T>) -> Answer<'a> {
    let is_ready = pending.is_ready();
    let wait = move || pending.wait().map(|result| Json::from_serialize(&result).unwrap());
    Answer { is_ready, wait: Box::new(wait) }
}

fn known<'a, T: Serialize>(result: Result<T>) -> Answer<'a> {
    let result = result.map(|result| Json::from_serialize(&result).unwrap());
    Answer { is_ready: true, wait: Box::new(move || result) }
}

/// Hands an operation in. Those that read or write files are done when this returns.
pub fn submit<'a>(engine: &'a Engine, operation: Operation, request: &Value) -> Answer<'a> {
    let request = Json::from_value(request);
    macro_rules! decode {
        () => {
            match request.decode() {
                Ok(request) => request,
                Err(error) => {
                    let error = Error::invalid(reason::INVALID_REQUEST, error.to_string());
                    return known::<()>(Err(error));
                }
            }
        };
    }
    match operation {
        Operation::PutMachine => answer(engine.put_machine(decode!())),
        Operation::GetMachine => answer(engine.get_machine(decode!())),
        Operation::ListMachines => answer(engine.list_machines(decode!())),
        Operation::CreateInstance => answer(engine.create_instance(decode!())),
        Operation::GetInstance => answer(engine.get_instance(decode!())),
        Operation::ListInstances => answer(engine.list_instances(decode!())),
        Operation::CountInstances => answer(engine.count_instances(decode!())),
        Operation::DeleteInstance => answer(engine.delete_instance(decode!())),
        Operation::ApplyEvent => answer(engine.apply_event(decode!())),
        Operation::Permitted => answer(engine.permitted(decode!())),
        Operation::Batch => answer(engine.batch(decode!())),
        Operation::WalStats => answer(engine.wal_stats(decode!())),
        Operation::FlushAll => answer(engine.flush_all(decode!())),
        Operation::ValidateMachine => answer(engine.validate_machine(decode!())),
        Operation::Info => answer(engine.info(decode!())),
        Operation::Ping => answer(engine.ping(decode!())),
        Operation::History => known(engine.history(decode!())),
        Operation::WalRead => known(engine.wal_read(decode!())),
        Operation::Compact => known(engine.compact(decode!())),
        Operation::SnapshotInstance => known(engine.snapshot_instance(decode!())),
        Operation::WatchInstance | Operation::WatchAll => panic!("a watch is no call"),
    }
}

/// Runs an operation to its end.
pub fn call(engine: &Engine, operation: Operation, request: &Value) -> Result<Json> {
    submit(engine, operation, request).wait()
}
