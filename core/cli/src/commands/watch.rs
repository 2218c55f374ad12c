//! Commands that follow events: as lines of JSON, or readable on a terminal.
//!
//! On a server a watch goes on until Ctrl-C, over restarts of the server too. One process at a time
//! opens a directory, so a one-shot watch of a directory can only show what the log holds:
//! `--replay` prints that and ends. In the shell a watch can stay and report after every command.

use std::io::{IsTerminal, stdout};
use std::time::{Duration, Instant};

use clap::Args;
use rstmdb::blocking::{Database, Subscription};
use rstmdb::{
    HistoryRequest, InstanceEvent, InstanceEventKind, Offset, PingRequest, WalStatsRequest,
    WatchAllRequest, WatchInstanceRequest,
};
use serde::Serialize;

use super::machines::latest_definitions;
use super::target::InstanceArg;
use crate::clean::clean;
use crate::error::{CommandResult, internal};
use crate::interrupt;
use crate::names::{self, NameList};
use crate::output::{Format, Output, time, yes_no};
use crate::replay::{self, STEP};
use crate::screen::{fields, shorten};
use crate::session::{CliSession, optional_text};

/// The options of both watches.
#[derive(Debug, Args)]
struct Common {
    /// Show the changes from this offset on before going on live.
    #[arg(short, long, value_name = "OFFSET")]
    from_offset: Option<u64>,
    /// The history that this offset belongs to, from an event; end when the log is another one.
    #[arg(long, value_name = "ID", requires = "from_offset")]
    history_id: Option<String>,
    /// Show what the log holds (from --from-offset, else from its beginning) and end there.
    #[arg(long, visible_alias = "until-idle")]
    replay: bool,
    /// Leave the context out.
    #[arg(long)]
    no_ctx: bool,
    /// Report creations and deletions too.
    #[arg(long)]
    lifecycle: bool,
    /// In the shell: do not wait, report after every command until `unwatch`.
    #[arg(long)]
    background: bool,
}

/// Follow the events of one instance, until Ctrl-C.
///
/// Events are lines of JSON, readable ones on a terminal. A restart of the server is no end and leaves no gap. One process at
/// a time opens a directory: there, use --replay to print the recorded events and end, or watch in
/// the shell, where a watch reports after every command.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli watch-instance o-1
  rstmdb-cli watch-instance o-1 --from-offset 100 --replay --no-ctx | jq -r .to_state")]
pub(crate) struct WatchInstance {
    #[command(flatten)]
    target: InstanceArg,
    #[command(flatten)]
    common: Common,
}

impl WatchInstance {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let database = session.open_existing()?;
        let request = WatchInstanceRequest {
            instance_id: self.target.into(),
            include_ctx: !self.common.no_ctx,
            from_offset: self.common.from_offset,
            history_id: optional_text(self.common.history_id),
            include_lifecycle: self.common.lifecycle,
        };
        let lines = Lines::new(session.output);
        if self.common.replay {
            let print = |event| lines.print(&event);
            return replay::one(&database, request, interrupt::listen(), print);
        }
        let (_, subscription) = database.watch_instance(request)?;
        follow(session, subscription, self.common.background)
    }
}

/// Follow the events of all instances, filtered, until Ctrl-C.
///
/// Events are lines of JSON, readable ones on a terminal. Commas separate the names of a list, `\,` is a comma of a
/// name, and options may be repeated; an event must match every list that is given. A restart of the server is no end and leaves no gap. One process at a time opens a
/// directory: there, use --replay to print the recorded events and end, or watch in the shell,
/// where a watch reports after every command.
#[derive(Debug, Args)]
#[command(
    visible_alias = "watch",
    after_help = "\
Examples:
  rstmdb-cli watch-all
  rstmdb-cli watch-all --machines order --to-states paid,shipped --no-ctx
  rstmdb-cli watch-all --replay --from-offset 100 --lifecycle | jq -r .instance_id"
)]
pub(crate) struct WatchAll {
    /// Only these machines.
    #[arg(long, value_parser = names::parse, value_name = "MACHINE,…")]
    machines: Vec<NameList>,
    /// Only transitions out of these states.
    #[arg(long, value_parser = names::parse, value_name = "STATE,…")]
    from_states: Vec<NameList>,
    /// Only transitions into these states.
    #[arg(long, value_parser = names::parse, value_name = "STATE,…")]
    to_states: Vec<NameList>,
    /// Only these events.
    #[arg(long, value_parser = names::parse, value_name = "EVENT,…")]
    events: Vec<NameList>,
    #[command(flatten)]
    common: Common,
}

