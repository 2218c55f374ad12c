//! Decisions with several effects on several instances, as sends between instances will make them.

use rstmdb_types::{
    ApplyEventRequest, CreateInstanceRequest, GetInstanceRequest, Json, PutMachineRequest, Result,
    Text,
};

use super::*;
use crate::error::instance_not_found;
use crate::log::kinds::{Apply, Piece, PutMachine};
use crate::ops::NewId;
use crate::options::{Background, Location, Options};
use crate::state::Slot;
use crate::storage::testing::Solid;
use crate::{Engine, FsyncPolicy};

/// Applies event 0 to two instances at once.
struct Pair {
    names: [Text; 2],
    /// Pretends that the second effect comes behind another one than it does.
    broken: bool,
}

#[derive(Debug, PartialEq)]
struct Done(Offset);

impl AtOffset for Done {
    fn set_offset(&mut self, offset: Offset) {
        self.0 = offset;
    }
}

impl Pair {
    fn draft<'a>(
        &self,
        id: &'a Text,
        (hash, number): (u64, u32),
        slot: &Slot,
        wrong: u64,
    ) -> Draft<'a> {
        let ctx = slot.ctx.merge(&Json::parse(r#"{"moved":true}"#).unwrap());
        let body = Body::Apply(Apply {
            machine: slot.machine.number,
            id,
            event: 0,
            from: slot.state,
            to: 1 - slot.state,
            payload: Some(r#"{"moved":true}"#),
            ctx: Some(Piece::Value(ctx.clone())),
            previous: slot.last + wrong,
            event_id: None,
            key: None,
        });
        Draft { body, known: Known::Instance { slot: number, hash, ctx: Some(ctx) } }
    }
}

impl Evaluate for Pair {
    type Result = Done;

    fn instance_id(&self) -> &str {
        &self.names[0]
    }

    fn evaluate(&self, _: &Env<'_>, locked: &Locked<'_>, _: u64) -> Result<Step<'_, Done>> {
        let mut drafts = Vec::new();
        let mut missing = Needs::default();
        for (place, id) in self.names.iter().enumerate() {
            let hash = locked.state.hash(id);
            if locked.look(hash).is_none() {
                missing.partitions.push(locked.state.partition_number(hash));
                continue;
            }
            let (number, slot) = locked.find(hash, id).ok_or_else(|| instance_not_found(id))?;
            let wrong = u64::from(self.broken && place == 1);
            drafts.push(self.draft(id, (hash, number), slot, wrong));
        }
        if !missing.partitions.is_empty() {
            return Ok(Step::Missing(missing));
        }
        Ok(Step::Change(Drafts::Several(drafts), Done(0)))
    }
}

const EDGE: Edge<'_> = Edge { at_ms: 5, new_id: NewId::Given(0), plain_rules: false };

fn engine() -> Engine {
    let location = Location { storage: Solid::shared(), ..Location::memory() };
    let options = Options {
        background: Background::Inline,
        fsync: FsyncPolicy::EveryWrite,
        partitions: 64,
        digest: true,
        ..Options::default()
    };
    let engine = Engine::open(location, options).unwrap();
    let definition = r#"{"states":["a","b"],"initial":"a","transitions":[
        {"from":"a","event":"GO","to":"b"},{"from":"b","event":"GO","to":"a"}]}"#;
    let definition = Json::parse(definition).unwrap();
    engine.put_machine(PutMachineRequest::new("m", 1, definition)).wait().unwrap();
    for number in 0..8 {
        let id = format!("i-{number}");
        engine.create_instance(CreateInstanceRequest::new(id, "m", 1)).wait().unwrap();
    }
    engine
}

/// Everything that a reader sees of the instances, and the digest of all.
fn seen(engine: &Engine) -> (Vec<String>, Option<u64>) {
    let read = |number: u32| {
        let request = GetInstanceRequest { instance_id: format!("i-{number}").into() };
        let evaluated = engine.shared.get_instance(request);
        serde_json::to_string(&evaluated.result.unwrap()).unwrap()
    };
    let digest = Locked::all(&engine.shared.state).digest();
    ((0..8).map(read).collect(), digest)
}

