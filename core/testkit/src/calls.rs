//! Operations on JSON requests that can be handed in first and waited for later.

use std::ops::Deref;

use rstmdb_engine::{Engine, Pending};
use rstmdb_types::error::reason;
use rstmdb_types::{
    Command, Error, Execute, Json, Operation, OperationRequest, Outcome, Request, Result,
};
use serde_json::Value;

/// An answer on its way.
#[derive(Debug)]
pub struct Answer<'a> {
    /// Whether it was known at once.
    pub is_ready: bool,
    pending: Result<Pending<&'a Engine, Outcome>>,
}

impl Answer<'_> {
    /// Waits until it may be shown.
    pub fn wait(self) -> Result<Json> {
        self.pending?.wait().map(|outcome| Json::from_serialize(&outcome).unwrap())
    }
}

/// Hands an operation in, which a node may answer from what it has. Those that read or write files are done when this
/// returns.
pub fn submit<'a>(engine: &'a Engine, operation: Operation, request: &Value) -> Answer<'a> {
    let text = request.to_string();
    let request = Request::deserialize(operation, &mut serde_json::Deserializer::from_str(&text));
    let pending = request
        .map(|request| submit_behind(engine, request))
        .map_err(|error| Error::invalid(reason::INVALID_REQUEST, error.to_string()));
    Answer { is_ready: pending.as_ref().map_or(true, Pending::is_ready), pending }
}

/// Asks a node for what it has, though it may be behind.
pub fn submit_behind<H: Deref<Target = Engine> + Unpin>(
    engine: H,
    request: Request,
) -> Pending<H, Outcome> {
    let command = Command { may_be_behind: true, ..engine.command(request) };
    Engine::submit(engine, command)
}

/// The same with its own result.
pub fn behind<H: Deref<Target = Engine> + Unpin, R: OperationRequest>(
    engine: H,
    request: R,
) -> Pending<H, R::Result> {
    submit_behind(engine, request.into_request()).of::<R>()
}

/// Runs an operation to its end.
pub fn call(engine: &Engine, operation: Operation, request: &Value) -> Result<Json> {
    submit(engine, operation, request).wait()
}