impl WatchAll {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let database = session.open_existing()?;
        self.note_commas(session, &database);
        let texts = |lists: &[NameList]| names::all(lists).map(Into::into).collect();
        let request = WatchAllRequest {
            include_ctx: !self.common.no_ctx,
            from_offset: self.common.from_offset,
            history_id: optional_text(self.common.history_id),
            machines: texts(&self.machines),
            from_states: texts(&self.from_states),
            to_states: texts(&self.to_states),
            events: texts(&self.events),
            include_lifecycle: self.common.lifecycle,
        };
        let lines = Lines::new(session.output);
        if self.common.replay {
            let print = |event| lines.print(&event);
            return replay::all(&database, request, interrupt::listen(), print);
        }
        let (_, subscription) = database.watch_all(request)?;
        follow(session, subscription, self.common.background)
    }
}

impl WatchAll {
    /// Says when a comma that separates names is one of a stored name.
    fn note_commas(&self, session: &CliSession, database: &Database) {
        let lists = [&self.machines, &self.from_states, &self.to_states, &self.events];
        if !lists.into_iter().any(|list| names::is_in_doubt(list)) {
            return;
        }
        // Without the definitions there is nothing to say; the watch itself says what is wrong.
        let Ok(stored) = latest_definitions(database) else { return };
        let machines = stored.iter().map(|(machine, _)| &**machine);
        let states = || {
            stored.iter().flat_map(|(_, definition)| &definition.states).map(|state| &state.name)
        };
        let rows = stored.iter().flat_map(|(_, definition)| &definition.transitions);
        let hints = [
            names::hint("--machines", &self.machines, machines),
            names::hint("--from-states", &self.from_states, states().map(String::as_str)),
            names::hint("--to-states", &self.to_states, states().map(String::as_str)),
            names::hint("--events", &self.events, rows.filter_map(|row| row.event.as_deref())),
        ];
        hints.iter().flatten().for_each(|hint| session.output.note(hint));
    }
}

/// Show the last changes, of one instance or of all, and follow what comes, until Ctrl-C.
///
/// Creations and deletions are shown too, contexts are not. On a directory it ends at the head of the
/// log: nothing new can come while this process has it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli tail
  rstmdb-cli tail o-1 -l 100
  rstmdb-cli tail --output json | jq -r .instance_id")]
pub(crate) struct Tail {
    /// Only this instance.
    id: Option<String>,
    /// The same as an option.
    #[arg(short, long, visible_alias = "id", conflicts_with = "id", value_name = "ID")]
    instance: Option<String>,
    /// How many changes to show before those that come.
    // As tail(1) has it too; elsewhere `-n` is a name.
    #[arg(short, long, short_alias = 'n', default_value_t = 10, value_name = "COUNT")]
    lines: u32,
}

impl Tail {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let database = session.open_existing()?;
        let follows = session.place.is_server();
        let lines = Lines::new(session.output);
        let print = |event| lines.print(&event);
        let Some(id) = self.id.as_ref().or(self.instance.as_ref()) else {
            let request = self.of_all(&database)?;
            if !follows {
                return replay::all(&database, request, interrupt::listen(), print);
            }
            let (_, subscription) = database.watch_all(request)?;
            return follow(session, subscription, false);
        };
        let mut last = HistoryRequest::new(id.as_str());
        last.limit = Some(self.lines);
        let last = database.history(last)?.events;
        let request = WatchInstanceRequest {
            include_ctx: false,
            from_offset: last.last().map(|event| event.wal_offset),
            include_lifecycle: true,
            ..WatchInstanceRequest::new(id.as_str())
        };
        if !follows {
            return last.into_iter().rev().try_for_each(print);
        }
        let (_, subscription) = database.watch_instance(request)?;
        follow(session, subscription, false)
    }

    fn of_all(&self, database: &Database) -> Result<WatchAllRequest, rstmdb::Error> {
        let stats = database.wal_stats(WalStatsRequest {})?;
        let from = (stats.latest_offset + 1).saturating_sub(self.lines.into());
        Ok(WatchAllRequest {
            include_ctx: false,
            include_lifecycle: true,
            from_offset: Some(from.max(stats.first_offset.unwrap_or(0)).max(1)),
            ..WatchAllRequest::default()
        })
    }
}

