//! Servers that decide together: `cluster status`, `init`, `add`, `remove`, `promote`, `transfer`, `drain`, `verify`, `upgrade`.

use clap::{Args, Subcommand};
use rstmdb::{
    ClusterAddRequest, ClusterDrainRequest, ClusterInitRequest, ClusterMember,
    ClusterPromoteRequest, ClusterRemoveRequest, ClusterStatusRequest, ClusterStatusResult,
    ClusterTransferRequest, ClusterUpgradeRequest, ClusterVerifyRequest, ClusterVerifyResult,
    ErrorKind, Text,
};

use crate::error::{CommandResult, Failure};
use crate::output::{UNKNOWN, number, yes_no};
use crate::screen::{Screen, fields, shorten, table};
use crate::session::CliSession;

/// Look after a group of servers that decide together.
///
/// Ask any member: what only the leader can do goes there by itself.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli -s node1:7401 cluster status
  rstmdb-cli -s node1:7401,node2:7401,node3:7401 cluster transfer 2
  rstmdb-cli -s node1:7401 cluster drain 3")]
pub(crate) struct ClusterTools {
    #[command(subcommand)]
    what: ClusterCommand,
}

#[derive(Debug, Subcommand)]
enum ClusterCommand {
    Status(ClusterStatus),
    Init(ClusterInit),
    Add(ClusterAdd),
    Remove(ClusterRemove),
    Promote(ClusterPromote),
    Transfer(ClusterTransfer),
    Drain(ClusterDrain),
    Verify(ClusterVerify),
    Upgrade(ClusterUpgrade),
}

impl ClusterTools {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        match self.what {
            ClusterCommand::Status(command) => command.run(session),
            ClusterCommand::Init(command) => command.run(session),
            ClusterCommand::Add(command) => command.run(session),
            ClusterCommand::Remove(command) => command.run(session),
            ClusterCommand::Promote(command) => command.run(session),
            ClusterCommand::Transfer(command) => command.run(session),
            ClusterCommand::Drain(command) => command.run(session),
            ClusterCommand::Verify(command) => command.run(session),
            ClusterCommand::Upgrade(command) => command.run(session),
        }
    }
}

/// Show all members: who leads, how far each is behind, and what to look at.
///
/// The member that is asked asks all others, also when no node leads. Lag is in changes, and how old what the member
/// shows may be. Members at the same offset have the same digest. Exits with 8 when the group has no quorum, and so takes no
/// writes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli -s node1:7401 cluster status
  rstmdb-cli -s node1:7401 cluster status --output json | jq '.members[] | select(.answers | not)'
  rstmdb-cli -s node1:7401 cluster status >/dev/null || echo 'no quorum, or no answer'")]
pub(crate) struct ClusterStatus {}

impl ClusterStatus {
    fn run(self, session: &mut CliSession) -> CommandResult {
        let status = session.open_existing()?.cluster_status(ClusterStatusRequest {})?;
        session.output.show(&status, overview)?;
        match status.has_quorum {
            true => Ok(()),
            false => Err(Failure::Reported(ErrorKind::Unavailable.exit_code())),
        }
    }
}

fn overview(status: &ClusterStatusResult) -> Screen {
    let Some(cluster) = &status.cluster else {
        return format!("this database belongs to no group: it is {}", status.role).into();
    };
    let leader = match (status.leader, &status.leader_address) {
        (Some(node), Some(address)) => format!("node {node} at {address}"),
        _ if status.role == "joining" => "none: this server belongs to no group yet".to_owned(),
        _ => "none".to_owned(),
    };
    let known = |value: Option<u64>| value.map_or_else(|| UNKNOWN.to_owned(), |v| v.to_string());
    let votes = status.members.iter().filter(|of| of.role != "learner");
    let there = votes.clone().filter(|of| of.answers).count();
    let mut screen = fields([
        ("group", cluster.to_string()),
        ("leader", leader),
        (
            "quorum",
            format!("{}, {there} of {} voters answer", yes_no(status.has_quorum), votes.count()),
        ),
        ("term", known(status.term)),
        ("level", known(status.level)),
    ]);
    if !status.members.is_empty() {
        let header = [
            "node#", "name", "role", "clients", "zone", "lag", "term#", "levels", "digest", "state",
        ];
        screen =
            screen.then(String::from("\n")).then(table(&header, status.members.iter().map(row)));
    }
    if !status.problems.is_empty() {
        let problems: Vec<String> =
            status.problems.iter().map(|what| format!("- {what}")).collect();
        screen = screen.then(format!("\nto look at:\n{}", problems.join("\n")));
    }
    screen
}