fn pair(first: u32, second: u32) -> Pair {
    Pair { names: [format!("i-{first}").into(), format!("i-{second}").into()], broken: false }
}

#[test]
fn several_effects_are_one_record_and_are_taken_back_together() {
    let engine = engine();
    let shared = &engine.shared;
    let before = seen(&engine);
    let committed = shared.queue.committed();
    let first = shared.write(&EDGE, &pair(0, 5));
    assert_eq!(first.result.unwrap(), Done(committed + 1));
    let second = shared.write(&EDGE, &pair(5, 3));
    assert_eq!(second.result.unwrap(), Done(committed + 3));
    assert_ne!(seen(&engine), before);
    assert_eq!(shared.queue.appended(), committed + 4);
    shared.queue.with_sink(|_| ());
    let after = seen(&engine);
    assert_eq!(after.0[0], after.0[0].replace(r#""state":"a""#, r#""state":"b""#));
    assert_eq!(shared.queue.committed(), committed + 4);

    // What was not written when a write fails is taken back, all of it.
    let third = shared.write(&EDGE, &pair(1, 2));
    assert_eq!(third.result.unwrap(), Done(committed + 5));
    assert_ne!(seen(&engine), after);
    shared.queue.fail_for_test();
    assert_eq!(seen(&engine), after);
    assert!(shared.queue.settled(third.ticket).unwrap().is_err());

    let reopened = {
        let storage = shared.storage.clone();
        engine.close().unwrap();
        let options = shared.options.clone();
        Engine::open(Location { storage, ..Location::memory() }, options).unwrap()
    };
    assert_eq!(seen(&reopened), after, "replay comes to the same");
}

#[test]
fn an_effect_that_does_not_fit_stops_all_writing() {
    let engine = engine();
    let broken = Pair { broken: true, ..pair(0, 5) };
    let error = engine.shared.write(&EDGE, &broken).result.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InternalError);
    assert!(error.message().contains("an invariant is broken"), "{error}");
    let create = CreateInstanceRequest::new("new", "m", 1);
    let error = engine.create_instance(create).wait().unwrap_err();
    assert_eq!(error.code(), ErrorCode::InternalError, "{error}");
    let read = GetInstanceRequest { instance_id: "i-7".into() };
    assert_eq!(engine.get_instance(read).wait().unwrap().state, "a", "reads go on");
}

#[test]
fn what_was_stored_before_a_key_had_a_meaning_goes_on_without_it() {
    let engine = engine();
    let shared = &engine.shared;
    let definition = r#"{"states":["a"],"initial":"a","ttl":"1d","transitions":[
        {"from":"a","event":"E","to":"a","after":"5m","actions":[{"assign":{"n":1}}]}]}"#;
    let definition = Json::parse(definition).unwrap();
    let text = definition.as_str();
    let body = PutMachine { number: 2, machine: "old", version: 1, definition: text, level: 1 };
    let draft = Draft { body: Body::PutMachine(body), known: Known::Nothing };
    let needs = Needs { machines: true, ..Needs::default() };
    let mut locked = Locked::of(&shared.state, &needs).undoing(shared.undo_below());
    shared.log(&mut locked, 5, Drafts::One(draft), Done(0)).result.unwrap();
    drop(locked);

    let look = |engine: &Engine, id: &str| {
        let put = |version| PutMachineRequest::new("old", version, definition.clone());
        assert!(!engine.put_machine(put(1)).wait().unwrap().created, "it is the same machine");
        engine.create_instance(CreateInstanceRequest::new(id, "old", 1)).wait().unwrap();
        let applied = engine.apply_event(ApplyEventRequest::new(id, "E")).wait().unwrap();
        assert_eq!(applied.ctx.as_str(), "{}", "its actions never wake up");
        let error = engine.put_machine(put(2)).wait().unwrap_err();
        assert_eq!(error.reason(), Some("invalid_definition"), "put today it means something");
    };
    look(&engine, "x");
    let storage = shared.storage.clone();
    let options = shared.options.clone();
    engine.close().unwrap();
    let engine = Engine::open(Location { storage, ..Location::memory() }, options).unwrap();
    look(&engine, "y");
}
