//! Running the server: messages, threads, signals, and what is said about a start.

use std::net::SocketAddr;

use rstmdb_engine::FsyncPolicy;
use rstmdb_server::config::{LoadedConfig, Sources};
use rstmdb_server::live::{Changes, Reasons, Watcher};
use rstmdb_server::{Server, logging};
use rstmdb_types::{Error, ErrorCode, Result};
use tokio::sync::watch;

use crate::notify;

/// Log, checkpoints, listeners and what else is open beside connections.
const FILES_BESIDE_CONNECTIONS: u64 = 128;

/// Serves until a signal says otherwise.
pub(crate) fn serve(sources: Sources, loaded: LoadedConfig) -> Result<()> {
    let log = logging::start(&loaded.config.log)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    for overridden in &loaded.overridden {
        tracing::info!("{overridden}");
    }
    allow_open_files(loaded.config.network.max_connections);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().thread_name("rstmdb-worker");
    if loaded.config.server.worker_threads > 0 {
        builder.worker_threads(loaded.config.server.worker_threads);
    }
    let runtime = builder.build().map_err(|error| {
        Error::new(ErrorCode::InternalError, format!("can't start threads: {error}"))
    })?;
    runtime.block_on(async {
        // Caught from here on: a stop during a long recovery ends the process at once, as nothing
        // has been acknowledged yet.
        let mut signals = Signals::new()?;
        let reasons = Reasons::new(&sources, &loaded)?;
        notify::status(&format!("opening {}", loaded.config.storage.data_dir.display()));
        let start = Server::start_loaded(&loaded);
        let server = tokio::select! {
            server = start => server?,
            () = signals.next() => {
                tracing::info!("stopped while starting");
                std::process::exit(0);
            }
        };
        banner(&loaded, &server);
        notify::ready(&status(server.address(), None));
        let (metrics, sessions) = (server.metrics().clone(), server.sessions());
        let answer = move |order| sessions.answer(order);
        let watcher = Watcher::new(sources, loaded, server.settings(), Some(log));
        let told = move |outcome: &Result<Changes>| metrics.config_was_read(outcome.is_ok());
        let watching = [
            tokio::spawn(watcher.run(reasons, answer, told)),
            tokio::spawn(notify::live()),
            tokio::spawn(tell_status(server.address(), server.refusal())),
        ];
        let stopped = server.run_until(async move {
            signals.next().await;
            tracing::info!("stopping; a second signal stops at once");
            notify::stopping();
            tokio::spawn(async move {
                signals.next().await;
                tracing::warn!("stopped at once by a second signal");
                std::process::exit(1);
            });
        });
        let outcome = stopped.await;
        watching.iter().for_each(tokio::task::JoinHandle::abort);
        outcome?;
        tracing::info!("stopped");
        Ok(())
    })
}

/// Tells the service manager how the server is, whenever that changes.
async fn tell_status(address: SocketAddr, mut refusal: watch::Receiver<Option<String>>) {
    while refusal.changed().await.is_ok() {
        let said = status(address, refusal.borrow().as_deref());
        notify::status(&said);
    }
}

fn status(address: SocketAddr, refusal: Option<&str>) -> String {
    match refusal {
        None => format!("serving {address}"),
        Some(why) => format!("serving {address}, but writes are refused: {why}"),
    }
}

/// Each connection is an open file: as many are allowed as the system lets this process have.
fn allow_open_files(connections: usize) {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(most) if most < connections as u64 + FILES_BESIDE_CONNECTIONS => tracing::warn!(
            "the system allows {most} open files, too few for network.max_connections = \
             {connections}; raise the limit (ulimit -n, LimitNOFILE)"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!("the limit of open files could not be raised: {error}"),
    }
}

/// What this server is, for whoever reads its log.
fn banner(loaded: &LoadedConfig, server: &Server) {
    let config = &loaded.config;
    let policy = config.storage.fsync_policy;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        address = %server.address(),
        data = %config.storage.data_dir.display(),
        fsync_policy = %policy,
        tls = config.tls.enabled,
        auth = config.auth.required,
        metrics = server.metrics_address().map(tracing::field::display),
        peers = server.peer_address().map(tracing::field::display),
        config = loaded.file.as_ref().map(|path| tracing::field::display(path.display())),
        "rstmdb is ready"
    );
    if let Some(risk) = risk(policy) {
        tracing::warn!("storage.fsync_policy is {policy}: {risk}");
    }
    if !config.auth.required && !server.address().ip().is_loopback() {
        tracing::warn!(
            "whoever reaches {} may change everything: auth.required is false",
            server.address()
        );
    }
}

/// What a policy may lose; None when nothing.
fn risk(policy: FsyncPolicy) -> Option<String> {
    match policy {
        FsyncPolicy::EveryWrite => None,
        FsyncPolicy::EveryN(n) => Some(format!(
            "a power failure may take back up to {} acknowledged changes",
            n.saturating_sub(1)
        )),
        FsyncPolicy::EveryMs(ms) => Some(format!(
            "a power failure may take back the acknowledged changes of the last {ms} ms or so"
        )),
        FsyncPolicy::Never => Some(
            "a power failure may take back acknowledged changes; the log is synced at a clean stop \
             only"
                .to_owned(),
        ),
    }
}

/// Requests to stop.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    fn new() -> Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        let caught = |kind| {
            signal(kind).map_err(|error| {
                let message = format!("can't wait for signals: {error}");
                Error::new(ErrorCode::InternalError, message)
            })
        };
        Ok(Signals {
            terminate: caught(SignalKind::terminate())?,
            interrupt: caught(SignalKind::interrupt())?,
        })
    }

    #[cfg(not(unix))]
    fn new() -> Result<Signals> {
        Ok(Signals {})
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        #[cfg(not(unix))]
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
