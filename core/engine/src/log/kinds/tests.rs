//! Effects as bytes, and those of later releases.

use super::*;
use crate::log::effects::{Effects, Unreadable, close_effect, put_record};

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
        Body::PutMachine(put(3)),
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
