//! The one thread of the process that does all input and output of all clients.
//!
//! It starts with the first client and stays. A child made by `fork` has no such thread; told of it by
//! [`after_fork`](rstmdb_threads::process::after_fork), it starts one of its own for the clients it makes.

use std::future::Future;
use std::time::Duration;

use parking_lot::Mutex;
use rstmdb_threads::Oneshot;
use rstmdb_threads::process::PerProcess;
use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Result};
use tokio::runtime::{Builder, Handle};

static RUNTIME: PerProcess<Mutex<Option<Handle>>> = PerProcess::new();

/// Threads for names to be looked up and certificates to be read; they end when idle.
const BLOCKING_THREADS_MAX: usize = 4;
const BLOCKING_THREADS_IDLE: Duration = Duration::from_secs(1);

fn handle() -> Result<Handle> {
    let running = RUNTIME.get();
    let mut handle = running.lock();
    if let Some(handle) = &*handle {
        return Ok(handle.clone());
    }
    let started = start()?;
    *handle = Some(started.clone());
    Ok(started)
}

fn start() -> Result<Handle> {
    let failed = |error: std::io::Error| {
        Error::new(ErrorCode::InternalError, format!("starting the client's thread: {error}"))
            .with_reason(reason::IO)
    };
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_keep_alive(BLOCKING_THREADS_IDLE)
        .thread_name("rstmdb-client-io")
        .build()
        .map_err(failed)?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new()
        .name("rstmdb-client".to_owned())
        .spawn(move || runtime.block_on(std::future::pending::<()>()))
        .map_err(failed)?;
    Ok(handle)
}

/// Runs a future on the thread.
pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Result<()> {
    handle()?.spawn(future);
    Ok(())
}

/// Runs a function that blocks, beside the thread; the result can be awaited anywhere.
pub(crate) async fn unblock<T: Send + 'static>(
    run: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let slot = Oneshot::new();
    let result = slot.clone();
    handle()?.spawn_blocking(move || result.put(run()));
    slot.take().await
}
