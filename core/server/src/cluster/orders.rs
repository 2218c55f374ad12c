//! What is ordered about the group, at the control socket of a member.

use std::sync::{Arc, OnceLock};

use rstmdb_cluster::raft::{GroupState, RaftNode};
use tokio::runtime::Handle;

use crate::control::GroupOrder;
use crate::sessions::aligned;

/// The group that a server belongs to, if it does.
#[derive(Debug, Clone, Default)]
pub struct ServerGroup {
    raft: Option<Arc<OnceLock<Arc<RaftNode>>>>,
}

impl ServerGroup {
    pub(super) fn of(raft: Arc<OnceLock<Arc<RaftNode>>>) -> ServerGroup {
        ServerGroup { raft: Some(raft) }
    }

    /// Does what is ordered, and says how it went. For a thread of a runtime that has several.
    ///
    /// Fails when the server belongs to no group, does not lead, or the group refuses.
    pub fn answer(&self, order: GroupOrder) -> Result<String, String> {
        let Some(raft) = &self.raft else {
            return Err("this server is alone: cluster.enabled is false".to_owned());
        };
        let Some(raft) = raft.get() else {
            return Err("this server belongs to no group yet; /health/ready says why".to_owned());
        };
        let done =
            tokio::task::block_in_place(|| Handle::current().block_on(carry_out(raft, order)));
        done.map_err(|error| error.message().to_owned())
    }
}

async fn carry_out(raft: &RaftNode, order: GroupOrder) -> rstmdb_types::Result<String> {
    match order {
        GroupOrder::Status => Ok(table(&raft.state())),
        GroupOrder::Remove(id, is_forced) => {
            raft.remove(id, is_forced).await?;
            Ok(format!("node {id} is removed"))
        }
        GroupOrder::Promote(id, is_forced) => {
            raft.promote(id, is_forced).await?;
            Ok(format!("node {id} votes"))
        }
        GroupOrder::Lead(id) => {
            raft.transfer(Some(id)).await?;
            Ok(format!("node {id} leads"))
        }
    }
}

/// The members, one on each line, and what they come to.
fn table(state: &GroupState) -> String {
    let header =
        ["NODE", "NAME", "ROLE", "MEMBERS", "CLIENTS", "ZONE", "BEHIND", "HEARD", "LEVELS"];
    let mut rows = vec![header.map(str::to_owned)];
    for of in &state.members {
        let role = match (state.leader == Some(of.id), of.is_voter) {
            (true, _) => "leader",
            (false, true) => "follower",
            (false, false) => "learner",
        };
        let known = |value: Option<String>| value.unwrap_or_else(|| "?".to_owned());
        let heard = of.silence.map(|silence| format!("{} ms ago", silence.as_millis()));
        let (from, to) = of.member.levels;
        rows.push([
            of.id.to_string(),
            of.member.name.clone(),
            role.to_owned(),
            of.member.peer.clone(),
            of.member.client.clone(),
            known(Some(of.member.zone.clone()).filter(|zone| !zone.is_empty())),
            known(of.behind.map(|behind| behind.to_string())),
            known(heard),
            if from == to { from.to_string() } else { format!("{from}-{to}") },
        ]);
    }
    let says = match state.leader {
        Some(leader) if leader == state.id => "this node leads".to_owned(),
        Some(leader) => format!("node {leader} leads, and knows who is behind: ask it"),
        None => "no node leads: most of the voters must be there and reach each other".to_owned(),
    };
    format!("{}term {}, node {}: {says}\n", aligned(&rows), state.term, state.id)
}
