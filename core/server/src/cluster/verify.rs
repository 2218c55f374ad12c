//! All members compare what they hold at one place in the log.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use rstmdb_cluster::net::Inquiries;
use rstmdb_cluster::raft::{MemberState, RaftNode};
use rstmdb_types::{ClusterVerifyResult, Offset, Result, Text, VerifiedMember};
use tokio::time::{Instant, sleep};

use super::status::ask;

/// A member comes to the place within this time, or is told as one that did not.
const COMING: Duration = Duration::from_secs(10);
/// Before one is asked again.
const AGAIN: Duration = Duration::from_millis(50);
/// Who did not answer so often is not there.
const SILENCES_MAX: u32 = 2;

/// What a member came to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Came {
    To(u64),
    /// To nothing, for this reason.
    Nowhere(String),
}

/// Has who leads, this node, log a digest, and asks all what theirs is there.
pub(super) async fn members(raft: &RaftNode, inquiries: &Inquiries) -> Result<ClusterVerifyResult> {
    raft.check_decides()?;
    let offset = raft.engine().replication().mark()?;
    let state = raft.state();
    let deadline = Instant::now() + COMING;
    let all = state.members.iter().map(|of| come(raft, inquiries, state.id, of, offset, deadline));
    let came = join_all(all).await;
    // Else the place may be another one by now.
    raft.check_decides()?;
    let named = state.members.iter().map(|of| (of.id, of.member.name.as_str()));
    Ok(judged(offset, named.zip(came).collect()))
}

async fn come(
    raft: &RaftNode,
    inquiries: &Inquiries,
    own: u16,
    of: &MemberState,
    offset: Offset,
    deadline: Instant,
) -> Came {
    let mut silences = 0;
    let mut why = String::new();
    while silences < SILENCES_MAX && Instant::now() < deadline {
        let Some(report) = ask(raft, inquiries, own, of).await else {
            silences += 1;
            why = format!("it does not answer at {}: start it, and repeat this", of.member.peer);
            continue;
        };
        // Who leads comes to it before it is decided.
        let is_there = report.committed_offset >= offset;
        match report.digest_at(offset) {
            Some(digest) if is_there || !report.is_leading => return Came::To(digest),
            _ => {}
        }
        if let Some(problem) = report.problem {
            return Came::Nowhere(problem);
        }
        why = match is_there {
            true => "it got there by a checkpoint, which has no digest: repeat this".to_owned(),
            false => {
                let behind = offset - report.committed_offset;
                format!("it is {behind} changes behind: repeat this when it has them")
            }
        };
        if is_there {
            return Came::Nowhere(why);
        }
        sleep(AGAIN).await;
    }
    Came::Nowhere(why)
}

/// Who holds what most hold, and who stands alone.
fn judged(offset: Offset, came: Vec<((u16, &str), Came)>) -> ClusterVerifyResult {
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    for (_, came) in &came {
        if let Came::To(digest) = came {
            *counts.entry(*digest).or_default() += 1;
        }
    }
    let answered: usize = counts.values().sum();
    let most =
        counts.into_iter().find(|(_, count)| *count > answered / 2).map(|(digest, _)| digest);
    let member = |((node, name), came): ((u16, &str), Came)| {
        let (digest, problem) = match came {
            Came::To(digest) if Some(digest) == most => (Some(digest), None),
            Came::To(digest) if most.is_some() => (Some(digest), Some(stands_alone(node))),
            Came::To(digest) => (Some(digest), Some(is_undecided())),
            Came::Nowhere(why) => (None, Some(why)),
        };
        VerifiedMember {
            node: node.into(),
            name: name.into(),
            digest: digest.map(|digest| format!("{digest:016x}").into()),
            agrees: problem.is_none(),
            problem: problem.map(Text::from),
        }
    };
    let members: Vec<VerifiedMember> = came.into_iter().map(member).collect();
    ClusterVerifyResult {
        offset,
        ok: members.iter().all(|member| member.agrees),
        digest: most.map(|digest| format!("{digest:016x}").into()),
        members,
    }
}

fn stands_alone(node: u16) -> String {
    format!(
        "it holds something else than most: stop it, `rstmdb-cli cluster remove {node}`, keep its directory to find out why, and start it \
         with an empty one"
    )
}

fn is_undecided() -> String {
    "they differ, and no most of them agree, so nobody knows who is right: compare with a backup (`rstmdb-cli backup verify`)".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged_of(came: [Came; 3]) -> ClusterVerifyResult {
        judged(7, came.into_iter().zip(1..).map(|(came, node)| ((node, "n"), came)).collect())
    }

    #[test]
    fn who_stands_alone_is_named_and_who_is_silent_is_not_accused() {
        let all = judged_of([Came::To(1), Came::To(1), Came::To(1)]);
        assert!(all.ok && all.members.iter().all(|member| member.problem.is_none()));
        assert_eq!((all.offset, all.digest.as_deref()), (7, Some("0000000000000001")));

        let one = judged_of([Came::To(1), Came::To(2), Came::To(1)]);
        let agrees: Vec<bool> = one.members.iter().map(|member| member.agrees).collect();
        assert_eq!((one.ok, agrees), (false, vec![true, false, true]));
        assert!(
            one.members
                .iter()
                .any(|of| of.problem.as_ref().is_some_and(|why| why.contains("remove 2")))
        );

        let silent = judged_of([Came::To(1), Came::Nowhere("gone".into()), Came::To(1)]);
        assert!(!silent.ok);
        assert_eq!(silent.members.iter().filter(|member| member.agrees).count(), 2);
        assert!(silent.members.iter().any(|member| member.problem.as_deref() == Some("gone")));

        let split = judged_of([Came::To(1), Came::To(2), Came::Nowhere("gone".into())]);
        assert_eq!((split.ok, split.digest), (false, None));
        assert!(split.members.iter().all(|member| !member.agrees));
    }
}
