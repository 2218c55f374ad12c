//! Commands on one instance, and batches of them.

use clap::Args;
use rstmdb::error::reason;
use rstmdb::{
    ApplyEventRequest, ApplyEventResult, BatchMode, BatchOperation, BatchOutcome, BatchRequest,
    CreateInstanceRequest, DeleteInstanceRequest, Error, GetInstanceRequest, GetInstanceResult,
    Json, Operation, PermittedRequest, PermittedResult, Text, members,
};

use super::target::InstanceArg;
use crate::error::{CommandResult, internal};
use crate::output::{time, yes_no};
use crate::screen::{Screen, fields, table};
use crate::session::{CliSession, json_argument, optional_json, optional_text, warn_if_blank};

/// Create an instance of a machine.
#[derive(Debug, Args)]
#[command(
    visible_aliases = ["create", "c"],
    after_help = "\
Examples:
  rstmdb-cli create-instance -m order -i o-1
  rstmdb-cli create-instance -m order -v 1 -i o-2 -c '{\"total\":10}'
  rstmdb-cli create-instance -m order --output json | jq -r .instance_id"
)]
pub(crate) struct CreateInstance {
    /// The machine's name.
    #[arg(short, long, value_name = "MACHINE")]
    machine: String,
    /// The machine's version; the latest when absent.
    #[arg(short, long, short_alias = 'V', value_name = "NUMBER")]
    version: Option<u32>,
    /// The id; a random UUID when absent.
    #[arg(short, long, visible_alias = "instance", value_name = "ID")]
    id: Option<String>,
    /// The context to start with: JSON, @FILE, or - for standard input.
    #[arg(short, long, value_name = "JSON|@FILE")]
    ctx: Option<String>,
    /// The state to start in, for instances that come from elsewhere; no guard is asked. The
    /// machine's initial state when absent.
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// A retry with the same key gets the first result.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

impl CreateInstance {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let initial_ctx = optional_json("ctx", self.ctx.as_deref())?;
        let database = session.open_existing()?;
        let version = CliSession::version(&database, &self.machine, self.version)?;
        let result = database.create_instance(CreateInstanceRequest {
            instance_id: optional_text(self.id),
            machine: self.machine.into(),
            version,
            initial_ctx,
            initial_state: optional_text(self.state),
            idempotency_key: optional_text(self.idempotency_key),
        })?;
        warn_if_blank(session.output, "the instance's id", &result.instance_id);
        session.output.show(&result, |result| {
            fields([
                ("instance", result.instance_id.to_string()),
                ("state", result.state.to_string()),
                ("offset", result.wal_offset.to_string()),
            ])
        })
    }
}

/// Show the state and context of an instance.
#[derive(Debug, Args)]
#[command(
    visible_aliases = ["get", "g"],
    after_help = "\
Examples:
  rstmdb-cli get-instance o-1
  rstmdb-cli get-instance o-1 --output json | jq .ctx"
)]
pub(crate) struct GetInstance {
    #[command(flatten)]
    target: InstanceArg,
}

impl GetInstance {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let database = session.open_existing()?;
        let result =
            database.get_instance(GetInstanceRequest { instance_id: self.target.into() })?;
        session.output.show(&result, describe)
    }
}

fn describe(result: &GetInstanceResult) -> Screen {
    let mut lines = vec![
        ("instance", result.instance_id.to_string()),
        ("machine", format!("{} version {}", result.machine, result.version)),
        ("state", result.state.to_string()),
        ("context", result.ctx.to_string()),
    ];
    let times = [("created", result.created_at), ("updated", result.updated_at)];
    lines.extend(times.into_iter().filter_map(|(name, at)| Some((name, time(at?)))));
    lines.push(("offset", result.last_wal_offset.to_string()));
    if let Some(event_id) = &result.last_event_id {
        lines.push(("event id", event_id.to_string()));
    }
    fields(lines)
}

