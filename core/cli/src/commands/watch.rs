//! Commands that follow events as lines of JSON.
//!
//! One process at a time opens a directory, so a one-shot watch of a directory can only show what
//! the log holds: `--replay` prints that and ends. In the shell a watch stays and reports after
//! every command.

use std::time::Duration;

use clap::Args;
use rstmdb::blocking::Subscription;
use rstmdb::{InstanceEvent, Offset, Operation, WatchAllRequest, WatchInstanceRequest};

use crate::error::Outcome;
use crate::interrupt;
use crate::output::Output;
use crate::session::Session;

/// How long a live watch waits before it looks whether it should end.
const STEP: Duration = Duration::from_millis(100);

/// The options of both watches.
#[derive(Debug, Args)]
struct Common {
    /// Show the changes from this offset on before going on live.
    #[arg(short, long, value_name = "OFFSET")]
    from_offset: Option<u64>,
    /// Show what the log holds (from --from-offset, else from its beginning) and end there.
    #[arg(long, visible_alias = "until-idle")]
    replay: bool,
    /// Leave the context out.
    #[arg(long)]
    no_ctx: bool,
    /// Report creations and deletions too.
    #[arg(long)]
    lifecycle: bool,
}

impl Common {
    fn from(&self, first_offset: Offset) -> Option<Offset> {
        self.from_offset.or_else(|| self.replay.then_some(first_offset.max(1)))
    }
}

/// Follow the events of one instance as lines of JSON.
///
/// It goes on until Ctrl-C. One process at a time opens a directory: use --replay to print the recorded events and end, or
/// watch in the shell, where a watch reports after every command.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli watch-instance o-1 --replay
  rstmdb-cli watch-instance o-1 --from-offset 100 --replay --no-ctx | jq -r .to_state")]
pub(crate) struct WatchInstance {
    /// The instance's id.
    id: String,
    #[command(flatten)]
    common: Common,
}

impl WatchInstance {
    pub(crate) fn run(self, session: &mut Session) -> Outcome {
        let database = session.open(Operation::WatchInstance)?;
        let stats = database.wal_stats(rstmdb::WalStatsRequest {})?;
        let (_, subscription) = database.watch_instance(WatchInstanceRequest {
            instance_id: self.id.into(),
            include_ctx: !self.common.no_ctx,
            from_offset: self.common.from(stats.first_offset),
            include_lifecycle: self.common.lifecycle,
        })?;
        follow(session, subscription, &self.common)
    }
}

/// Follow the events of all instances, filtered, as lines of JSON.
///
/// It goes on until Ctrl-C. Lists are separated by commas; an event must match every list that is given. One process at a
/// time opens a directory: use --replay to print the recorded events and end, or watch in the
/// shell, where a watch reports after every command.
#[derive(Debug, Args)]
#[command(
    visible_alias = "watch",
    after_help = "\
Examples:
  rstmdb-cli watch-all --replay
  rstmdb-cli watch-all --replay --machines order --to-states paid,shipped --no-ctx
  rstmdb-cli watch-all --from-offset 100 --until-idle --lifecycle | jq -r .instance_id"
)]
pub(crate) struct WatchAll {
    /// Only these machines.
    #[arg(long, value_delimiter = ',', value_name = "MACHINE,…")]
    machines: Vec<String>,
    /// Only transitions out of these states.
    #[arg(long, value_delimiter = ',', value_name = "STATE,…")]
    from_states: Vec<String>,
    /// Only transitions into these states.
    #[arg(long, value_delimiter = ',', value_name = "STATE,…")]
    to_states: Vec<String>,
    /// Only these events.
    #[arg(long, value_delimiter = ',', value_name = "EVENT,…")]
    events: Vec<String>,
    #[command(flatten)]
    common: Common,
}

impl WatchAll {
    pub(crate) fn run(self, session: &mut Session) -> Outcome {
        let database = session.open(Operation::WatchAll)?;
        let stats = database.wal_stats(rstmdb::WalStatsRequest {})?;
        let texts = |names: Vec<String>| names.into_iter().map(Into::into).collect();
        let (_, subscription) = database.watch_all(WatchAllRequest {
            include_ctx: !self.common.no_ctx,
            from_offset: self.common.from(stats.first_offset),
            machines: texts(self.machines),
            from_states: texts(self.from_states),
            to_states: texts(self.to_states),
            events: texts(self.events),
            include_lifecycle: self.common.lifecycle,
        })?;
        follow(session, subscription, &self.common)
    }
}

/// Prints what comes, the way that suits the place: to the head, from the shell, or until Ctrl-C.
fn follow(session: &mut Session, mut subscription: Subscription, common: &Common) -> Outcome {
    if common.replay {
        return replay(session.output, &mut subscription);
    }
    if let Some(watches) = &mut session.watches {
        session.output.note("watching; events are shown after every command (end with `unwatch`)");
        watches.push(subscription);
        return Ok(());
    }
    if session.path != "mem:" {
        session.output.note(
            "this process has the directory to itself, so nothing new will come: --replay ends at \
             the head; Ctrl-C ends this",
        );
    }
    let interrupt = interrupt::listen();
    while !interrupt.pressed() {
        if let Some(event) = subscription.next_timeout(STEP)? {
            print(session.output, &event)?;
        }
    }
    Ok(())
}

/// Prints what there is.
///
/// Without patience a watch reads up to the head of the log and says that there is nothing more.
fn replay(output: Output, subscription: &mut Subscription) -> Outcome {
    let interrupt = interrupt::listen();
    while let Some(event) = subscription.next_timeout(Duration::ZERO)? {
        if interrupt.pressed() {
            break;
        }
        print(output, &event)?;
    }
    Ok(())
}

/// Prints what the shell's watches have for the user now.
pub(crate) fn drain(session: &mut Session) -> Outcome {
    let output = session.output;
    for subscription in session.watches.iter_mut().flatten() {
        replay(output, subscription)?;
    }
    Ok(())
}

fn print(output: Output, event: &InstanceEvent) -> Outcome {
    output.json(event)
}
