//! Lives of a database: what callers were told in one must be there in the next.
//!
//! A life runs commands on the engine and on the reference model side by side, and keeps every moment
//! between two changes of the disk. A moment can be crashed in many ways; the next life begins with
//! what is left and checks it against the models of the life before: the log is a prefix of what was
//! handed in, nothing is missing that was shown, and the state is exactly the one at its end.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rstmdb_engine::{Background, Engine, FsyncPolicy, Location, Options, Retention, Subscription};
use rstmdb_testkit::calls::{Answer, call, submit};
use rstmdb_testkit::clock::{START_MS, TestClock};
use rstmdb_testkit::compare::{generated_ids, modelled};
use rstmdb_testkit::faulty::{Crash, FaultyStorage};
use rstmdb_testkit::model::{Model, Settings};
use rstmdb_testkit::sample::state;
use rstmdb_testkit::target::{comparable, options_of};
use rstmdb_testkit::watch_filter::WatchFilter;
use rstmdb_types::error::reason;
use rstmdb_types::{Json, Limits, Operation, Result};
use serde_json::{Value, json};

use crate::recorder::{Known, Moment, Recorder};
use crate::workload::{Command, Step, Workload};

/// Small segments, no threads, all of the disk.
pub fn small_options(fsync: FsyncPolicy) -> Options {
    Options {
        fsync,
        background: Background::Inline,
        partitions: 2,
        segment_bytes_max: 4096,
        checkpoint_log_bytes: 0,
        retention: Retention::Bytes(6000),
        ..options_of(&settings())
    }
}

/// What of the options the model knows.
pub fn settings() -> Settings {
    Settings {
        allow_flush_all: true,
        idempotency_window_ms: 24 * 3600 * 1000,
        // How many snapshots a crash leaves is not known to the model, which knows changes alone.
        limits: Limits { snapshots_max: 0, ..Limits::default() },
        ..Settings::default()
    }
}

/// One life of a database, from an opening to a crash.
pub struct Life {
    /// The disk.
    pub recorder: Recorder,
    /// The options it is opened with.
    pub options: Options,
    clock: Arc<TestClock>,
    engine: Option<Engine>,
    model: Model,
    watch: Option<(Subscription, u64)>,
    /// The model after each offset that ended a command.
    history: BTreeMap<u64, Rc<Model>>,
    /// All commands, and the offset each ended at.
    commands: Vec<(Command, u64)>,
    /// The offset this life began with.
    began_at: u64,
    /// When what was acknowledged.
    acknowledged: Vec<(i64, u64)>,
    /// Whether the disk may fail.
    pub is_tolerant: bool,
    /// The models if what ended with an unknown outcome is there after all.
    maybe: BTreeMap<u64, Rc<Model>>,
    /// Whether an answer said that writing is over.
    stopped: bool,
}

impl std::fmt::Debug for Life {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Life({} commands)", self.commands.len())
    }
}

impl Life {
    /// The first life, on an empty disk.
    pub fn first(seed: u64, options: Options) -> Life {
        let model = Model::new(settings(), START_MS);
        let candidates = BTreeMap::from([(0, Rc::new(model))]);
        let known = Known { now_ms: START_MS, ..Known::default() };
        let mut life = Life::begin(FaultyStorage::new(seed), options, candidates, known, 0);
        life.together(Workload::beginning());
        life
    }