/// Delete an instance; its id may be used again.
#[derive(Debug, Args)]
#[command(
    visible_aliases = ["delete", "d"],
    after_help = "\
Examples:
  rstmdb-cli delete-instance o-1
  rstmdb-cli delete-instance o-1 --idempotency-key cleanup-7 --output json"
)]
pub(crate) struct DeleteInstance {
    #[command(flatten)]
    target: InstanceArg,
    /// A retry with the same key gets the first result.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

impl DeleteInstance {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let database = session.open_existing()?;
        let result = database.delete_instance(DeleteInstanceRequest {
            instance_id: self.target.into(),
            idempotency_key: optional_text(self.idempotency_key),
        })?;
        session.output.show(&result, |result| {
            fields([
                ("instance", result.instance_id.to_string()),
                ("deleted", yes_no(result.deleted).to_owned()),
                ("offset", result.wal_offset.to_string()),
            ])
        })
    }
}

/// Apply an event to an instance.
#[derive(Debug, Args)]
#[command(
    visible_aliases = ["apply", "a"],
    after_help = "\
Examples:
  rstmdb-cli apply-event -i o-1 -e PAY -p '{\"amount\":10}'
  rstmdb-cli apply-event -i o-1 -e SHIP --expected-state paid
  rstmdb-cli apply-event -i o-1 -e SHIP --idempotency-key ship-o-1 --output json"
)]
pub(crate) struct ApplyEvent {
    #[command(flatten)]
    target: InstanceArg,
    /// The event's name.
    #[arg(short, long, value_name = "EVENT")]
    event: String,
    /// What guards see as `payload` and the context takes over: JSON, @FILE, or -.
    #[arg(short, long, value_name = "JSON|@FILE")]
    payload: Option<String>,
    /// Refuse the event unless the instance is in this state.
    #[arg(long, value_name = "STATE")]
    expected_state: Option<String>,
    /// Refuse the event unless this is the offset of the instance's last change.
    #[arg(long, value_name = "OFFSET")]
    expected_wal_offset: Option<u64>,
    /// The history that this offset belongs to; refuse the event when the log is another one.
    #[arg(long, value_name = "ID", requires = "expected_wal_offset")]
    history_id: Option<String>,
    /// Kept with the event, and shown by get-instance as the last event's id.
    #[arg(long, value_name = "EVENT_ID")]
    event_id: Option<String>,
    /// A retry with the same key gets the first result.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

impl ApplyEvent {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let payload = optional_json("payload", self.payload.as_deref())?;
        let database = session.open_existing()?;
        let result = database.apply_event(ApplyEventRequest {
            instance_id: self.target.as_str().into(),
            event: self.event.as_str().into(),
            payload,
            expected_state: optional_text(self.expected_state),
            expected_wal_offset: self.expected_wal_offset,
            history_id: optional_text(self.history_id),
            event_id: optional_text(self.event_id),
            idempotency_key: optional_text(self.idempotency_key),
        })?;
        session.output.show(&result, |result| applied(self.target.as_str(), &self.event, result))
    }
}

fn applied(instance: &str, event: &str, result: &ApplyEventResult) -> Screen {
    let note = if result.applied { "" } else { " (applied before, same idempotency key)" };
    fields([
        ("instance", instance.to_owned()),
        ("event", event.to_owned()),
        ("change", format!("{} -> {}{note}", result.from_state, result.to_state)),
        ("context", result.ctx.to_string()),
        ("offset", result.wal_offset.to_string()),
    ])
}

/// Say which events an instance would accept now, and why not the others.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli permitted o-1
  rstmdb-cli permitted o-1 -p '{\"amount\":10}' --output json")]
pub(crate) struct Permitted {
    #[command(flatten)]
    target: InstanceArg,
    /// The payload the guards would see: JSON, @FILE, or -.
    #[arg(short, long, value_name = "JSON|@FILE")]
    payload: Option<String>,
}

impl Permitted {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let payload = optional_json("payload", self.payload.as_deref())?;
        let database = session.open_existing()?;
        let request = PermittedRequest { instance_id: self.target.into(), payload };
        let result = database.permitted(request)?;
        session.output.show(&result, answers)
    }
}