fn row(of: &ClusterMember) -> Vec<String> {
    let unknown = || UNKNOWN.to_owned();
    let levels = match of.level_min == of.level_max {
        true => of.level_max.to_string(),
        false => format!("{}-{}", of.level_min, of.level_max),
    };
    let digest = of.digest.as_ref().zip(of.digest_offset);
    vec![
        of.node.to_string(),
        of.name.to_string(),
        of.role.to_string(),
        of.address.to_string(),
        of.zone.as_ref().map_or_else(unknown, Text::to_string),
        lag(of),
        of.term.map_or_else(unknown, |term| term.to_string()),
        levels,
        digest.map_or_else(unknown, |(digest, at)| format!("{} @{at}", shorten(digest, 9))),
        state(of),
    ]
}

/// In changes, and in time.
fn lag(of: &ClusterMember) -> String {
    match (of.lag_entries, of.lag_ms) {
        _ if of.role == "leader" => "0".to_owned(),
        (None, None) => UNKNOWN.to_owned(),
        (Some(changes), None) => format!("{} / ?", number(changes)),
        (changes, Some(age)) => {
            let changes = changes.map_or_else(|| "?".to_owned(), number);
            let age = match age {
                0..10_000 => format!("{age} ms"),
                _ => format!("{} s", age / 1000),
            };
            format!("{changes} / {age}")
        }
    }
}

fn state(of: &ClusterMember) -> String {
    let said = match (of.answers, &of.problem, of.is_drained) {
        (false, _, _) => "no answer",
        (true, Some(problem), _) => problem,
        (true, None, true) => "drained",
        (true, None, false) => "ok",
    };
    said.to_owned()
}

/// Have a server that waits for its group begin one.
///
/// The server was started with cluster.enabled and an empty directory, and none of its cluster.seeds belongs to a group. It becomes node 1; the
/// others join it by their cluster.seeds, or by `cluster add`. For a directory with a database, set cluster.bootstrap instead.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli -s node1:7401 cluster init")]
pub(crate) struct ClusterInit {}

impl ClusterInit {
    fn run(self, session: &mut CliSession) -> CommandResult {
        let result = session.open_existing()?.cluster_init(ClusterInitRequest {})?;
        session.output.show(&result, |result| {
            fields([("group", result.cluster.to_string()), ("node", result.node.to_string())])
        })
    }
}

/// Take a server into the group that waits for one.
///
/// It was started with cluster.enabled, the group's cluster.name and an empty directory. A server whose cluster.seeds name a
/// member comes by itself. It gets a vote when it has all of the log and the number of voters becomes odd by that.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli -s node1:7401 cluster add node4:7403")]
pub(crate) struct ClusterAdd {
    /// Where members reach it, its cluster.advertise.
    #[arg(value_name = "HOST:PORT")]
    peer_address: String,
}

impl ClusterAdd {
    fn run(self, session: &mut CliSession) -> CommandResult {
        let request = ClusterAddRequest { peer_address: self.peer_address.into() };
        let result = session.open_existing()?.cluster_add(request)?;
        session.output.show(&result, |result| {
            fields([("node", result.node.to_string()), ("name", result.name.to_string())])
        })
    }
}