/// End the watches of this shell.
///
/// Outside the shell there is nothing to end: a watch belongs to the connection that began it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli unwatch sub-1")]
pub(crate) struct Unwatch {
    /// The subscription; all of this shell when absent.
    id: Option<String>,
}

#[derive(Debug, Serialize)]
struct Unwatched {
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription_id: Option<String>,
    removed: bool,
}

impl Unwatch {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        // What they saw until now is not lost.
        let reported = report(session);
        let Some(watches) = &mut session.watches else {
            let note = "a watch belongs to the connection that began it: Ctrl-C ends one";
            session.output.note(note);
            let result = Unwatched { subscription_id: self.id, removed: false };
            return session
                .output
                .show(&result, |result| fields([("removed", yes_no(result.removed).to_owned())]));
        };
        let ended = watches.drain(..).count();
        session.output.note(&format!("{ended} watches ended"));
        reported
    }
}

/// Prints what comes, until Ctrl-C; or leaves that to the shell.
fn follow(
    session: &mut CliSession,
    mut subscription: Subscription,
    background: bool,
) -> CommandResult {
    let is_server = session.place.is_server();
    // A person in a shell on a server sees what others do; a script can't press Ctrl-C.
    let waits = is_server && session.interactive && !background;
    if let Some(watches) = session.watches.as_mut().filter(|_| !waits) {
        session.output.note("watching; events are shown after every command (end with `unwatch`)");
        watches.push(subscription);
        return Ok(());
    }
    if !is_server && session.place.to_string() != "mem:" {
        session.output.note(
            "this process has the directory to itself, so nothing new will come: --replay ends at \
             the head; Ctrl-C ends this",
        );
    }
    let lines = Lines::new(session.output);
    let interrupt = interrupt::listen();
    while !interrupt.pressed() {
        if let Some(event) = subscription.next_timeout(STEP)? {
            lines.print(&event)?;
        }
    }
    Ok(())
}

/// How long a report waits for what a server has not sent yet; and one of 0.3.0, which does not tell how far
/// a watch is that has nothing to show.
const REPORT_PATIENCE: Duration = Duration::from_secs(2);
const REPORT_PATIENCE_OLDER: Duration = Duration::from_millis(100);

