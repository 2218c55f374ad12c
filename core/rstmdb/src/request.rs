//! Requests that know which operation they belong to.

use std::future::Future;

use rstmdb_types::{OperationRequest, Result};

use crate::Database;

/// The request of any operation but the watches: what [`Database::run`] takes.
pub trait Request:
    OperationRequest<Result: Send + Unpin + 'static> + Send + Unpin + 'static
{
    /// Whether the operation works on files, so that a database of this process runs it on another
    /// thread when it is awaited.
    const ON_FILES: bool;

    /// Runs the operation.
    fn run(self, database: &Database) -> impl Future<Output = Result<Self::Result>> + Send;

    /// Runs the operation and waits for its result.
    fn run_blocking(self, database: &crate::blocking::Database) -> Result<Self::Result>;
}
