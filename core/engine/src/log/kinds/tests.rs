//! Effects as bytes, and those of later releases.

use super::*;
use crate::log::effects::{Effects, Unreadable, close_effect, put_record};

fn sections() -> Sections<'static> {
    Sections {
        patch: Some(Piece::Read("{\"y\":2}")),
        removed: Some(Piece::Read("[\"z\"]")),
        merge: Some(Piece::Read("false")),
        inner: vec![3, 300],
        emitted: Some(Piece::Read("[{\"data\":null,\"type\":\"t\"}]")),
    }
}

fn step(event_id: &'static str, sections: Sections<'static>) -> StepEffect<'static> {
    let applied = Apply {
        machine: 1,
        id: "a",
        event: 3,
        from: 0,
        to: 1,
        payload: Some("{\"x\":1}"),
        ctx: Some(Piece::Read("{}")),
        previous: 9,
        event_id: Some(event_id),
        key: None,
    };
    StepEffect { applied, sections: Box::new(sections) }
}

#[test]
fn what_a_step_makes_of_a_context_is_merged_twice_and_removed() {
    let mut step = step("e", Sections { merge: None, ..sections() });
    step.applied.ctx = None;
    let Context::Delta(delta) = step.context() else { panic!("all of it") };
    let before = Json::parse(r#"{"a":0,"x":0,"y":0,"z":0}"#).unwrap();
    assert_eq!(delta.after(&before).as_str(), r#"{"a":0,"x":1,"y":2}"#);
    step.sections.merge = Some(Piece::Read("false"));
    let Context::Delta(delta) = step.context() else { panic!("all of it") };
    assert_eq!(delta.after(&before).as_str(), r#"{"a":0,"x":0,"y":2}"#);
}

#[test]
fn sections_and_levels_of_later_releases_are_told_from_damage() {
    let kind = |body: Body<'_>, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        Effect { at: 0, body }.encode(&mut bytes);
        change(&mut bytes);
        let is_known = Effect::decode(&mut Reader::new(&bytes)).is_some();
        (is_known, Effect::unknown_kind(Reader::new(&bytes)))
    };
    let short = || Body::StepEffect(step("e", Sections::default()));
    assert_eq!(kind(short(), &|_| {}), (true, None));
    // First byte, time, machine, id, offset before, sections, event, states.
    let set = |at: usize, value: u8| move |bytes: &mut Vec<u8>| bytes[at] = value;
    assert_eq!(kind(short(), &set(6, 8)), (false, Some(0x6a)), "timers");
    assert_eq!(kind(short(), &set(7, 0)), (false, Some(0x6a)), "an event with a name of its own");
    assert_eq!(kind(short(), &set(8, 2)), (false, Some(0x6a)), "two states");
    let create =
        Create { machine: 1, id: "a", ctx: Piece::Read("{}"), state: None, previous: 0, key: None };
    let begin = || Body::BeginEffect(BeginEffect { create: create.clone(), emitted: None });
    assert_eq!(kind(begin(), &set(2, 8)), (false, Some(11)));
    let machine = PutMachine { number: 1, machine: "m", version: 1, definition: "{}", level: 2 };
    let put = || Body::PutMachine(machine.clone());
    assert_eq!(kind(put(), &|_| {}), (true, None));
    assert_eq!(kind(put(), &|bytes| *bytes.last_mut().unwrap() = 3), (false, Some(0x21)));
}

#[test]
fn effects_round_trip() {
    let own = KeyRef { key: "k", fingerprint: 7, global: false };
    let key = Some(own);
    let ctx = || Piece::Read("{}");
    let create = |id, state, previous| Create { machine: 1, id, ctx: ctx(), state, previous, key };
    let put =
        |level| PutMachine { number: 1, machine: "order", version: 2, definition: "{}", level };
    let bodies = [
        Body::PutMachine(put(1)),
        Body::PutMachine(put(2)),
        Body::Create(create("ä", None, 0)),
        Body::Create(create("b", Some(300), 2)),
        Body::Apply(Apply {
            machine: 1,
            id: "a",
            event: 3,
            from: 0,
            to: 1,
            payload: Some("{\"x\":1}"),
            ctx: Some(ctx()),
            previous: 9,
            event_id: Some("e"),
            key,
        }),
        Body::StepEffect(step("e", Sections::default())),
        Body::StepEffect(step("e", sections())),
        Body::BeginEffect(BeginEffect { create: create("c", Some(1), 2), emitted: None }),
        Body::BeginEffect(BeginEffect {
            create: create("c", None, 0),
            emitted: Some(Piece::Read("[1]")),
        }),
        Body::Delete(Delete { machine: 1, id: "a", from: 1, previous: 10, key: None }),
        Body::BatchResult(BatchResult { key: "b", fingerprint: 1, results: Piece::Read("[]") }),
        Body::FlushAll(FlushAll),
        Body::Mark(Mark { is_boundary: true, floor: 3, digest: None }),
        Body::Mark(Mark { is_boundary: false, floor: 0, digest: Some(u64::MAX) }),
        Body::DeleteAgain(DeleteAgain { id: "a", deletion: 10, key: own }),
        Body::Progress(Progress { kind: PURGE_FLOOR, name: "", numbers: vec![7, 8] }),
    ];
    let count = bodies.len() as u64;
    let mut bytes = Vec::new();
    for body in bodies.clone() {
        let begin = bytes.len();
        Effect { at: -5, body }.encode(&mut bytes);
        close_effect(&mut bytes, begin);
    }
    let mut payload = Vec::new();
    put_record(&mut payload, count as u32, &bytes);
    let mut single = Vec::new();
    let last = Effect { at: 1, body: Body::FlushAll(FlushAll) };
    last.encode(&mut single);
    put_record(&mut payload, 1, &single);
    let mut effects = Effects::new(2, &payload, 40);
    for (index, body) in bodies.into_iter().enumerate() {
        assert_eq!(effects.next(), Some((40 + index as u64, Effect { at: -5, body })));
    }
    assert_eq!(effects.next(), Some((40 + count, last)));
    assert_eq!(effects.next(), None);
    assert_eq!(effects.fault(), None);
    for cut in 1..payload.len() {
        let mut effects = Effects::new(2, &payload[..cut], 1);
        let read = effects.by_ref().count() as u64;
        assert!(effects.fault() == Some(Unreadable::Damaged) || read < count + 1);
    }
}

#[test]
fn kinds_of_later_releases_are_told_from_damage() {
    let bytes = |kind: u8, further: &[u8]| [&[kind, 0], further].concat();
    let unknown = |kind, further| Effect::unknown_kind(Reader::new(&bytes(kind, further)));
    for (kind, further) in [(1, &[][..]), (0x27, &[]), (0x93, &[]), (15, &[16]), (0x9f, &[18])] {
        assert_eq!(unknown(kind, further), None, "{kind}");
    }
    assert_eq!(unknown(12, &[]), Some(12));
    assert_eq!(unknown(0x4b, &[]), Some(0x4b));
    assert_eq!(unknown(15, &[0x91, 1]), Some(145));
    assert_eq!(unknown(0x24, &[]), Some(0x24), "a flag that is not known");
    assert_eq!(unknown(0, &[]), None, "zeros are no effect");
}
