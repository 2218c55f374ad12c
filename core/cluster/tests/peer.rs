//! What nodes say to each other, over connections that damage, cut, repeat and reorder it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use rstmdb_cluster::peer::*;
use rstmdb_engine::replication::{GroupMembers, Installed, LogFrame};
use rstmdb_engine::{Engine, FsyncPolicy, Options};
use rstmdb_testkit::faulty::FaultyStorage;
use rstmdb_testkit::sample;
use rstmdb_types::{ApplyEventRequest, Limits};
use serde_json::json;
use tokio::io::AsyncWriteExt;

fn hello() -> Hello {
    Hello {
        levels: Levels::HERE,
        cluster: "shop".to_owned(),
        database: [7; 16],
        node: 3,
        uuid: [9; 16],
        name: "kitchen".to_owned(),
        release: "0.4.0".to_owned(),
        epoch: 5 << 16,
        address: "kitchen:7401".to_owned(),
        writes_at: "cellar:7401".to_owned(),
        tip: Some(12),
    }
}

const AT: Installed = Installed {
    database: [7; 16],
    offset: 40,
    index: 9,
    term: 1 << 16,
    chain: 77,
    next: 41,
    boundary: 39,
    at_ms: -5,
    until: 12,
};
const MARK: Heartbeat = Heartbeat { epoch: 5 << 16, committed: 9, committed_offset: 40 };

/// Frames of a log, the last one with an event of so many bytes.
fn frames(bytes: usize) -> Vec<LogFrame> {
    let limits =
        Limits { payload_bytes_max: 64 << 20, context_bytes_max: 64 << 20, ..Limits::default() };
    let options =
        Options { limits, segment_bytes_max: 64 << 20, ..sample::options(FsyncPolicy::Never) };
    let engine = Engine::open(sample::location(&FaultyStorage::new(1)), options).unwrap();
    sample::begin(&engine);
    let event = ApplyEventRequest::new("a", "E").with_payload(json!({"text": "x".repeat(bytes)}));
    engine.apply_event(event).wait().unwrap();
    let frames = engine.replication().frames(1, u64::MAX, usize::MAX).unwrap();
    assert!(frames.len() > 2);
    frames
}

const VOTE: PeerVote = PeerVote { term: 3, node: 1, is_elected: true };
const ENTRY: EntryName = EntryName { term: 3, index: 8 };

fn append(bytes: usize) -> Message {
    let frames = frames(bytes);
    let index = frames[0].index().checked_sub(2);
    let before = index.map(|index| EntryName { term: 3, index });
    Message::Append(AppendFrames { vote: VOTE, before, committed: Some(ENTRY), frames })
}

