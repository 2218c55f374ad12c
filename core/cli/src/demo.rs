//! `demo`: some thousand orders through a machine with guards, watched, counted, refused, restarted.
//!
//! It works on a directory of its own and refuses one that holds anything else; run again it adds
//! more orders to what is there.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use rstmdb::blocking::{Database, Subscription};
use rstmdb::{
    ApplyEventRequest, BatchMode, BatchOperation, BatchRequest, CountInstancesRequest,
    CountInstancesResult, CreateInstanceRequest, ErrorCode, FsyncPolicy, GetInstanceRequest,
    GetInstanceResult, GetMachineRequest, HistoryOrder, HistoryRequest, HistoryResult,
    ListMachinesRequest, PutMachineRequest, Result, WatchAllRequest,
};
use serde_json::{Value, json};

use crate::clean::clean;
use crate::commands::list::{count_table, history_table};
use crate::commands::machines::StoredDefinition;
use crate::diagram::{self, Language};
use crate::error::{self, CommandResult, internal};
use crate::output::{Output, number, rate};
use crate::quote::option;
use crate::session::CliSession;

const DIRECTORY: &str = "./demo-data";
const MACHINE: &str = "order";
/// Stands in the definition's meta data and tells the demo's database from all others.
const MARK: &str = "rstmdb-cli demo";
const IN_FLIGHT: usize = 512;
/// How many events of the live watch are shown.
const SHOWN: u64 = 5;
const PATIENCE: Duration = Duration::from_secs(10);

/// Show what rstmdb does, in a minute.
///
/// Some thousand orders go through a machine with guards, are watched, counted, refused, and are
/// the same after a restart. The database is made in ./demo-data (or --path) and stays there to play with; running the demo
/// again adds more orders. A directory with any other database is refused. The output is always
/// text.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rstmdb-cli demo
  rstmdb-cli demo --orders 20000 --fsync never
  rstmdb-cli --path mem: demo")]
pub(crate) struct Demo {
    /// How many orders are made.
    #[arg(long, default_value_t = 5_000, value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    orders: u32,
}

impl Demo {
    pub(crate) fn run(self, session: &mut CliSession) -> CommandResult {
        let path = match session.place_given {
            true => session.place.directory("the demo")?.to_owned(),
            false => DIRECTORY.to_owned(),
        };
        let out = session.output.of_program(format!("rstmdb-cli {} ", option("--path", &path)));
        let options = || session.options(true);
        let mut stage = DemoStage::open(Database::open_with(&path, options())?, out, self.orders)?;
        stage.promise = match (path.as_str(), session.fsync) {
            ("mem:", _) => "in memory".to_owned(),
            (_, FsyncPolicy::EveryWrite) => "every answer durable".to_owned(),
            (_, policy) => format!("fsync {policy}"),
        };
        let outcome = out
            .text(&format!("rstmdb demo, run {} on {path}", stage.run))
            .and_then(|()| stage.play(&path, options));
        // Whatever happened, the directory is released.
        let closed = stage.database.close();
        outcome?;
        closed?;
        out.text(&next_steps(&path, &stage.order(2)))
    }
}

/// The demo between its scenes.
struct DemoStage {
    database: Database,
    out: Output,
    orders: u32,
    /// Which demo this is on this database.
    run: u32,
    /// What an answer promises.
    promise: String,
}

impl DemoStage {
    /// Looks at the database: it must be new or the demo's own.
    fn open(database: Database, out: Output, orders: u32) -> Result<DemoStage> {
        let machines = database.list_machines(ListMachinesRequest {})?.items;
        for item in &machines {
            let version = item.versions.last().copied().unwrap_or(1);
            let request = GetMachineRequest { machine: item.machine.clone(), version };
            let definition = database.get_machine(request)?.definition.to_value();
            if definition.pointer("/meta/made_by").and_then(Value::as_str) != Some(MARK) {
                let message = format!(
                    "this database has the machine {:?}, so it is not the demo's; give another \
                     --path",
                    item.machine
                );
                database.close()?;
                return Err(error::usage(message).with("machine", item.machine.as_str()));
            }
        }
        let mut stage = DemoStage { database, out, orders, run: 1, promise: String::new() };
        while stage.exists(1)? || stage.exists(orders)? {
            stage.run += 1;
        }
        Ok(stage)
    }