fn answers(result: &PermittedResult) -> Screen {
    let completed = if result.completed { " (final)" } else { "" };
    let head = fields([
        ("instance", result.instance_id.to_string()),
        ("state", format!("{}{completed}", result.state)),
    ]);
    let rows = result.events.iter().map(|event| {
        let to_state = event.to_state.as_ref().map(ToString::to_string);
        let code = || event.code.map(|code| code.to_string());
        let why = event.message.clone().or_else(code).unwrap_or_default();
        vec![
            event.event.to_string(),
            yes_no(event.permitted).to_owned(),
            to_state.unwrap_or_default(),
            why,
        ]
    });
    head.then(table(&["event", "permitted", "leads to", "why not"], rows))
}

/// Run several operations, all or nothing or each on its own.
///
/// The operations are {"op": "CREATE_INSTANCE" | "APPLY_EVENT" | "DELETE_INSTANCE" |
/// "GET_INSTANCE", "params": {…}}. In atomic mode nothing happens when one fails. In best_effort
/// mode (the default) the command succeeds when the batch ran; each outcome tells its own success.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli batch '[{\"op\":\"APPLY_EVENT\",\"params\":{\"instance_id\":\"o-1\",\"event\":\"PAY\"}}]'
  rstmdb-cli batch --mode atomic @transfer.json
  rstmdb-cli batch - --idempotency-key nightly-7 --output json")]
pub(crate) struct Batch {
    /// The list of operations, or an object with `ops` and `mode`: JSON, @FILE, or -.
    #[arg(value_name = "JSON|@FILE")]
    operations: String,
    /// atomic or best_effort; overrides the mode of the object.
    #[arg(long, value_parser = ["atomic", "best_effort"], hide_possible_values = true)]
    mode: Option<String>,
    /// A retry with the same key gets the first result.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

impl Batch {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let json = json_argument("operations", &self.operations)?;
        let mut request = read_batch(&json)?;
        match self.mode.as_deref() {
            Some("atomic") => request.mode = BatchMode::Atomic,
            Some(_) => request.mode = BatchMode::BestEffort,
            None => {}
        }
        if self.idempotency_key.is_some() {
            request.idempotency_key = optional_text(self.idempotency_key);
        }
        let created: Vec<_> = request.ops.iter().filter_map(created_id).cloned().collect();
        let result = session.open_existing()?.batch(request)?;
        created.iter().for_each(|id| warn_if_blank(session.output, "an instance's id", id));
        let rows = result.results.iter().enumerate().map(|(i, outcome)| outcome_row(i, outcome));
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        session.output.show(&result, |_| table(&["op#", "status", "result"], rows))
    }
}

fn read_batch(json: &Json) -> Result<BatchRequest, Error> {
    let wrapped = match json.as_str().starts_with('[') {
        true => Json::from_canonical(&format!("{{\"ops\":{json}}}")),
        false => json.clone(),
    };
    members::check(Operation::Batch, wrapped.as_str().as_bytes())
        .map_err(|error| error.with("argument", "operations"))?;
    wrapped.decode().map_err(|problem| {
        Error::invalid(reason::INVALID_REQUEST, format!("operations: {problem}"))
            .with("argument", "operations")
    })
}

fn created_id(operation: &BatchOperation) -> Option<&Text> {
    match operation {
        BatchOperation::CreateInstance(create) => create.instance_id.as_ref(),
        _ => None,
    }
}

fn outcome_row(index: usize, outcome: &BatchOutcome) -> Result<Vec<String>, Error> {
    let (status, text) = match (&outcome.result, &outcome.error) {
        (_, Some(error)) => ("error", format!("{}: {}", error.code(), error.message())),
        (Some(result), None) => ("ok", serde_json::to_string(result).map_err(internal)?),
        (None, None) => ("ok", String::new()),
    };
    Ok(vec![(index + 1).to_string(), status.to_owned(), text])
}