/// One of each type.
fn messages() -> Vec<Message> {
    let named = |index| FrameName { index, term: 3, chain: index * 7 };
    let refusal = PeerRefusal::for_now("locked", "somebody else is first");
    let messages = vec![
        Message::Hello(hello()),
        Message::Refused(refusal),
        Message::Follow(FollowFrom {
            offset: 8,
            known: vec![named(9), named(5), FrameName::START],
        }),
        Message::Compare { low: 3, high: 9 },
        Message::Continue { from: 4 },
        Message::Cut { index: 4, offset: 8 },
        Message::Offer(Offer { at: AT, bytes: 100 }),
        Message::Fetch { position: 12 },
        Message::Chunk(Chunk { position: 12, bytes: b"some".to_vec() }),
        Message::Frames(Frames { mark: MARK, frames: frames(9) }),
        Message::Ack(Ack { synced: 4, applied: 3, applied_offset: 8 }),
        Message::Heartbeat(MARK),
        Message::TakeOver,
        Message::Yielded { index: 9, why: "somebody else does".to_owned() },
        Message::Join(r#"{"name":"kitchen"}"#.to_owned()),
        Message::Joined { node: 4, database: [7; 16] },
        Message::Elsewhere { address: "kitchen:7403".to_owned() },
        Message::Vote(Candidacy { vote: VOTE, last: Some(ENTRY), is_handed_over: true }),
        Message::PreVote(Candidacy { vote: VOTE, last: None, is_handed_over: false }),
        Message::Voted(Verdict { vote: VOTE, is_granted: true, last: Some(ENTRY) }),
        append(9),
        Message::Appended(Appended::UpTo(Some(ENTRY))),
        Message::Succeed(Succession { vote: VOTE, to: 2, last: Some(ENTRY) }),
        Message::Succeeded(true),
        Message::Handover(Handover {
            vote: VOTE,
            last: EntryName { term: 3, index: 11 },
            members: GroupMembers { index: 2, term: 3, words: "{}".to_owned() },
            offer: Offer { at: AT, bytes: 100 },
        }),
        Message::Installed(VOTE),
        Message::Inquire,
        Message::Report("{\"node\":1}".to_owned()),
        Message::Invite { address: "a:1".to_owned() },
        Message::Invited,
        Message::Session(PassedSession {
            address: "192.0.2.7:50000".parse().unwrap(),
            speaks_lines: true,
            token: "kitchen".to_owned(),
            client: "till".to_owned(),
        }),
        Message::SessionBegins,
    ];
    let kinds: Vec<_> = messages.iter().map(Message::kind).collect();
    assert_eq!(kinds, MessageKind::ALL, "one of each");
    messages
}

fn decoded(mut bytes: &[u8]) -> Result<Vec<Envelope>, MessageError> {
    let mut decoder = Decoder::default();
    let mut found = Vec::new();
    while let Some(next) = decoder.read(&mut bytes)? {
        found.push(next);
    }
    Ok(found)
}

#[test]
fn every_message_comes_as_it_went_whatever_the_pieces_in_which_it_arrives() {
    let messages = messages();
    let bytes: Vec<u8> =
        (1..).zip(&messages).flat_map(|(n, message)| message.encode(2, n)).collect();
    for step in [1, 3, 19, 20, 21, 1000, usize::MAX] {
        let mut decoder = Decoder::default();
        let mut found = Vec::new();
        for mut part in bytes.chunks(step.min(bytes.len())) {
            while let Some(Envelope { group, request, message }) = decoder.read(&mut part).unwrap()
            {
                assert_eq!((group, request as usize), (2, found.len() + 1));
                assert!(!decoder.is_amid());
                found.push(message);
            }
        }
        assert_eq!(found, messages);
    }
}

#[test]
fn a_byte_that_changed_on_the_way_is_noticed_wherever_it_is() {
    for message in messages() {
        let bytes = message.encode(2, 7);
        for at in 0..bytes.len() {
            for bit in [1, 0x80] {
                let mut wrong = bytes.clone();
                wrong[at] ^= bit;
                match decoded(&wrong) {
                    Err(error) => assert!(!error.to_string().is_empty()),
                    // It announces more, which never comes.
                    Ok(found) => assert!(found.is_empty() && at < 8, "{message:?}, byte {at}"),
                }
            }
        }
    }
}

#[test]
fn bodies_that_make_no_sense_are_refused_by_the_name_of_their_field() {
    for message in messages() {
        let kind = message.kind();
        let bytes = message.encode(0, 1);
        let body = &bytes[HEADER_BYTES..];
        assert_eq!(Message::decode(kind, body).unwrap(), message);
        for length in 0..body.len() {
            // A chunk may have any length, a frame may end where another one begins, and a hello where older ones did.
            let found = Message::decode(kind, &body[..length]);
            let is_whole = found.as_ref().is_ok_and(|found| {
                matches!(
                    found,
                    Message::Hello(_) | Message::Chunk(_) | Message::Frames(_) | Message::Append(_)
                ) && *found != message
            });
            assert!(is_whole || found.is_err(), "{kind}, {length} bytes");
        }
        let more = Message::decode(kind, &[body, &[1]].concat());
        let takes_more = matches!(kind, MessageKind::Hello | MessageKind::Chunk);
        assert_eq!(more.is_ok(), takes_more, "{kind}");
    }
    let field = |message: Message| match Message::decode(
        message.kind(),
        &message.encode(0, 1)[HEADER_BYTES..],
    ) {
        Err(MessageError::Body { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    let named = |index| FrameName { index, term: 1, chain: 1 };
    assert_eq!(
        field(Message::Follow(FollowFrom { offset: 1, known: vec![named(3), named(3)] })),
        "frames"
    );
    assert_eq!(field(Message::Follow(FollowFrom { offset: 1, known: vec![] })), "frames");
    assert_eq!(field(Message::Compare { low: 3, high: 3 }), "high");
    assert_eq!(
        field(Message::Offer(Offer { at: Installed { until: 8, ..AT }, bytes: 1 })),
        "place"
    );
    assert_eq!(
        field(Message::Offer(Offer { at: Installed { next: u64::MAX, ..AT }, bytes: 1 })),
        "numbers"
    );
    assert_eq!(field(Message::Offer(Offer { at: AT, bytes: u64::MAX })), "numbers");
    let mut twice = frames(1);
    twice.push(twice[0].clone());
    assert_eq!(field(Message::Frames(Frames { mark: MARK, frames: twice })), "indexes");
    assert_eq!(field(Message::Frames(Frames { mark: MARK, frames: vec![] })), "frames");
}

#[test]
fn a_frame_that_is_larger_than_a_piece_comes_in_pieces() {
    let frames = frames(20 << 20);
    let message = Message::Frames(Frames { mark: MARK, frames });
    let bytes = message.encode(0, 1);
    assert!(bytes.len() > 2 * PIECE_BYTES_MAX + 3 * HEADER_BYTES);
    assert_eq!(decoded(&bytes).unwrap()[0].message, message);
    // Not where the limit is lower, and not when another message comes in between.
    let refused = Decoder::limited(10 << 20).read(&mut &bytes[..]).unwrap_err();
    assert!(matches!(refused, MessageError::TooLong { max: 0xa0_0000, .. }), "{refused}");
    assert!(refused.to_string().contains("raise the limit"), "{refused}");
    let first = &bytes[..HEADER_BYTES + PIECE_BYTES_MAX];
    for other in
        [Message::Continue { from: 1 }.encode(0, 1), message.encode(0, 2), message.encode(1, 1)]
    {
        let refused = decoded(&[first, &other].concat()).unwrap_err();
        assert!(matches!(refused, MessageError::Piece { .. }), "{refused}");
    }
    assert_eq!(decoded(&[first, first, first].concat()).unwrap(), [], "half of one so far");
}

#[test]
fn what_is_only_announced_costs_no_memory_and_too_much_is_refused_at_once() {
    let mut header = Message::Chunk(Chunk { position: 0, bytes: Vec::new() }).encode(0, 1);
    header.truncate(HEADER_BYTES);
    header[..4].copy_from_slice(&(PIECE_BYTES_MAX as u32).to_le_bytes());
    let mut decoder = Decoder::default();
    assert_eq!(decoder.read(&mut &header[..]), Ok(None));
    assert!(decoder.is_amid());
    for (kind, length) in [(9u16, PIECE_BYTES_MAX as u32 + 1), (9, u32::MAX), (11, 70_000)] {
        header[..4].copy_from_slice(&length.to_le_bytes());
        header[4..6].copy_from_slice(&kind.to_le_bytes());
        let refused = decoded(&header).unwrap_err();
        assert!(matches!(refused, MessageError::TooLong { .. }), "{refused}");
    }
    header[4..6].copy_from_slice(&999u16.to_le_bytes());
    assert_eq!(decoded(&header), Err(MessageError::Unknown { kind: 999 }));
    let refused = decoded(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap_err();
    assert!(matches!(refused, MessageError::Unknown { .. }), "{refused}");
    let many = Message::Frames(Frames { mark: MARK, frames: frames(1) }).encode(0, 1);
    let mut small = many.clone();
    small[6] = 1;
    assert!(
        matches!(decoded(&small), Err(MessageError::Piece { .. })),
        "pieces are full but the last"
    );
}

/// What a connection with these bytes ends with.
fn ends(bytes: Vec<u8>) -> (Vec<Message>, PeerError) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (mut there, here) = tokio::io::duplex(bytes.len() + 1);
        there.write_all(&bytes).await.unwrap();
        drop(there);
        let mut incoming = PeerReader::new(here, Decoder::default());
        let mut found = Vec::new();
        loop {
            match incoming.next().await {
                Ok(message) => found.push(message),
                Err(error) => return (found, error),
            }
        }
    })
}

#[test]
fn messages_that_are_lost_repeated_or_out_of_order_end_the_connection() {
    let messages = messages();
    let encode = |number: usize| messages[number - 1].encode(0, number as u32);
    let of = |numbers: &[usize]| ends(numbers.iter().flat_map(|number| encode(*number)).collect());
    for (numbers, good, expected, found) in
        [(&[1, 1, 2][..], 1, 2, 1), (&[1, 3], 1, 2, 3), (&[2], 0, 1, 2), (&[1, 2, 3, 2], 3, 4, 2)]
    {
        let (before, error) = of(numbers);
        assert_eq!(before, messages[..good]);
        let is_told = matches!(error, PeerError::OutOfOrder { expected: e, found: f } if (e, f) == (expected, found));
        assert!(is_told, "{error}");
    }
    let (before, error) = of(&[1, 2, 3]);
    assert_eq!(before, messages[..3]);
    assert!(matches!(error, PeerError::Closed { in_message: false }), "{error}");
    let whole = [encode(1), encode(2)].concat();
    for length in encode(1).len() + 1..whole.len() {
        let (before, error) = ends(whole[..length].to_vec());
        assert_eq!(before.len(), 1);
        assert!(matches!(error, PeerError::Closed { in_message: true }), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn large_messages_take_their_room_from_what_all_have_together_and_must_not_stop() {
    let memory = PeerMemory::of(4 << 20);
    let bytes = Message::Frames(Frames { mark: MARK, frames: frames(20 << 20) }).encode(0, 1);
    let patience = std::time::Duration::from_secs(10);
    let connect = || {
        let (there, here) = tokio::io::duplex(64 << 10);
        let reader = PeerReader::new(here, Decoder::default()).within(memory.clone(), patience);
        (there, reader)
    };
    // So much of it is taken before the other side has to wait.
    async fn taken(stream: &mut tokio::io::DuplexStream, bytes: &[u8]) -> usize {
        let mut sent = 0;
        while sent < bytes.len() {
            let write = stream.write(&bytes[sent..]);
            match tokio::time::timeout(std::time::Duration::from_secs(1), write).await {
                Ok(written) => sent += written.unwrap(),
                Err(_) => break,
            }
        }
        sent
    }
    let (mut streams, mut readers) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let (there, reader) = connect();
        streams.push(there);
        readers.push(tokio::spawn(async move {
            let mut reader = reader;
            let found = reader.next().await;
            (reader, found.map(|message| message.kind()))
        }));
    }
    // Half of it and no more: the first goes beyond the room of all, the others get what there is.
    let half = bytes.len() / 2;
    assert_eq!(taken(&mut streams[0], &bytes[..half]).await, half);
    let mut others = 0;
    for stream in &mut streams[1..] {
        others += taken(stream, &bytes[..half]).await;
    }
    assert!(others < 2 << 20, "{others} bytes are kept of those whose turn has not come");
    // It stays half: the connection ends, and the next one's turn comes.
    let (_, found) = readers.remove(0).await.unwrap();
    assert!(matches!(found, Err(PeerError::Silent { .. })), "{found:?}");
    // Small ones need no room.
    let (mut there, mut reader) = connect();
    there.write_all(&Message::TakeOver.encode(0, 1)).await.unwrap();
    assert_eq!(reader.next().await.unwrap(), Message::TakeOver);
    drop(readers);
    let (there, reader) = connect();
    let whole = bytes.clone();
    let sending = tokio::spawn(async move {
        let mut there = there;
        there.write_all(&whole).await.unwrap();
        there
    });
    let mut reader = reader;
    drop(streams);
    assert_eq!(reader.next().await.unwrap().kind(), MessageKind::Frames);
    drop(sending.await.unwrap());
}

#[test]
fn nodes_that_do_not_belong_together_say_so_in_a_sentence() {
    let here = hello();
    let other = Hello { node: 4, uuid: [8; 16], name: "cellar".to_owned(), ..hello() };
    assert_eq!(here.refuses(&other), None);
    assert_eq!(here.refuses(&Hello { database: [0; 16], ..other.clone() }), None, "it is empty");
    assert_eq!(here.refuses(&hello()), None, "the same node again");
    let levels = [
        Levels { peer: Range { from: 8, to: 9 }, ..Levels::HERE },
        Levels { frame: Range { from: 8, to: 9 }, ..Levels::HERE },
        Levels { effect: Range { from: 8, to: 9 }, ..Levels::HERE },
    ];
    let release = "0.9.0".to_owned();
    let mut wrong: Vec<_> = levels
        .map(|levels| {
            (Hello { levels, release: release.clone(), ..other.clone() }, "unsupported", "0.9.0")
        })
        .into();
    wrong.push((Hello { cluster: "inn".into(), ..other.clone() }, "invalid_option", "\"inn\""));
    wrong.push((
        Hello { database: [1; 16], ..other.clone() },
        "history_diverged",
        "different databases",
    ));
    wrong.push((Hello { node: 3, ..other }, "invalid_option", "both node 3"));
    for (wrong, reason, part) in wrong {
        let refusal = here.refuses(&wrong).unwrap();
        assert_eq!(refusal.reason, reason);
        for part in [part, "kitchen", "cellar"] {
            assert!(refusal.message.contains(part), "{part}: {}", refusal.message);
        }
    }
}

#[path = "../../../fuzz/src/peer.rs"]
mod fuzz;

#[test]
fn the_corpus_of_the_fuzz_target_and_its_neighbours_are_read_or_refused() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/peer");
    let mut files = 0;
    for file in std::fs::read_dir(corpus).unwrap() {
        let data = std::fs::read(file.unwrap().path()).unwrap();
        files += 1;
        fuzz::messages(&data);
        for at in 0..data.len() {
            let mut other = data.clone();
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                other[at] = value;
                fuzz::messages(&other);
            }
            fuzz::messages(&data[..at]);
        }
    }
    assert!(files >= 8, "{files}");
}