/// Remove a member, for good: nobody gets its number again.
///
/// A leader hands over first. What is left must have a quorum and an odd number of voters; --force does it without.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli -s node1:7401 cluster remove 3
  rstmdb-cli -s node1:7401 cluster remove 3 --force")]
pub(crate) struct ClusterRemove {
    /// Its number, as `cluster status` shows it.
    #[arg(value_name = "NODE")]
    node: u64,
    /// Also where an even number of voters is left, or some that do not answer.
    #[arg(long)]
    force: bool,
}

impl ClusterRemove {
    fn run(self, session: &mut CliSession) -> CommandResult {
        let request = ClusterRemoveRequest { node: self.node, force: self.force };
        let result = session.open_existing()?.cluster_remove(request)?;
        session.output.show(&result, |result| {
            fields([("removed", result.node.to_string()), ("voters", result.voters.to_string())])
        })
    }
}

/// Give a learner a vote.
///
/// One that wants a vote gets it by itself when it has all of the log and the number of voters becomes odd by that.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli -s node1:7401 cluster promote 4
  rstmdb-cli -s node1:7401 cluster promote 4 --force")]
pub(crate) struct ClusterPromote {
    /// Its number, as `cluster status` shows it.
    #[arg(value_name = "NODE")]
    node: u64,
    /// Also where the number of voters becomes even.
    #[arg(long)]
    force: bool,
}

impl ClusterPromote {
    fn run(self, session: &mut CliSession) -> CommandResult {
        let request = ClusterPromoteRequest { node: self.node, force: self.force };
        let result = session.open_existing()?.cluster_promote(request)?;
        session.output.show(&result, |result| {
            fields([("votes", result.node.to_string()), ("voters", result.voters.to_string())])
        })
    }
}

/// Have another member lead.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli -s node1:7401 cluster transfer
  rstmdb-cli -s node1:7401 cluster transfer 2")]
pub(crate) struct ClusterTransfer {
    /// Who is to lead; without it, a voter that has most of the log.
    #[arg(value_name = "NODE")]
    to: Option<u64>,
}

impl ClusterTransfer {
    fn run(self, session: &mut CliSession) -> CommandResult {
        let request = ClusterTransferRequest { to: self.to };
        let result = session.open_existing()?.cluster_transfer(request)?;
        session.output.show(&result, |result| {
            fields([("leader", result.leader.to_string()), ("at", result.address.to_string())])
        })
    }
}

/// Keep a member from leading, before its machine is looked after.
///
/// It gives leadership away, and /health/ready is 503 there, so that load balancers leave it alone; it goes on to vote and to
/// have the log. That holds over restarts, until --undo.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli -s node1:7401 cluster drain 3
  rstmdb-cli -s node1:7401 cluster drain 3 --undo")]
pub(crate) struct ClusterDrain {
    /// Its number, as `cluster status` shows it.
    #[arg(value_name = "NODE")]
    node: u64,
    /// It may lead again.
    #[arg(long)]
    undo: bool,
}

impl ClusterDrain {
    fn run(self, session: &mut CliSession) -> CommandResult {
        let request = ClusterDrainRequest { node: self.node, undo: self.undo };
        let result = session.open_existing()?.cluster_drain(request)?;
        session.output.show(&result, |result| {
            let leader = result.leader.map_or_else(|| UNKNOWN.to_owned(), |node| node.to_string());
            fields([
                ("node", result.node.to_string()),
                ("drained", yes_no(result.is_drained).to_owned()),
                ("leader", leader),
            ])
        })
    }
}

/// Have all members compare what they hold.
///
/// They compare a digest of all instances at one place in the log. Exits with 9 when one holds something else, with 8 when one
/// does not answer.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli -s node1:7401 cluster verify
  rstmdb-cli -s node1:7401 cluster verify --output json | jq '.members[] | select(.agrees | not)'")]
pub(crate) struct ClusterVerify {}