    fn exists(&self, number: u32) -> Result<bool> {
        match self.instance(number) {
            Ok(_) => Ok(true),
            Err(error) if error.code() == ErrorCode::InstanceNotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn order(&self, number: u32) -> String {
        format!("order-{}-{number:05}", self.run)
    }

    fn instance(&self, number: u32) -> Result<GetInstanceResult> {
        let request = GetInstanceRequest { instance_id: self.order(number).into() };
        self.database.get_instance(request)
    }

    fn play(&mut self, path: &str, options: impl Fn() -> rstmdb::Options) -> CommandResult {
        self.machine()?;
        self.drive()?;
        self.title("How many orders are in which state")?;
        let counts = self.counts()?;
        self.out.screen(count_table(&counts))?;
        self.refuse()?;
        self.title(&format!("The history of {}", self.order(9)))?;
        let history = self.history(9)?;
        self.out.screen(history_table(&history))?;
        self.draw(&counts)?;
        self.restart(path, options, &counts, &history)
    }

    fn title(&self, title: &str) -> CommandResult {
        self.out.text(&format!("\n== {title} =="))
    }

    fn machine(&self) -> CommandResult {
        self.title("A machine")?;
        let definition = machine();
        let request = PutMachineRequest { strict: true, ..put(definition.clone()) };
        let stored = self.database.put_machine(request)?;
        let count =
            |member: &str| definition.get(member).and_then(Value::as_array).map_or(0, Vec::len);
        let guards = definition.get("transitions").and_then(Value::as_array).into_iter().flatten();
        let guards = guards.filter(|transition| transition.get("guard").is_some()).count();
        let stored = if stored.created { "stored" } else { "there before" };
        self.out.text(&format!(
            "machine {MACHINE} version 1, {stored}: {} states, {} transitions, {guards} of them \
             with a guard, such as\n  created --PAY--> paid, if payload.amount >= ctx.total",
            count("states"),
            count("transitions"),
        ))
    }

    /// Makes the orders and drives them, while another thread watches.
    fn drive(&self) -> CommandResult {
        let title = format!("{} orders, watched while they happen", number(self.orders.into()));
        self.title(&title)?;
        let (_, watch) = self.database.watch_all(WatchAllRequest {
            include_ctx: false,
            to_states: vec!["delivered".into()],
            ..WatchAllRequest::default()
        })?;
        let expected = AtomicU64::new(u64::MAX);
        let (figures, seen) = std::thread::scope(|scope| {
            let watcher = scope.spawn(|| self.look_on(watch, &expected));
            let figures = self.drive_orders();
            let delivered = figures.as_ref().map_or(0, |figures| figures.delivered);
            expected.store(delivered, Ordering::SeqCst);
            let seen = watcher.join().map_err(|_| internal("the watching thread panicked"));
            (figures, seen)
        });
        let DemoFigures { created, events, delivered, creating, applying } = figures?;
        let seen = seen??;
        if seen != delivered {
            let message = format!("the watch saw {seen} deliveries of {delivered}");
            return Err(internal(message).into());
        }
        let per_second = |count: u64, took: Duration| number(rate(count, took.as_secs_f64()));
        let promise = &self.promise;
        self.out.text(&format!(
            "  … the watch saw all {} deliveries\n\
             {:>9} orders made in {:.2} s, {}/s\n\
             {:>9} events applied in {:.2} s, {}/s, {promise}",
            number(delivered),
            number(created),
            creating.as_secs_f64(),
            per_second(created, creating),
            number(events),
            applying.as_secs_f64(),
            per_second(events, applying),
        ))
    }

    /// Counts what the watch brings and shows the first few.
    fn look_on(&self, mut watch: Subscription, expected: &AtomicU64) -> CommandResult<u64> {
        let mut seen = 0;
        let mut last = Instant::now();
        while seen < expected.load(Ordering::SeqCst) {
            let Some(event) = watch.next_timeout(Duration::from_millis(20))? else {
                if last.elapsed() > PATIENCE {
                    break;
                }
                continue;
            };
            last = Instant::now();
            seen += 1;
            if seen <= SHOWN {
                let from = event.from_state.as_deref().unwrap_or_default();
                let to = event.to_state.as_deref().unwrap_or_default();
                let name = event.event.as_deref().unwrap_or_default();
                let (id, offset) = (&event.instance_id, event.wal_offset);
                self.out
                    .text(&format!("  live: offset {offset}, {id}: {from} --{name}--> {to}"))?;
            }
        }
        Ok(seen)
    }

    fn drive_orders(&self) -> Result<DemoFigures> {
        let began = Instant::now();
        let mut next = 1..=self.orders;
        loop {
            let create = |number| {
                let request = CreateInstanceRequest::new(self.order(number), MACHINE, 1);
                BatchOperation::CreateInstance(request.with_ctx(context(number)))
            };
            let ops: Vec<_> = next.by_ref().take(1000).map(create).collect();
            if ops.is_empty() {
                break;
            }
            let mode = BatchMode::Atomic;
            self.database.batch(BatchRequest { mode, ops, idempotency_key: None })?;
        }
        let creating = began.elapsed();
        let began = Instant::now();
        let (mut events, mut delivered) = (0, 0);
        let mut waiting = VecDeque::new();
        for step in 0..STEPS_MAX {
            for number in 1..=self.orders {
                let Some(event) = path_of(number).get(step) else { continue };
                let mut request = ApplyEventRequest::new(self.order(number), *event);
                if *event == "PAY" {
                    request = request.with_payload(json!({ "amount": total(number) }));
                }
                events += 1;
                delivered += u64::from(*event == "DELIVER");
                waiting.push_back(self.database.submit_event(request));
                if waiting.len() > IN_FLIGHT
                    && let Some(pending) = waiting.pop_front()
                {
                    pending.wait()?;
                }
            }
        }
        for pending in waiting {
            pending.wait()?;
        }
        let created = self.orders.into();
        Ok(DemoFigures { created, events, delivered, creating, applying: began.elapsed() })
    }

    fn counts(&self) -> Result<CountInstancesResult> {
        self.database.count_instances(CountInstancesRequest::default())
    }

    fn history(&self, number: u32) -> Result<HistoryResult> {
        let mut request = HistoryRequest::new(self.order(number));
        request.order = HistoryOrder::Oldest;
        self.database.history(request)
    }

    fn refuse(&self) -> CommandResult {
        self.title("An event that is refused")?;
        // Orders whose number ends in 0 are not paid yet.
        let order = self.order(10);
        self.out.text(&format!("{order} costs {}; somebody pays 1:", total(10)))?;
        let request = ApplyEventRequest::new(order.as_str(), "PAY");
        match self.database.apply_event(request.with_payload(json!({ "amount": 1 }))) {
            Err(error) if error.code() == ErrorCode::GuardFailed => {
                self.out.text(&indent(&error::lines(&error, self.out.program)))
            }
            Err(error) => Err(error.into()),
            Ok(_) => Err(internal("the guard of PAY let too little money pass").into()),
        }
    }

    fn draw(&self, counts: &CountInstancesResult) -> CommandResult {
        self.title("The machine with its orders, as Mermaid text")?;
        let request = GetMachineRequest { machine: MACHINE.into(), version: 1 };
        let stored = self.database.get_machine(request)?;
        let definition: StoredDefinition = stored.definition.decode().map_err(internal)?;
        let counts = counts.counts.iter().map(|entry| (entry.state.to_string(), entry.count));
        let text = diagram::draw(Language::Mermaid, MACHINE, &definition, Some(counts.collect()));
        self.out.text(&text.map_err(internal)?)
    }

    /// Closes and opens the database and compares its answers.
    fn restart(
        &mut self,
        path: &str,
        options: impl Fn() -> rstmdb::Options,
        counts: &CountInstancesResult,
        history: &HistoryResult,
    ) -> CommandResult {
        self.title("A restart")?;
        if path == "mem:" {
            return self.out.text("a database in memory is gone when it is closed: no restart");
        }
        let order = self.instance(9)?;
        let began = Instant::now();
        self.database.close()?;
        let closed = began.elapsed();
        let began = Instant::now();
        self.database = Database::open_with(path, options())?;
        let opened = began.elapsed();
        let same = [
            ("counts", self.counts()? == *counts),
            ("history", self.history(9)? == *history),
            ("order", self.instance(9)? == order),
        ];
        if let Some((what, _)) = same.iter().find(|(_, same)| !same) {
            return Err(internal(format!("the {what} differs after the restart")).into());
        }
        self.out.text(&format!(
            "closed in {:.0} ms, open again in {:.0} ms with all {} orders; counts, history and \
             context are the same",
            closed.as_secs_f64() * 1000.0,
            opened.as_secs_f64() * 1000.0,
            number(counts.total()),
        ))
    }
}

/// What was done and how long it took.
struct DemoFigures {
    created: u64,
    events: u64,
    delivered: u64,
    creating: Duration,
    applying: Duration,
}

fn put(definition: Value) -> PutMachineRequest {
    PutMachineRequest::new(MACHINE, 1, definition)
}

fn machine() -> Value {
    json!({
        "states": ["created", "paid", "packed", "shipped", "delivered", "refunded", "cancelled"],
        "initial": "created",
        "final": ["refunded", "cancelled"],
        "transitions": [
            { "from": "created", "event": "PAY", "to": "paid",
              "guard": "payload.amount >= ctx.total" },
            { "from": "paid", "event": "PACK", "to": "packed" },
            { "from": "packed", "event": "SHIP", "to": "shipped", "guard": "ctx.country != null" },
            { "from": "shipped", "event": "DELIVER", "to": "delivered" },
            { "from": "delivered", "event": "REFUND", "to": "refunded",
              "guard": "ctx.total <= 500" },
            { "from": ["created", "paid"], "event": "CANCEL", "to": "cancelled" },
        ],
        "meta": { "made_by": MARK },
    })
}

/// The most events of one order.
const STEPS_MAX: usize = 5;

/// The events of an order: some wait, some are cancelled, most arrive, few come back.
fn path_of(number: u32) -> &'static [&'static str] {
    match number % 10 {
        0 => &[],
        1 => &["CANCEL"],
        2 => &["PAY"],
        3 => &["PAY", "PACK"],
        4 => &["PAY", "PACK", "SHIP"],
        9 => &["PAY", "PACK", "SHIP", "DELIVER", "REFUND"],
        _ => &["PAY", "PACK", "SHIP", "DELIVER"],
    }
}

/// What an order costs; those that come back are cheap enough for their guard.
fn total(number: u32) -> u32 {
    20 + number % 480
}

fn context(number: u32) -> Value {
    let countries = ["NL", "DE", "FR", "SE"];
    let country = countries.get(number as usize % countries.len()).copied().unwrap_or_default();
    json!({ "total": total(number), "country": country })
}

fn indent(lines: &[String]) -> String {
    lines.iter().map(|line| format!("  {}\n", clean(line))).collect()
}

/// Commands that go on from here.
fn next_steps(path: &str, order: &str) -> String {
    if path == "mem:" {
        return String::new();
    }
    let path = option("--path", path);
    format!(
        "\n== What to try next ==\n\
         rstmdb-cli {path} permitted {order}\n\
         rstmdb-cli {path} apply-event -i {order} -e PACK\n\
         rstmdb-cli {path} history {order}\n\
         rstmdb-cli {path} count-instances --machine {MACHINE} --output json\n\
         rstmdb-cli {path} watch-all --replay --to-states refunded --no-ctx\n\
         rstmdb-cli {path} shell\n"
    )
}
