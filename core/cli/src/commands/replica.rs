//! Servers that follow one another: `replica status`, `promote`, `follow`, `detach`.

use clap::{Args, Subcommand};
use rstmdb::{ReplicaFollowRequest, ReplicaFollowResult, ReplicaPromoteRequest, Text};

use super::stats::ReplicationStatus;
use crate::error::CommandResult;
use crate::screen::fields;
use crate::session::CliSession;

/// Look after servers that follow one another.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli -s two.example.com:7401 replica status
  rstmdb-cli -s two.example.com:7401 replica promote")]
pub(crate) struct ReplicaTools {
    #[command(subcommand)]
    what: ReplicaCommand,
}

#[derive(Debug, Subcommand)]
enum ReplicaCommand {
    Status(ReplicationStatus),
    Promote(Promote),
    Follow(FollowOther),
    Detach(Detach),
}

impl ReplicaTools {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        match self.what {
            ReplicaCommand::Status(status) => status.run(session),
            ReplicaCommand::Promote(promote) => promote.run(session),
            ReplicaCommand::Follow(follow) => follow.run(session),
            ReplicaCommand::Detach(detach) => detach.run(session),
        }
    }
}

/// Have a replica take the writes.
///
/// The server it follows takes no more writes first and hands over everything, so nothing is lost; then it
/// follows. Where that server is gone, --force does without it, and says before what is known to be lost.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli -s two.example.com:7401 replica promote
  rstmdb-cli -s two.example.com:7401 replica promote --force
  rstmdb-cli -s two.example.com:7401 replica promote --force --lose-up-to 100")]
pub(crate) struct Promote {
    /// Do not ask the server that it follows: what that one has alone is lost.
    #[arg(long)]
    force: bool,
    /// The most changes that may be lost, as far as is known; with --force.
    #[arg(long, value_name = "N", requires = "force")]
    lose_up_to: Option<u64>,
}

impl Promote {
    fn run(self, session: &mut CliSession) -> CommandResult {
        let database = session.open_existing()?;
        let request = ReplicaPromoteRequest { force: self.force, lose_up_to: self.lose_up_to };
        let result = database.replica_promote(request)?;
        session.output.show(&result, |result| {
            fields([
                ("role", result.role.to_string()),
                ("epoch", result.epoch.to_string()),
                ("known to be lost", result.lost.to_string()),
                ("took", format!("{} ms", result.took_ms)),
            ])
        })
    }
}

/// Have a server follow another one.
///
/// What it has and the other one has not is set aside in files, if the other one was promoted since.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli -s one.example.com:7401 replica follow two.example.com:7401")]
pub(crate) struct FollowOther {
    /// Where clients reach the other server.
    #[arg(value_name = "HOST:PORT")]
    upstream: String,
}

impl FollowOther {
    fn run(self, session: &mut CliSession) -> CommandResult {
        order(session, Some(self.upstream.into()))
    }
}

/// Have a replica follow nobody: it stays as it is, and takes no writes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli -s two.example.com:7401 replica detach")]
pub(crate) struct Detach {}

impl Detach {
    fn run(self, session: &mut CliSession) -> CommandResult {
        order(session, None)
    }
}

fn order(session: &mut CliSession, upstream: Option<Text>) -> CommandResult {
    let database = session.open_existing()?;
    let result = database.replica_follow(ReplicaFollowRequest { upstream })?;
    session.output.show(&result, |ReplicaFollowResult { role, upstream }| {
        let upstream = upstream.as_ref().map_or_else(|| "nobody".to_owned(), Text::to_string);
        fields([("role", role.to_string()), ("follows", upstream)])
    })
}