impl ClusterVerify {
    fn run(self, session: &mut CliSession) -> CommandResult {
        let result = session.open_existing()?.cluster_verify(ClusterVerifyRequest {})?;
        session.output.show(&result, compared)?;
        let differs = result.members.iter().any(|member| member.digest.is_some() && !member.agrees);
        match (result.ok, differs) {
            (true, _) => Ok(()),
            (false, true) => Err(Failure::Reported(ErrorKind::Corrupt.exit_code())),
            (false, false) => Err(Failure::Reported(ErrorKind::Unavailable.exit_code())),
        }
    }
}

fn compared(result: &ClusterVerifyResult) -> Screen {
    let rows = result.members.iter().map(|member| {
        let text = |text: &Option<Text>| text.as_ref().map_or(UNKNOWN, Text::as_str).to_owned();
        vec![
            member.node.to_string(),
            member.name.to_string(),
            text(&member.digest),
            yes_no(member.agrees).to_owned(),
            text(&member.problem),
        ]
    });
    fields([("offset", number(result.offset)), ("all agree", yes_no(result.ok).to_owned())])
        .then(table(&["node#", "name", "digest", "agrees", "problem"], rows))
}

/// Have the group work at the newest level that all members know.
///
/// After all members run a new release. A level can't be lowered: members of the release before can't come back then.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli -s node1:7401 cluster upgrade")]
pub(crate) struct ClusterUpgrade {}

impl ClusterUpgrade {
    fn run(self, session: &mut CliSession) -> CommandResult {
        let result = session.open_existing()?.cluster_upgrade(ClusterUpgradeRequest {})?;
        session.output.show(&result, |result| {
            let level = match result.is_raised {
                true => format!("{}, raised", result.level),
                false if result.level == result.possible => {
                    format!("{}: nothing to raise, no member knows a newer one", result.level)
                }
                false => result.level.to_string(),
            };
            fields([("level", level), ("newest that all know", result.possible.to_string())])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::Layout;

    fn member(node: u64, role: &str, answers: bool) -> ClusterMember {
        ClusterMember {
            node,
            name: format!("node{node}").into(),
            role: role.into(),
            address: format!("node{node}.example:7401").into(),
            peer_address: format!("node{node}.example:7403").into(),
            zone: Some(format!("room-{node}").into()),
            answers,
            level_min: 1,
            level_max: node.min(2),
            term: answers.then_some(7),
            lag_entries: answers.then_some(1_200 * (node - 1)),
            lag_ms: answers.then_some(74 * (node - 1)),
            digest: answers.then(|| "5b1c0ff9d00dfeed".into()),
            digest_offset: answers.then_some(912),
            ..ClusterMember::default()
        }
    }

    #[test]
    fn a_group_is_seen_at_a_glance() {
        let status = ClusterStatusResult {
            role: "leader".into(),
            has_quorum: true,
            cluster: Some("shop".into()),
            node: Some(1),
            leader: Some(1),
            leader_address: Some("node1.example:7401".into()),
            term: Some(7),
            level: Some(1),
            members: vec![
                member(1, "leader", true),
                member(2, "follower", true),
                member(3, "follower", false),
            ],
            problems: vec!["node 3 does not answer at node3.example:7403: start it".into()],
        };
        insta::assert_snapshot!(overview(&status).draw(Layout::default()));
    }

    #[test]
    fn who_stands_alone_is_seen() {
        let member = |node, agrees| rstmdb::VerifiedMember {
            node,
            name: format!("node{node}").into(),
            digest: Some(if agrees { "5b1c0ff9d00dfeed" } else { "0bad0bad0bad0bad" }.into()),
            agrees,
            problem: (!agrees).then(|| "it holds something else than most".into()),
        };
        let result = ClusterVerifyResult {
            offset: 9_120,
            ok: false,
            digest: Some("5b1c0ff9d00dfeed".into()),
            members: vec![member(1, true), member(2, false), member(3, true)],
        };
        insta::assert_snapshot!(compared(&result).draw(Layout::default()));
    }
}
