//! The engine does what the reference model does, for random programs.
//!
//! A disagreement prints its seed, the line that replays it, and the shortest program found that
//! still shows it. `RSTMDB_SEED` runs one seed, `RSTMDB_PROGRAMS` that many, `RSTMDB_SOAK=1` a lot.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use rstmdb::{InstanceEvent, Json, JsonRef, Operation, Result};
use rstmdb_testkit::compare::{Divergence, compare};
use rstmdb_testkit::program::Program;
use rstmdb_testkit::remote::RemoteTarget;
use rstmdb_testkit::target::{EngineTarget, ModelTarget, Target};

type Outcome = std::result::Result<(), Divergence>;

/// Seeds that found a bug once.
const REGRESSIONS: &[u64] = &[
    // A watch that had read a segment to its end called the log damaged when that was deleted.
    13,
];

/// How many programs each test of a normal run has, and of a long one.
const PROGRAMS: (u64, u64) = (150, 5_000);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect(name))
}

fn seeds(first: u64, share: u64) -> Vec<u64> {
    if let Some(seed) = number("RSTMDB_SEED") {
        return vec![seed];
    }
    let is_soak = number("RSTMDB_SOAK").is_some_and(|soak| soak > 0);
    let count = number("RSTMDB_PROGRAMS");
    let count = count.unwrap_or(if is_soak { PROGRAMS.1 } else { PROGRAMS.0 });
    REGRESSIONS.iter().copied().chain(first..first + count / share).collect()
}

fn check(test: &str, first: u64, run: &dyn Fn(&Program) -> Outcome) {
    check_some(test, first, 1, run);
}

/// Runs one program in `share`.
fn check_some(test: &str, first: u64, share: u64, run: &dyn Fn(&Program) -> Outcome) {
    for seed in seeds(first, share) {
        let program = Program::generate(seed);
        if let Err(divergence) = run(&program) {
            panic!("{}", report(test, &program, &divergence, run));
        }
    }
}

fn report(
    test: &str,
    program: &Program,
    divergence: &Divergence,
    run: &dyn Fn(&Program) -> Outcome,
) -> String {
    let seed = program.seed;
    let mut text = format!(
        "seed {seed} disagrees at {divergence}\n\
         replay: RSTMDB_SEED={seed} cargo test -p rstmdb-tests --test model {test}\n\n"
    );
    let short = program.shrink(&mut |shorter| run(shorter).is_err());
    match run(&short) {
        Ok(()) => text.push_str("the disagreement does not come every time"),
        Err(divergence) => {
            writeln!(text, "{:?}\n{:?}", short.settings, short.options).unwrap();
            for (index, step) in short.steps.iter().enumerate() {
                writeln!(text, "{index}: {step}").unwrap();
            }
            writeln!(text, "disagrees at {divergence}").unwrap();
        }
    }
    text
}

#[test]
fn the_engine_in_memory_agrees_with_the_model() {
    check("memory", 1, &|program| {
        compare(program, &|program| EngineTarget::memory(program.options.clone()).unwrap())
    });
}

#[test]
fn the_engine_on_a_disk_that_loses_power_agrees_with_the_model() {
    check("power", 2_000_000, &|program| {
        compare(program, &|program| {
            EngineTarget::simulated(program.seed, program.options.clone()).unwrap()
        })
    });
}

#[test]
fn the_engine_on_files_agrees_with_the_model() {
    let root = tempfile::tempdir().unwrap();
    check("files", 1_000_000, &|program| on_files(program, root.path()));
}

/// Each step is a round trip, so there are fewer programs.
#[test]
fn the_engine_behind_a_server_agrees_with_the_model() {
    let root = tempfile::tempdir().unwrap();
    check_some("server", 3_000_000, 5, &|program| {
        let directory = tempfile::tempdir_in(root.path()).unwrap();
        compare(program, &|program| {
            RemoteTarget::plain(directory.path(), program.options.clone()).unwrap()
        })
    });
}

fn on_files(program: &Program, root: &Path) -> Outcome {
    let directory = tempfile::tempdir_in(root).unwrap();
    let path = directory.path();
    compare(program, &|program| EngineTarget::directory(path, program.options.clone()).unwrap())
}