/// Prints what the shell's watches have: every change up to now, so all that the last command caused.
/// One that failed says so and ends.
pub(crate) fn report(session: &mut CliSession) -> CommandResult {
    let head = match session.watches.as_ref() {
        Some(watches) if !watches.is_empty() => head(session),
        _ => return Ok(()),
    };
    let lines = Lines::new(session.output);
    let began = Instant::now();
    let mut failed = None;
    let Some(watches) = session.watches.as_mut() else { return Ok(()) };
    let mut place = 0;
    while let Some(subscription) = watches.get_mut(place) {
        let left = match head {
            Some((head, patience)) if subscription.resume_offset() <= head => {
                patience.saturating_sub(began.elapsed())
            }
            _ => Duration::ZERO,
        };
        let is_behind = head.is_none_or(|(head, _)| subscription.resume_offset() <= head);
        match subscription.next_timeout(left.min(REPORT_STEP)) {
            // What comes after the head is for the next report, or there might be no end.
            Ok(Some(event)) => {
                lines.print(&event)?;
                place += usize::from(!is_behind);
            }
            Ok(None) if left.is_zero() => place += 1,
            Ok(None) => {}
            Err(error) => {
                drop(watches.remove(place));
                failed = Some(error);
            }
        }
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// How often it is looked whether a watch has moved on without an event.
const REPORT_STEP: Duration = Duration::from_millis(5);

/// The offset of the last change, and how long to wait for watches to come up to it. None when the
/// database does not say: the command has told the user why.
fn head(session: &CliSession) -> Option<(Offset, Duration)> {
    let database = session.database()?;
    let log = database.wal_stats(WalStatsRequest {}).ok()?;
    // Behind this answer a server tells how far watches are that have nothing to show.
    database.ping(PingRequest {}).ok()?;
    let is_older = log.first_offset.is_none();
    let patience = if is_older { REPORT_PATIENCE_OLDER } else { REPORT_PATIENCE };
    Some((log.latest_offset, patience))
}

/// How events are printed.
#[derive(Debug, Clone, Copy)]
struct Lines {
    output: Output,
    readable: bool,
}

impl Lines {
    /// Programs read lines of JSON from a pipe whatever the format of results.
    fn new(output: Output) -> Lines {
        Lines { output, readable: matches!(output.format, Format::Table) && stdout().is_terminal() }
    }

    fn print(self, event: &InstanceEvent) -> CommandResult {
        match self.readable {
            true => self.output.text(&clean(&readable(event, self.output.wide)?)),
            false => self.output.json(event),
        }
    }
}

/// An event in a line for people.
fn readable(event: &InstanceEvent, wide: bool) -> CommandResult<String> {
    let shown = |text: &str, width| if wide { text.to_owned() } else { shorten(text, width) };
    let state = |state: &Option<rstmdb::Text>| state.as_deref().unwrap_or("?").to_owned();
    let change = match &event.kind {
        InstanceEventKind::Created => format!("(created) {}", state(&event.to_state)),
        InstanceEventKind::Deleted => "(deleted)".to_owned(),
        InstanceEventKind::Other(kind) => format!("({kind})"),
        InstanceEventKind::Applied => {
            let name = event.event.as_deref().unwrap_or("?");
            format!("{} --{name}--> {}", state(&event.from_state), state(&event.to_state))
        }
    };
    let mut line = format!(
        "{}  {}  {} {}  {change}",
        time(event.timestamp),
        event.wal_offset,
        event.machine,
        event.instance_id
    );
    if !event.payload.is_null() {
        line.push_str(&format!("  {}", shown(event.payload.as_str(), 80)));
    }
    if let Some(ctx) = &event.ctx {
        let ctx = serde_json::to_string(ctx).map_err(internal)?;
        line.push_str(&format!("  ctx {}", shown(&ctx, 120)));
    }
    if let Some(emitted) = &event.emitted {
        line.push_str(&format!("  emitted {}", shown(emitted.as_str(), 120)));
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use rstmdb::Json;

    use super::*;

    fn event(kind: InstanceEventKind) -> InstanceEvent {
        InstanceEvent {
            kind,
            instance_id: "order-17".into(),
            machine: "order".into(),
            version: 1,
            wal_offset: 41,
            history_id: None,
            timestamp: Some(1_700_000_000_000),
            from_state: Some("created".into()),
            to_state: Some("paid".into()),
            event: Some("PAY".into()),
            payload: Json::null(),
            ctx: None,
            event_id: None,
            emitted: None,
        }
    }

    #[test]
    fn lines_for_people_are_screens() {
        let created = event(InstanceEventKind::Created);
        let mut paid = event(InstanceEventKind::Applied);
        paid.payload = Json::parse(r#"{"method": "card"}"#).unwrap();
        let mut with_context = paid.clone();
        with_context.ctx = Some(Json::parse(r#"{"total": 40}"#).unwrap());
        let deleted = event(InstanceEventKind::Deleted);
        let events = [created, paid, with_context, deleted];
        let lines: Vec<String> =
            events.iter().map(|event| readable(event, false).unwrap()).collect();
        insta::assert_snapshot!(lines.join("\n"));
    }
}
