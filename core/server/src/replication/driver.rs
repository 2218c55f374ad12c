//! Goes from one part to the other.

use std::sync::Arc;

use rstmdb_types::Result;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Replicating;
use super::kept;
use super::order::{NodeOrder, NodePart};
use super::primary::PrimaryPart;
use super::replica::ReplicaPart;
use crate::node::NotReady;

/// Opens the database, if there is one, and goes on in a task.
pub(super) async fn begin(
    replicating: Arc<Replicating>,
    mut orders: mpsc::Receiver<NodeOrder>,
) -> Result<JoinHandle<()>> {
    let place = &replicating.place;
    let part = kept::part(&place.directory, &place.config);
    if !part.leads() {
        let following = ReplicaPart::begin(&replicating, part.upstream).await?;
        return Ok(tokio::spawn(async move {
            let next = following.run(&mut orders).await;
            drive(replicating, next, orders).await;
        }));
    }
    let (location, options) = (place.location.clone(), place.options.clone());
    let engine = replicating.calls.open_with(location, options).await?;
    let leading = PrimaryPart::begin(&replicating, engine, None);
    let mut standing = replicating.calls.node().watch();
    let is_waiting = leading.waits_for_replicas();
    let driven = tokio::spawn(async move {
        let next = leading.run(&mut orders).await;
        drive(replicating, next, orders).await;
    });
    if !is_waiting {
        // Writes are taken when the server says that it is ready.
        let _ = standing.wait_for(|now| now.leader.is_some() || now.is_stopped()).await;
    }
    Ok(driven)
}

async fn drive(
    replicating: Arc<Replicating>,
    mut part: NodePart,
    mut orders: mpsc::Receiver<NodeOrder>,
) {
    loop {
        part = match part {
            NodePart::Primary(engine, promotion) => {
                PrimaryPart::begin(&replicating, engine, promotion).run(&mut orders).await
            }
            NodePart::Replica(upstream) => match ReplicaPart::begin(&replicating, upstream).await {
                Ok(following) => following.run(&mut orders).await,
                Err(error) => {
                    tracing::error!("the database can't be opened to follow: {error}");
                    let reason = error.message().to_owned();
                    replicating.calls.node().update(|standing| {
                        standing.not_ready = Some(NotReady { status: "stopped", reason });
                    });
                    return;
                }
            },
        };
    }
}
