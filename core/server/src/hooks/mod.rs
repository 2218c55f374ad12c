//! Programs and addresses that are told when this node's part among others changes, and one that is asked first.
//!
//! They are called one at a time, in the order of what happened, by a task of their own: nothing of the server waits for them
//! but a promotion that was asked for.

mod answer;
mod outside;
mod post;

pub(crate) use answer::OutsideAnswer;
pub(crate) use outside::call as call_outside;

use std::sync::Arc;
use std::time::Duration;

use rstmdb_types::{Error, ErrorCode, Result};
use tokio::sync::{mpsc, oneshot};

use crate::config::{HooksConfig, Outside};
use crate::node::{NodeListener, NodeStanding};

/// So many wait at most; what comes beyond is logged and left out.
const WAITING_MAX: usize = 256;

/// What hooks are told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HookEvent {
    RoleChange,
    Lag,
    QuorumLost,
    PromoteRequest,
    BackupFailed,
}

impl HookEvent {
    fn name(self) -> &'static str {
        match self {
            HookEvent::RoleChange => "role_change",
            HookEvent::Lag => "lag",
            HookEvent::QuorumLost => "quorum_lost",
            HookEvent::PromoteRequest => "promote_request",
            HookEvent::BackupFailed => "backup_failed",
        }
    }

    fn hook(self, config: &HooksConfig) -> Option<&Outside> {
        match self {
            HookEvent::RoleChange => config.on_role_change.as_ref(),
            HookEvent::Lag => config.on_lag.as_ref(),
            HookEvent::QuorumLost => config.on_quorum_lost.as_ref(),
            HookEvent::PromoteRequest => config.on_promote_request.as_ref(),
            HookEvent::BackupFailed => config.on_backup_failed.as_ref(),
        }
    }
}

/// What is told: names and values.
type Facts = Vec<(&'static str, String)>;

/// Something that happened.
struct HookCall {
    event: HookEvent,
    facts: Facts,
    answer: Option<oneshot::Sender<OutsideAnswer>>,
}

/// The hooks that are set.
#[derive(Debug)]
pub struct Hooks {
    config: HooksConfig,
    happened: mpsc::Sender<HookCall>,
}

impl NodeListener for Hooks {
    fn noticed(&self, before: &NodeStanding, now: &NodeStanding) {
        let roles = [("OLD_ROLE", before.role), ("NEW_ROLE", now.role)];
        let roles = || roles.map(|(name, role)| (name, role.name().to_owned()));
        if before.role != now.role {
            self.tell(HookEvent::RoleChange, now, roles());
        }
        if let (None, Some(error)) = (&before.reads, &now.reads) {
            self.tell(HookEvent::Lag, now, [("REASON", error.message().to_owned())]);
        }
        let lacks = |standing: &NodeStanding| {
            let why = standing.not_ready.as_ref()?;
            matches!(why.status, "no_leader" | "refused" | "too_few_replicas")
                .then(|| why.reason.clone())
        };
        // At a start nobody leads yet.
        if let (None, Some(why), Some(_)) = (lacks(before), lacks(now), before.leader) {
            self.tell(HookEvent::QuorumLost, now, [("REASON", why)]);
        }
    }
}

impl Hooks {
    /// Those of the settings; they are called by a task of the runtime.
    pub(crate) fn start(config: &HooksConfig) -> Arc<Hooks> {
        let (happened, waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(call(config.clone(), waiting));
        Arc::new(Hooks { config: config.clone(), happened })
    }

    /// A backup came to nothing.
    pub(crate) fn backup_failed(&self, standing: &NodeStanding, why: &str) {
        self.tell(HookEvent::BackupFailed, standing, [("REASON", why.to_owned())]);
    }

    /// Whether this node may take the writes, as it was asked to.
    ///
    /// Errors: when the hook forbids it.
    pub(crate) async fn may_be_promoted(&self, standing: &NodeStanding) -> Result<()> {
        let event = HookEvent::PromoteRequest;
        if event.hook(&self.config).is_none() {
            return Ok(());
        }
        let (answer, answered) = oneshot::channel();
        let facts = facts(event, standing, []);
        // If the task is gone, the server stops.
        let _ = self.happened.send(HookCall { event, facts, answer: Some(answer) }).await;
        match answered.await {
            Ok(OutsideAnswer::Forbidden(said)) => {
                let what =
                    format!("nothing was changed: hooks.on_promote_request forbids it: {said}");
                Err(Error::new(ErrorCode::Conflict, what))
            }
            // Whoever fails has not said no, and nobody else could take the writes then.
            _ => Ok(()),
        }
    }

    fn tell<const N: usize>(
        &self,
        event: HookEvent,
        standing: &NodeStanding,
        more: [(&'static str, String); N],
    ) {
        if event.hook(&self.config).is_none() {
            return;
        }
        let happened = HookCall { event, facts: facts(event, standing, more), answer: None };
        if self.happened.try_send(happened).is_err() {
            tracing::error!("hooks.on_{} is not called: {WAITING_MAX} wait already", event.name());
        }
    }
}

/// What is told of every event.
fn facts<const N: usize>(
    event: HookEvent,
    standing: &NodeStanding,
    more: [(&'static str, String); N],
) -> Facts {
    let role = standing.role.name().to_owned();
    let mut facts = vec![
        ("EVENT", event.name().to_owned()),
        ("OLD_ROLE", role.clone()),
        ("NEW_ROLE", role),
        ("EPOCH", standing.epoch.to_string()),
        ("OFFSET", standing.committed.to_string()),
        ("NODE", standing.node.to_string()),
        ("NAME", standing.name.clone()),
        ("LEADER", standing.leader_address.clone().unwrap_or_default()),
    ];
    for (name, value) in more {
        match facts.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => facts.push((name, value)),
        }
    }
    facts
}

/// Calls one after the other.
async fn call(config: HooksConfig, mut waiting: mpsc::Receiver<HookCall>) {
    let timeout: Duration = config.timeout;
    while let Some(HookCall { event, facts, answer }) = waiting.recv().await {
        let Some(hook) = event.hook(&config) else { continue };
        let name = event.name();
        let said = outside::call(hook, &facts, timeout).await;
        match &said {
            OutsideAnswer::Done => tracing::info!("hooks.on_{name} was called"),
            OutsideAnswer::Forbidden(_) if answer.is_some() => {}
            OutsideAnswer::Forbidden(what) | OutsideAnswer::Failed(what) => {
                tracing::warn!("hooks.on_{name} failed: {what}");
            }
        }
        if let Some(answer) = answer {
            // Who asked may have given up.
            let _ = answer.send(said);
        }
    }
}
