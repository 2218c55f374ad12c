//! Reading the configuration again: on SIGHUP, when the control socket is asked to, and when one of its files
//! has changed.
//!
//! A configuration that can't be used changes nothing, but for one thing: where it asks for what keeps strangers
//! out, nobody is served without a token until it can be used. Settings that need a restart keep their values,
//! and are named.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rstmdb_types::error::reason;
use rstmdb_types::{Error, Result};

use super::{Live, LiveSettings};
use crate::config::{Config, LoadedConfig, Reload, Sources, all_settings, refused};
use crate::control::{Control, ControlRequest, Order};
use crate::logging::LogFilter;

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// What reading the configuration again did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Settings that have another value now.
    pub applied: Vec<&'static str>,
    /// Settings whose new value waits for a restart.
    pub restart: Vec<&'static str>,
    /// What was ignored.
    pub warnings: Vec<String>,
}

impl std::fmt::Display for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        if !self.restart.is_empty() {
            writeln!(f, "warning: changed, but needs a restart: {}", self.restart.join(", "))?;
        }
        match self.applied.is_empty() {
            true => f.write_str("the configuration was read again; nothing changed"),
            false => write!(f, "the configuration was read again: {}", self.applied.join(", ")),
        }
    }
}

/// Keeps [`LiveSettings`] in step with the files they come from.
#[derive(Debug)]
pub struct Watcher {
    sources: Sources,
    /// The configuration in force.
    running: Config,
    settings: Arc<LiveSettings>,
    log: Option<LogFilter>,
    seen: Vec<(PathBuf, Fingerprint)>,
    /// Why what was read last can't be used. It may name files that are yet to come.
    refused: Option<String>,
}

/// What tells that a file changed; None when there is no file.
type Fingerprint = Option<(SystemTime, u64)>;

impl Watcher {
    /// Watches what `loaded` was made from. `log` takes a changed level.
    pub fn new(
        sources: Sources,
        loaded: LoadedConfig,
        settings: Arc<LiveSettings>,
        log: Option<LogFilter>,
    ) -> Watcher {
        let seen = look(&sources, &loaded.config);
        Watcher { sources, running: loaded.config, settings, log, seen, refused: None }
    }

    /// Reads the configuration again if one of its files has changed, or if it could not be used before; None
    /// when that changes nothing.
    pub fn poll(&mut self) -> Option<Result<Changes>> {
        let has_changed = look(&self.sources, &self.running) != self.seen;
        let before = self.refused.clone();
        if !has_changed && before.is_none() {
            return None;
        }
        let outcome = self.reload();
        (has_changed || self.refused != before).then_some(outcome)
    }

    /// Reads the configuration again and puts it in force, as far as that goes without a restart.
    pub fn reload(&mut self) -> Result<Changes> {
        let taken = self.take();
        self.refused = taken.as_ref().err().map(ToString::to_string);
        taken.map_err(|error| match self.close_to_strangers() {
            None => error,
            Some(setting) => {
                let message = format!(
                    "{}; it asks for {setting}, so nobody is served without a token until it can be used",
                    error.message()
                );
                Error::new(error.code(), message)
                    .with_reason(error.reason().unwrap_or(reason::INVALID_OPTION))
            }
        })
    }