    /// Opens what is on the disk and checks it: it must be one of the candidates, at least as far as
    /// what is safe and no further than `most`.
    fn begin(
        disk: FaultyStorage,
        options: Options,
        candidates: BTreeMap<u64, Rc<Model>>,
        known: Known,
        most: u64,
    ) -> Life {
        let known = Known { submitted: 0, ..known };
        let recorder = Recorder::new(disk, known);
        let clock = Arc::new(TestClock::at(known.now_ms));
        let engine = open(&recorder, &clock, &options)
            .unwrap_or_else(|error| panic!("opening after a crash: {error}\n{known:?}"));
        let offset = end_of(&engine);
        assert!(offset >= known.safe, "{} was promised, the log ends at {offset}", known.safe);
        assert!(offset <= most, "{offset} offsets, but {most} were handed in");
        let Some(model) = candidates.get(&offset) else {
            panic!("half of a batch survived: no command ended at {offset}");
        };
        let mut model = Model::clone(model);
        model.now_ms = known.now_ms;
        recorder.know(|known| {
            known.shown = offset;
            known.safe = offset;
        });
        let mut history = candidates;
        history.split_off(&offset);
        history.insert(offset, Rc::new(model.clone()));
        let mut life = Life {
            recorder,
            options,
            clock,
            engine: Some(engine),
            model,
            watch: None,
            history,
            commands: Vec::new(),
            began_at: offset,
            acknowledged: Vec::new(),
            is_tolerant: false,
            maybe: BTreeMap::new(),
            stopped: false,
        };
        life.check();
        life.check_snapshots();
        life.start_watch();
        life
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    /// The offset of the last change.
    pub fn offset(&self) -> u64 {
        self.model.latest_offset()
    }

    /// The first offset that is still in the log.
    pub fn first_offset(&self) -> u64 {
        let stats = call(self.engine(), Operation::WalStats, &json!({})).unwrap();
        stats.to_value()["first_offset"].as_u64().unwrap()
    }

    fn start_watch(&mut self) {
        let request = json!({"include_lifecycle": true, "include_ctx": true});
        let (_, watch) =
            self.engine().watch_all(Json::from_value(&request).decode().unwrap()).unwrap();
        self.watch = Some((watch, self.model.latest_offset() + 1));
    }

    /// Runs a step of a workload.
    pub fn step(&mut self, step: Step) {
        match step {
            Step::Together(commands) => self.together(commands),
            Step::Alone(command) => self.together(vec![command]),
            Step::Reopen => self.reopen(),
            Step::Advance(ms) => {
                self.clock.advance_ms(ms);
                self.model.now_ms += ms;
                self.recorder.know(|known| known.now_ms += ms);
            }
        }
    }

    /// A clean stop and a start.
    pub fn reopen(&mut self) {
        self.watch = None;
        let closed = self.engine.take().unwrap().close();
        let mut opened = open(&self.recorder, &self.clock, &self.options);
        if self.is_tolerant && opened.is_err() {
            self.recorder.disk.clear_faults();
            opened = open(&self.recorder, &self.clock, &self.options);
        }
        if !self.is_tolerant {
            closed.unwrap();
        }
        self.engine = Some(opened.unwrap());
        let offset = end_of(self.engine());
        if let Some(model) = self.maybe.get(&offset) {
            let now_ms = self.model.now_ms;
            self.model = Model::clone(model);
            self.model.now_ms = now_ms;
            self.history.insert(offset, model.clone());
            self.commands.last_mut().unwrap().1 = offset;
        }
        self.maybe.clear();
        self.stopped = false;
        self.recorder.know(|known| {
            known.shown = offset;
            known.safe = offset;
        });
        self.check();
        self.start_watch();
    }

    /// Hands commands in, then waits for all of them, and compares with the model.
    pub fn together(&mut self, commands: Vec<Command>) {
        let engine = self.engine.take().unwrap();
        let mut answers: Vec<Answer<'_>> = Vec::new();
        let first = self.commands.len();
        for (operation, request) in &commands {
            // Its end is known when it is answered; till then the power may go at any moment.
            self.recorder.know(|known| known.submitted += 1);
            let answer = submit(&engine, *operation, request);
            let is_blocking = matches!(
                operation,
                Operation::Compact
                    | Operation::History
                    | Operation::WalRead
                    | Operation::SnapshotInstance
            );
            if answer.is_ready && !is_blocking && !self.stopped {
                // What can be seen now must not depend on what is still on its way.
                let answer = answer.wait();
                let mut before = self.model.clone();
                let expected = run_on(&mut before, *operation, request, &answer);
                assert_eq!(
                    modelled(*operation, &expected),
                    modelled(*operation, &answer),
                    "{operation:?} {request} was answered before what it depends on was written"
                );
                answers.push(submit(&engine, *operation, request));
            } else {
                answers.push(answer);
            }
        }
        self.read_watch(self.model.latest_offset());
        let answers: Vec<Result<Json>> = answers.into_iter().map(Answer::wait).collect();
        let is_group = commands.len() > 1;
        let mut unknown = self.model.clone();
        for ((operation, request), answer) in commands.into_iter().zip(answers) {
            let before = self.model.latest_offset();
            if self.is_failure(operation, is_group, &answer) {
                // Of a compaction the mark of its checkpoint may be there.
                let logs = is_write(operation) || operation == Operation::Compact;
                let unknown_outcome = Some(reason::OUTCOME_UNKNOWN);
                if logs && answer.is_err_and(|error| error.reason() == unknown_outcome) {
                    let _ = unknown.call(operation, &Json::from_value(&request));
                    self.maybe.insert(unknown.latest_offset(), Rc::new(unknown.clone()));
                }
                if operation == Operation::Compact {
                    self.follow(&engine, before);
                }
                self.commands.push(((operation, request), self.model.latest_offset()));
                continue;
            }
            let expected = run_on(&mut self.model, operation, &request, &answer);
            self.compare(operation, &request, &expected, &answer);
            if operation == Operation::Compact {
                self.follow(&engine, before);
                let end = self.model.latest_offset();
                self.recorder.know(|known| known.safe = end);
            }
            let end = self.model.latest_offset();
            self.history.insert(end, Rc::new(self.model.clone()));
            self.commands.push(((operation, request), end));
        }
        if self.is_tolerant {
            let info = call(&engine, Operation::Info, &json!({})).unwrap().to_value();
            // Until there is room again, which the next write finds.
            let is_full = info["health"].as_str().unwrap().starts_with("the disk is full");
            assert_eq!(info["writable"], !self.stopped && !is_full, "{info}");
        }
        self.engine = Some(engine);
        assert_eq!(self.recorder.known().submitted, self.commands.len());
        if self.commands.len() > first {
            self.acknowledge();
        }
        self.read_watch(self.model.latest_offset());
    }

    /// Reads what a compaction logged. The power may go between its effects.
    fn follow(&mut self, engine: &Engine, before: u64) {
        for most in 1.. {
            let read = &mut |request: &Json| {
                let mut request = request.to_value();
                request["limit"] = json!(most);
                call(engine, Operation::WalRead, &request)
            };
            self.model.follow(before, read);
            let latest = self.model.latest_offset();
            if latest < before + most {
                break;
            }
            self.history.insert(latest, Rc::new(self.model.clone()));
        }
    }

    /// Whether an answer says that the disk failed, and nothing happened as far as can be told.
    fn is_failure(&mut self, operation: Operation, is_group: bool, answer: &Result<Json>) -> bool {
        let Err(error) = answer else { return false };
        if !self.is_tolerant {
            return false;
        }
        let is_file_work = matches!(operation, Operation::Compact | Operation::SnapshotInstance);
        let of_disk = match error.reason() {
            Some(reason::DISK_FULL | reason::WRITE_FAILED) => {
                assert!(error.retryable(), "{error:?}");
                true
            }
            Some(reason::OUTCOME_UNKNOWN | reason::WRITES_STOPPED) => true,
            Some(reason::IO) => is_file_work,
            _ => false,
        };
        if !of_disk {
            return false;
        }
        assert!(is_write(operation) || is_file_work || is_group, "a read failed: {error:?}");
        self.stopped |=
            matches!(error.reason(), Some(reason::OUTCOME_UNKNOWN | reason::WRITES_STOPPED));
        true
    }

    fn compare(
        &self,
        operation: Operation,
        request: &Value,
        expected: &Result<Json>,
        answer: &Result<Json>,
    ) {
        let (mut expected, mut got) = (modelled(operation, expected), modelled(operation, answer));
        // Of a log that was cut, the rest is compared.
        if let (Operation::History, Ok(result)) = (operation, answer) {
            let first = result.to_value()["first_offset"].clone();
            let keep = |events: &mut Value| {
                let events = events["events"].as_array_mut().unwrap();
                events.retain(|event| event["wal_offset"].as_u64() >= first.as_u64());
                json!(events)
            };
            (expected, got) = (keep(&mut expected), keep(&mut got));
        }
        if operation == Operation::WalRead {
            return;
        }
        assert_eq!(expected, got, "{operation:?} {request}");
    }

    /// Notes what was promised by the answers given so far.
    fn acknowledge(&mut self) {
        let latest = self.model.latest_offset();
        let now = self.model.now_ms;
        let grew = self.acknowledged.last().is_none_or(|(_, offset)| *offset < latest);
        if grew && latest > self.began_at {
            self.acknowledged.push((now, latest));
        }
        let safe = match self.options.fsync {
            FsyncPolicy::EveryWrite => latest,
            FsyncPolicy::EveryN(n) => latest.saturating_sub(u64::from(n) - 1),
            FsyncPolicy::EveryMs(ms) if grew => {
                let old = self.acknowledged.iter().rev();
                let old = old.clone().find(|(at, _)| *at <= now - i64::from(ms));
                old.map_or(0, |(_, offset)| *offset)
            }
            FsyncPolicy::EveryMs(_) | FsyncPolicy::Never => 0,
        };
        self.recorder.know(|known| {
            known.shown = latest;
            known.safe = known.safe.max(safe);
        });
    }

    /// Events that have come must be those up to `most`, and all of them.
    fn read_watch(&mut self, most: u64) {
        let Some((watch, position)) = &mut self.watch else { return };
        let request = json!({"include_lifecycle": true, "include_ctx": true});
        let filter = WatchFilter::parse(Operation::WatchAll, &Json::from_value(&request));
        for expected in self.model.events_from(*position, &filter) {
            let event = watch.next_timeout(Duration::ZERO).unwrap();
            let (event, expected) = (comparable(&json!(event)), comparable(&json!(expected)));
            assert_eq!(event, expected, "an event of a watch");
        }
        assert_eq!(watch.next_timeout(Duration::ZERO).unwrap(), None, "a watch saw too much");
        *position = most + 1;
    }

    /// The state and what there is of the log must be the model's.
    pub fn check(&mut self) {
        let engine = self.engine.as_ref().unwrap();
        let got = state(&mut |operation, request| call(engine, operation, request));
        let model = &mut self.model;
        let expected = state(&mut |operation, request| model.call(operation, &request.into()));
        assert_eq!(expected, got, "the state after the opening");
        let mut from = 1;
        loop {
            let request = json!({"from_offset": from, "limit": 1000});
            let page = call(engine, Operation::WalRead, &request).unwrap().to_value();
            let Some(first) = page["records"][0]["offset"].as_u64() else {
                let end = json!(self.model.latest_offset() + 1);
                assert_eq!(page["next_offset"], end, "the log's end");
                return;
            };
            // Marks at the end are passed over too, unless the page is full before it.
            let count = page["records"].as_array().unwrap().len();
            let is_last = page["next_offset"] == json!(self.model.latest_offset() + 1);
            let limit = if is_last { count + 1 } else { count };
            let request = json!({"from_offset": first, "limit": limit});
            let expected = self.model.call(Operation::WalRead, &Json::from_value(&request));
            let expected = comparable(&expected.unwrap().to_value());
            assert_eq!(expected, comparable(&page), "the log after the opening");
            from = page["next_offset"].as_u64().unwrap();
        }
    }

    /// No snapshot is there but of instances that are, and nothing unfinished.
    fn check_snapshots(&self) {
        let engine = self.engine.as_ref().unwrap();
        let paths = self.recorder.disk.paths();
        for path in paths.iter().filter_map(|path| path.strip_prefix("snapshots/")) {
            let id = path.strip_suffix(".json").unwrap_or_else(|| panic!("{path} was left"));
            let text = self.recorder.disk.contents(&format!("snapshots/{path}")).unwrap();
            let instance: Value = serde_json::from_slice(&text).unwrap();
            let request = json!({"instance_id": instance["instance_id"]});
            let listed = call(engine, Operation::ListSnapshots, &request).unwrap().to_value();
            let mut snapshots = listed["snapshots"].as_array().unwrap().iter();
            assert!(snapshots.any(|one| one["snapshot_id"] == id), "{path} is an orphan");
        }
    }

    /// Every moment of this life, the present one included.
    pub fn moments(&self) -> Vec<Moment> {
        self.recorder.moments()
    }

    /// The offsets a moment may have got to.
    fn most_at(&self, moment: &Moment) -> u64 {
        match moment.known.submitted {
            0 => self.began_at,
            submitted => self.commands[submitted - 1].1,
        }
    }

    /// The life after the power went at a moment. It retries what was under way, and some of before.
    pub fn after(&self, moment: &Moment, crash: Crash) -> Life {
        self.next(moment, moment.disk.crash(crash), moment.known)
    }

    /// The life after the process was killed and what was clean in the system's cache was dropped.
    pub fn after_eviction(&self) -> Life {
        let moment = self.moments().pop().unwrap();
        let disk = moment.disk.restart();
        disk.evict_clean();
        self.next(&moment, disk, moment.known)
    }

    /// The life after the process was killed at a moment: nothing that was shown is lost.
    pub fn after_kill(&self, moment: &Moment) -> Life {
        let known = Known { safe: moment.known.shown, ..moment.known };
        self.next(moment, moment.disk.restart(), known)
    }

    fn next(&self, moment: &Moment, disk: FaultyStorage, known: Known) -> Life {
        let mut candidates = self.history.clone();
        candidates.extend(self.maybe.iter().map(|(offset, model)| (*offset, model.clone())));
        let most = self.most_at(moment).max(self.maybe.keys().next_back().copied().unwrap_or(0));
        let mut life = Life::begin(disk, self.options.clone(), candidates, known, most);
        let submitted = moment.known.submitted;
        let keyed = |(command, _): &&(Command, u64)| command.1.get("idempotency_key").is_some();
        let before = self.commands[..submitted].iter().filter(keyed);
        // Those whose answer is not known, and some whose is.
        let again: Vec<Command> =
            before.rev().take(4).map(|(command, _)| command.clone()).collect();
        for command in again.into_iter().rev() {
            life.together(vec![command]);
        }
        life
    }
}

/// The last offset of the log.
fn end_of(engine: &Engine) -> u64 {
    let info = call(engine, Operation::Info, &json!({})).unwrap();
    info.to_value()["latest_offset"].as_u64().unwrap()
}

fn is_write(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::PutMachine
            | Operation::CreateInstance
            | Operation::DeleteInstance
            | Operation::ApplyEvent
            | Operation::Batch
            | Operation::FlushAll
    )
}

/// Runs a command on the model, with the ids that the engine chose.
fn run_on(
    model: &mut Model,
    operation: Operation,
    request: &Value,
    answer: &Result<Json>,
) -> Result<Json> {
    model.generated_ids.clear();
    if let Ok(answer) = answer {
        model.generated_ids.extend(generated_ids(operation, request, &answer.to_value()));
    }
    model.call(operation, &Json::from_value(request))
}

fn open(recorder: &Recorder, clock: &Arc<TestClock>, options: &Options) -> Result<Engine> {
    let location = Location { clock: clock.clone(), ..recorder.disk.location() };
    Engine::open(location, options.clone())
}
