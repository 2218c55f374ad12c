//! Who runs the group: changes who votes, and has other nodes lead.

use std::collections::BTreeSet;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft_rt::AsyncRuntime;
use openraft_rt_sim::SimRuntime;
use rstmdb_cluster::raft::RaftOfGroup;

use super::World;

/// So many of the nodes vote.
const VOTERS: usize = 3;

impl World {
    /// Asks for one thing after the other until the run is over.
    pub(super) async fn operate(&self) {
        loop {
            let wait = {
                let state = &mut *self.state();
                if state.is_over {
                    return;
                }
                Duration::from_millis(50 + state.rng.below(500))
            };
            SimRuntime::sleep(wait).await;
            let Some(raft) = self.leader() else { continue };
            let (chosen, is_transfer) = {
                let state = &mut *self.state();
                let mut all: Vec<u64> = (1..=state.members.len() as u64).collect();
                let chosen: BTreeSet<u64> =
                    (0..VOTERS).map(|_| all.swap_remove(state.rng.index(all.len()))).collect();
                (chosen, state.rng.chance(300))
            };
            // Whether it comes to that is for the group to say.
            if is_transfer {
                let next = chosen.first().copied().unwrap();
                let _ = raft.trigger().transfer_leader(next).await;
            } else {
                let change = raft.change_membership(chosen, true);
                let _ = SimRuntime::timeout(Duration::from_millis(400), change).await;
            }
        }
    }

    fn leader(&self) -> Option<RaftOfGroup> {
        let state = self.state();
        let mut running = state.members.iter().filter(|member| member.disk.is_on());
        running.find_map(|member| {
            let raft = member.node.as_ref()?.raft();
            raft.metrics().borrow_watched().state.is_leader().then(|| raft.clone())
        })
    }
}