    /// Asks everybody for a token if the configuration that can't be used asks for more than the one in
    /// force: whoever wrote it takes the server for closed. The setting by which it does.
    fn close_to_strangers(&self) -> Option<&'static str> {
        let (asked, running) = (Config::as_far_as_readable(&self.sources), &self.running);
        let setting = if asked.auth.required && !running.auth.required {
            "auth.required"
        } else if asked.tls.require_client_cert && !running.tls.require_client_cert {
            "tls.require_client_cert"
        } else {
            return None;
        };
        let current = self.settings.current();
        if !current.auth_required {
            self.settings.replace(Live { auth_required: true, ..(*current).clone() });
        }
        Some(setting)
    }

    fn take(&mut self) -> Result<Changes> {
        // Noted before reading: what changes meanwhile is seen the next time.
        self.seen = look(&self.sources, &self.running);
        let loaded = Config::load(&self.sources)?;
        let mut next = self.running.clone();
        let mut changes = Changes { warnings: loaded.warnings, ..Changes::default() };
        let tls_switched = next.tls.enabled != loaded.config.tls.enabled;
        for setting in all_settings() {
            if (setting.same)(&self.running, &loaded.config) {
                continue;
            }
            // A listener that does not speak TLS has no use for certificates, and the other way round.
            let waits = tls_switched && setting.section() == "tls";
            if setting.reload == Reload::Restart || waits {
                changes.restart.push(setting.key);
            } else {
                (setting.copy)(&mut next, &loaded.config);
                changes.applied.push(setting.key);
            }
        }
        let live = Live::new(&next, Some(&self.settings.current()))?;
        changes.warnings.extend(live.remarks.iter().cloned());
        if let Some(log) = self.log.as_ref().filter(|_| next.log.level != self.running.log.level) {
            log.set(&next.log.level).map_err(|problem| refused("log.level", problem))?;
        }
        self.settings.replace(live);
        self.running = next;
        self.seen = self.look_again();
        Ok(changes)
    }

    /// Reads the configuration again whenever there is a reason to, those `since` noted included, and tells
    /// `told` whether it can be used; `answer` answers what else is asked at the control socket. Ends only by being
    /// dropped.
    pub async fn run(
        mut self,
        since: Reasons,
        answer: impl Fn(Order) -> std::result::Result<String, String>,
        told: impl Fn(&Result<Changes>),
    ) {
        let Reasons { seen, mut hangups, mut control } = since;
        self.seen = seen;
        let mut ticks = tokio::time::interval(LOOK_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let (is_asked, asked) = tokio::select! {
                _ = ticks.tick() => (false, None),
                () = hangups.next() => (true, None),
                asked = next_of(&mut control) => match asked.order {
                    Order::Reload => (true, Some(asked)),
                    order => {
                        asked.answer(answer(order)).await;
                        continue;
                    }
                },
            };
            // Files may be slow to read; connections do not wait for them.
            let turn = tokio::task::spawn_blocking(move || {
                let outcome = if is_asked { Some(self.reload()) } else { self.poll() };
                (self, outcome)
            });
            let Ok((watcher, outcome)) = turn.await else { return };
            self = watcher;
            if let Some(outcome) = outcome {
                report(&outcome);
                told(&outcome);
                if let Some(asked) = asked {
                    let said = outcome.map(|changes| changes.to_string());
                    asked.answer(said.map_err(|error| error.message().to_owned())).await;
                }
            }
        }
    }

    /// As noted before, with the files that the new configuration names beside.
    fn look_again(&self) -> Vec<(PathBuf, Fingerprint)> {
        let mut now = look(&self.sources, &self.running);
        for (path, print) in &mut now {
            if let Some((_, before)) = self.seen.iter().find(|(seen, _)| seen == path) {
                *print = *before;
            }
        }
        now
    }
}

/// The files of a configuration as they are now.
fn look(sources: &Sources, config: &Config) -> Vec<(PathBuf, Fingerprint)> {
    let tls = config.tls.enabled.then_some(&config.tls);
    let paths = [
        sources.file.as_ref(),
        config.auth.secrets_file.as_ref(),
        config.replication.auth_secrets_file.as_ref(),
        tls.and_then(|tls| tls.cert_path.as_ref()),
        tls.and_then(|tls| tls.key_path.as_ref()),
        tls.and_then(|tls| tls.client_ca_path.as_ref()),
    ];
    paths.into_iter().flatten().map(|path| (path.clone(), fingerprint(path))).collect()
}

fn fingerprint(path: &Path) -> Fingerprint {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn report(outcome: &std::result::Result<Changes, Error>) {
    match outcome {
        Ok(changes) => {
            for warning in &changes.warnings {
                tracing::warn!("{warning}");
            }
            if !changes.restart.is_empty() {
                let keys = changes.restart.join(", ");
                tracing::warn!("changed, but needs a restart: {keys}");
            }
            let applied = changes.applied.join(", ");
            tracing::info!(%applied, "the configuration was read again");
        }
        Err(error) => {
            tracing::error!("the configuration was read again but not changed: {error}");
        }
    }
}

/// What asks for reading the configuration again, from the moment this is made: a start may take
/// minutes, and neither a signal nor a change of a file is lost meanwhile.
#[derive(Debug)]
pub struct Reasons {
    seen: Vec<(PathBuf, Fingerprint)>,
    hangups: Hangups,
    control: Option<Control>,
}

impl Reasons {
    /// Begins to take note. Called inside of the runtime.
    ///
    /// Fails when the control socket can't be used.
    pub fn new(sources: &Sources, loaded: &LoadedConfig) -> Result<Reasons> {
        let path = loaded.config.server.control_socket.as_deref();
        let control = path.map(Control::open).transpose()?;
        Ok(Reasons { seen: look(sources, &loaded.config), hangups: Hangups::new(), control })
    }
}

/// Waits until somebody asks at the control socket, if there is one.
async fn next_of(control: &mut Option<Control>) -> ControlRequest {
    match control {
        Some(control) => control.next().await,
        None => std::future::pending().await,
    }
}

/// Requests to read the configuration again.
#[derive(Debug)]
struct Hangups {
    #[cfg(unix)]
    signal: Option<tokio::signal::unix::Signal>,
}

impl Hangups {
    #[cfg(unix)]
    fn new() -> Hangups {
        let kind = tokio::signal::unix::SignalKind::hangup();
        let signal = tokio::signal::unix::signal(kind);
        if let Err(error) = &signal {
            tracing::warn!("SIGHUP will not reload the configuration: {error}");
        }
        Hangups { signal: signal.ok() }
    }

    #[cfg(not(unix))]
    fn new() -> Hangups {
        Hangups {}
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        if let Some(signal) = &mut self.signal {
            signal.recv().await;
            return;
        }
        std::future::pending().await
    }
}
