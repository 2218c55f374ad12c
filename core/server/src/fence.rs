//! A lease from outside: without it a primary takes no writes, so that two that do not know of each other never do both.

use std::sync::Arc;
use std::time::Instant;

use crate::calls::Calls;
use crate::config::FenceConfig;
use crate::hooks::{OutsideAnswer, call_outside};
use crate::node::NodeRole;

/// Of the lease's time, so many parts are between two renewals.
const RENEWALS: u32 = 3;

/// Renews the lease for as long as this server is a primary. Ends only by being dropped.
pub(crate) async fn hold(config: FenceConfig, calls: Arc<Calls>) {
    let Some(outside) = &config.outside() else { return };
    let pause = config.ttl / RENEWALS;
    let mut standing = calls.node().watch();
    let mut holds = None;
    loop {
        // The senders live as long as anybody who waits.
        let _ = standing.wait_for(|now| now.role == NodeRole::Primary).await;
        let now = standing.borrow_and_update().clone();
        let facts = vec![
            ("EVENT", "fence".to_owned()),
            ("EPOCH", now.epoch.to_string()),
            ("OFFSET", now.committed.to_string()),
            ("NODE", now.node.to_string()),
            ("NAME", now.name.clone()),
            ("TTL_SECS", config.ttl.as_secs_f64().to_string()),
        ];
        // Whoever grants it may have begun to count right away.
        let asked = Instant::now();
        let said = call_outside(outside, &facts, pause).await;
        let is_held = said == OutsideAnswer::Done;
        if is_held {
            calls.node().may_write_until(asked + config.ttl);
        }
        if holds != Some(is_held) {
            match &said {
                OutsideAnswer::Done => tracing::info!("the lease of fence.* is held"),
                OutsideAnswer::Forbidden(what) | OutsideAnswer::Failed(what) => {
                    tracing::warn!("the lease of fence.* is not renewed: {what}");
                }
            }
            holds = Some(is_held);
        }
        // How it stands with the lease is part of it.
        calls.node().update(|_| {});
        tokio::time::sleep_until((asked + pause).into()).await;
    }
}