/// The comparison itself, without an engine.
#[test]
fn the_model_agrees_with_itself() {
    for seed in 0..100 {
        let program = Program::generate(seed);
        let outcome = compare(&program, &|program| ModelTarget::new(program.settings.clone()));
        outcome.unwrap_or_else(|divergence| panic!("seed {seed}: {divergence}"));
    }
}

/// Counts how calls end.
struct Observer {
    inner: ModelTarget,
    outcomes: Rc<RefCell<BTreeMap<String, usize>>>,
}

impl Target for Observer {
    fn call(&mut self, operation: Operation, request: &Json) -> Result<Json> {
        let result = self.inner.call(operation, request);
        let outcome = match &result {
            Ok(result) if result.root().get("applied") == Some(JsonRef::Bool(false)) => "replayed",
            Ok(_) => "ok",
            Err(error) => error.reason().unwrap_or(error.code().as_str()),
        };
        let outcome = format!("{} {outcome}", operation.name());
        *self.outcomes.borrow_mut().entry(outcome).or_insert(0) += 1;
        result
    }

    fn watch(&mut self, operation: Operation, request: &Json) -> Result<(usize, Json)> {
        self.inner.watch(operation, request)
    }

    fn next_event(&mut self, watch: usize, timeout: Duration) -> Result<Option<InstanceEvent>> {
        self.inner.next_event(watch, timeout)
    }

    fn can_reopen(&self) -> bool {
        self.inner.can_reopen()
    }

    fn reopen(&mut self) -> Result<()> {
        self.inner.reopen()
    }

    fn advance(&mut self, ms: i64) {
        self.inner.advance(ms);
    }
}

/// A comparison proves only what its programs do.
#[test]
fn programs_reach_every_outcome() {
    let outcomes = Rc::new(RefCell::new(BTreeMap::new()));
    for seed in 0..200 {
        let open = |program: &Program| Observer {
            inner: ModelTarget::new(program.settings.clone()),
            outcomes: outcomes.clone(),
        };
        compare(&Program::generate(seed), &open).unwrap();
    }
    let outcomes = outcomes.borrow();
    for (operation, expected) in [
        ("put_machine", "ok invalid_definition invalid_guard MACHINE_VERSION_EXISTS"),
        ("put_machine", "MACHINE_VERSION_LIMIT_EXCEEDED"),
        ("get_machine", "ok MACHINE_NOT_FOUND"),
        ("create_instance", "ok INSTANCE_EXISTS MACHINE_NOT_FOUND recreate_forbidden"),
        ("create_instance", "idempotency_key_reused limit_exceeded"),
        ("get_instance", "ok INSTANCE_NOT_FOUND"),
        ("list_instances", "ok limit_exceeded"),
        ("count_instances", "ok"),
        ("delete_instance", "ok INSTANCE_NOT_FOUND idempotency_key_reused"),
        ("apply_event", "ok replayed INSTANCE_NOT_FOUND INVALID_TRANSITION GUARD_FAILED"),
        ("apply_event", "expected_state expected_wal_offset idempotency_key_reused"),
        ("apply_event", "instance_completed limit_exceeded"),
        ("permitted", "ok INSTANCE_NOT_FOUND"),
        ("batch", "ok INVALID_TRANSITION idempotency_key_reused limit_exceeded"),
        ("history", "ok INSTANCE_NOT_FOUND limit_exceeded"),
        ("wal_read", "ok"),
        ("snapshot_instance", "ok INSTANCE_NOT_FOUND"),
        ("flush_all", "ok disabled"),
        ("compact", "ok"),
    ] {
        for outcome in expected.split(' ') {
            let name = format!("{operation} {outcome}");
            assert!(outcomes.get(&name).is_some_and(|count| *count >= 5), "{name}: {outcomes:#?}");
        }
    }
}

#[test]
fn a_seed_gives_the_same_program_everywhere() {
    for seed in 0..50 {
        let (one, other) = (Program::generate(seed), Program::generate(seed));
        assert_eq!(one.steps, other.steps);
    }
    let steps = Program::generate(7).steps;
    assert_ne!(steps, Program::generate(8).steps);
}
