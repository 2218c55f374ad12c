//! The engine does what the reference model does, for random programs.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use rstmdb_testkit::compare::{Outcome, compare, compare_many};
use rstmdb_testkit::program::Program;
use rstmdb_testkit::target::{DatabaseTarget, ModelTarget, Target};
use rstmdb_types::{InstanceEvent, Json, JsonRef, Operation, Result};

/// What replays a program.
const TEST: &str = "rstmdb-engine --test behaviour model::the_engine";

#[test]
fn the_engine_in_memory_agrees_with_the_model() {
    compare_many(TEST, 1, 1, &|program| {
        compare(program, &|program| DatabaseTarget::memory(program.options.clone()).unwrap())
    });
}

#[test]
fn the_engine_on_a_disk_that_loses_power_agrees_with_the_model() {
    compare_many(TEST, 2_000_000, 1, &|program| {
        compare(program, &|program| {
            DatabaseTarget::simulated(program.seed, program.options.clone()).unwrap()
        })
    });
}

#[test]
fn the_engine_on_files_agrees_with_the_model() {
    let root = tempfile::tempdir().unwrap();
    compare_many(TEST, 1_000_000, 1, &|program| on_files(program, root.path()));
}

fn on_files(program: &Program, root: &Path) -> Outcome {
    let directory = tempfile::tempdir_in(root).unwrap();
    let path = directory.path();
    compare(program, &|program| DatabaseTarget::directory(path, program.options.clone()).unwrap())
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
