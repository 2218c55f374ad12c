//! Two engines by hand: one leads or is a source, one follows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rstmdb_engine::FsyncPolicy::EveryWrite;
use rstmdb_engine::replication::{LeaderHint, LogFrame, Proposer};
use rstmdb_engine::{Engine, GroupNode, NodeKind, Options};
use rstmdb_types::*;
use serde_json::json;

use crate::calls::{behind, submit_behind};
use crate::faulty::{Crash, FaultyStorage};
use crate::sample::{apply, begin, everything, location, open, options, state};

/// What was proposed.
#[derive(Default)]
pub struct Proposals(pub Mutex<Vec<LogFrame>>);

impl std::fmt::Debug for Proposals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} proposals", self.0.lock().len())
    }
}

impl Proposer for Proposals {
    fn propose(&self, frame: LogFrame) {
        self.0.lock().push(frame);
    }
}

/// The options of a node.
pub fn as_node(kind: NodeKind, id: u16, database: Option<[u8; 16]>) -> Options {
    Options { node: Some(GroupNode { kind, id, database }), ..options(EveryWrite) }
}

/// Opens a member of a group.
pub fn member(disk: &FaultyStorage, id: u16, database: Option<[u8; 16]>) -> Result<Engine> {
    Engine::open(location(disk), as_node(NodeKind::Member, id, database))
}

/// Appends frames; says whether they are on the disk.
pub fn append(engine: &Engine, frames: Vec<LogFrame>) -> Result<()> {
    let told = Arc::new(Mutex::new(None));
    let teller = told.clone();
    engine.replication().append(frames, move |result| *teller.lock() = Some(result));
    let result = told.lock().take();
    result.unwrap()
}

/// Leads alone: all that is appended is committed.
pub fn lead(engine: &Engine, term: u64) -> Arc<Proposals> {
    let replication = engine.replication();
    append(engine, vec![LogFrame::blank(replication.tip().index + 1, term)]).unwrap();
    replication.commit(replication.tip().index).unwrap();
    let proposals = Arc::<Proposals>::default();
    replication.lead(term, 1, proposals.clone()).unwrap();
    proposals
}

/// Appends what was proposed, where the log ends; says up to which index.
pub fn take(engine: &Engine, proposals: &Proposals, term: u64) -> u64 {
    loop {
        let frames = std::mem::take(&mut *proposals.0.lock());
        if frames.is_empty() {
            return engine.replication().tip().index;
        }
        for frame in frames {
            let index = engine.replication().tip().index + 1;
            append(engine, vec![frame.placed(index, term)]).unwrap();
        }
    }
}

/// A node that was alone and has events.
pub fn converted(events: u64) -> (FaultyStorage, Engine) {
    let disk = FaultyStorage::new(1);
    let engine = open(&disk, EveryWrite).unwrap();
    begin(&engine);
    for number in 0..events {
        apply(&engine, number).unwrap();
    }
    engine.close().unwrap();
    drop(engine);
    let engine = member(&disk, 1, None).unwrap();
    (disk, engine)
}

/// An event for the instance `a`.
pub fn event(number: u64) -> ApplyEventRequest {
    ApplyEventRequest::new("a", "E").with_payload(json!({"n": number}))
}

/// The state as reads show it.
pub fn shown(engine: &Engine) -> serde_json::Value {
    state(&mut |operation, request| crate::calls::call(engine, operation, request))
}

/// Asks once.
pub fn poll<F: Future + Unpin>(future: &mut F) {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let _ = std::pin::Pin::new(future).poll(&mut context);
}

/// Takes what is proposed, and has readers wait for rounds.
#[derive(Default)]
struct Confirming(Proposals);

impl Proposer for Confirming {
    fn propose(&self, frame: LogFrame) {
        self.0.propose(frame);
    }

    fn confirms(&self) -> bool {
        true
    }
}

/// Reads and refusals of a leader are answered when a round that began after them succeeded.
pub fn what_a_leader_shows_waits_for_a_round() {
    let term = 5 << 16;
    let (_disk, engine) = converted(3);
    lead(&engine, term);
    let replication = engine.replication();
    replication.follow("a test", None);
    let proposals = Arc::<Confirming>::default();
    replication.lead(term, 2, proposals.clone()).unwrap();
    let round = || {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        replication.poll_round(&mut context)
    };
    assert!(round().is_pending(), "nobody asked");
    let get = || engine.get_instance(GetInstanceRequest { instance_id: "a".into() });
    let (mut read, mut refused) = (get(), engine.apply_event(ApplyEventRequest::new("a", "none")));
    poll(&mut read);
    poll(&mut refused);
    assert!(!read.is_ready() && !refused.is_ready(), "somebody else may lead");
    let std::task::Poll::Ready(begun) = round() else { panic!("no round was asked for") };
    let mut late = get();
    poll(&mut late);
    replication.confirm(term + 1, begun);
    assert!(!read.is_ready(), "another term's round says nothing");
    replication.confirm(term, begun);
    assert_eq!(read.wait().unwrap().ctx.to_value()["n"], 2);
    assert_eq!(refused.wait().unwrap_err().code(), ErrorCode::InvalidTransition);
    assert!(!late.is_ready(), "the round had begun before");
    let mut written = engine.apply_event(event(7));
    poll(&mut written);
    let index = take(&engine, &proposals.0, term);
    replication.commit(index).unwrap();
    written.wait().unwrap();
    assert!(!late.is_ready(), "it waits for its round");
    let std::task::Poll::Ready(begun) = round() else { panic!("no round was asked for") };
    replication.follow("a test", None);
    replication.lead(term, 3, proposals).unwrap();
    replication.confirm(term, begun);
    assert_eq!(late.wait().unwrap_err().reason(), Some("not_leader"), "its run is over");
}

/// Who does not lead refuses reads that must be fresh, whoever asks, and tells what it has those that may be behind.
pub fn who_does_not_lead_shows_what_may_be_behind_and_nothing_else() {
    let term = 5 << 16;
    let (_disk, engine) = converted(3);
    let replication = engine.replication();
    let get = || GetInstanceRequest { instance_id: "a".into() };
    let fresh: Vec<Request> = vec![
        get().into(),
        GetInstanceRequest { instance_id: "nobody".into() }.into(),
        HistoryRequest::new("a").into(),
        WalReadRequest::new(1).into(),
        ListInstancesRequest::default().into(),
        CountInstancesRequest::default().into(),
        ListMachinesRequest {}.into(),
        GetMachineRequest { machine: "m".into(), version: 1 }.into(),
        PermittedRequest { instance_id: "a".into(), payload: None }.into(),
    ];
    let refuses = |when: &str, address: Option<&str>| {
        for request in &fresh {
            let operation = request.operation();
            let error =
                Engine::submit(&engine, engine.command(request.clone())).wait().unwrap_err();
            assert_eq!(error.reason(), Some("not_leader"), "{operation:?} {when}: {error}");
            assert!(error.retryable() && error.code() == ErrorCode::ReadOnlyMode, "{error}");
            let told = error.context().get("address").cloned();
            assert_eq!(told, address.map(serde_json::Value::from), "{operation:?} {when}");
            let found = submit_behind(&engine, request.clone()).wait();
            let known = found.map_err(|error| error.code());
            assert!(!matches!(known, Err(ErrorCode::ReadOnlyMode)), "{operation:?} {when}");
        }
        for request in
            [Request::from(InfoRequest {}), WalStatsRequest {}.into(), PingRequest {}.into()]
        {
            Engine::submit(&engine, engine.command(request)).wait().unwrap();
        }
    };
    refuses("since it was opened", None);
    lead(&engine, term);
    assert_eq!(engine.get_instance(get()).wait().unwrap().ctx.to_value()["n"], 2);
    // Begun by who leads, looked at by who does not any more.
    let late = engine.get_instance(get());
    let hint = LeaderHint { node: 2, address: "there:7401".to_owned() };
    replication.follow("a test", Some(hint));
    assert!(late.is_ready(), "it was certain when it was asked");
    refuses("after it stepped down", Some("there:7401"));
    replication.follow("nobody leads", None);
    refuses("while nobody is known to lead", None);
    let between = engine.get_instance(get());
    replication.lead(term, 2, Arc::<Proposals>::default()).unwrap();
    assert_eq!(between.wait().unwrap_err().reason(), Some("not_leader"), "it led only later");
    assert_eq!(engine.get_instance(get()).wait().unwrap().ctx.to_value()["n"], 2);
    engine.close().unwrap();
    let closed = engine.get_instance(get()).wait().unwrap_err();
    assert_eq!(closed.reason(), Some("closed"), "{closed}");
}

/// Who waits for frames is told when they are on the disk, in their order, and not because of a vote.
pub fn who_waits_for_frames_is_told_in_their_order_when_they_are_on_the_disk() {
    let disk = FaultyStorage::new(1);
    let engine = member(&disk, 1, Some([3; 16])).unwrap();
    let replication = engine.replication();
    let told = Arc::new(Mutex::new(Vec::new()));
    for index in 1..=3 {
        let told = told.clone();
        let frame = LogFrame::blank(index, 5 << 16);
        replication.write([frame], move |synced| told.lock().push((index, synced.is_ok())));
    }
    replication.save_vote(&[1; 9]).unwrap();
    assert_eq!(*told.lock(), [], "a vote brings no frames to the disk");
    assert_eq!(replication.tip().synced, 0);
    replication.sync();
    assert_eq!(*told.lock(), [(1, true), (2, true), (3, true)]);
    assert_eq!(replication.tip().synced, 3);
}

/// A checkpoint is of a place before which everything is in it, though the log reaches further.
pub fn a_checkpoint_names_the_place_that_its_data_is_of() {
    let (_disk, source) = converted(3);
    let proposals = lead(&source, 5 << 16);
    let _ = source.begin(CompactRequest::default()).wait();
    let mut asked = Vec::new();
    for number in 10..15 {
        let mut pending = source.apply_event(event(number));
        poll(&mut pending);
        let index = take(&source, &proposals, 5 << 16);
        source.replication().commit(index).unwrap();
        asked.push(pending);
    }
    let frames = source.replication().frames(1, u64::MAX, usize::MAX).unwrap();
    let disk = FaultyStorage::new(2);
    let database = Some(source.replication().database());
    let node = member(&disk, 2, database).unwrap();
    let last = frames.last().unwrap().index();
    append(&node, frames).unwrap();
    node.replication().commit(last - 3).unwrap();
    let written = node.compact(CompactRequest::default()).wait().unwrap();
    assert_eq!(written.snapshots_created, 1);
    drop(node);
    let node = member(&disk.crash(Crash::KEEP_NONE), 2, database).unwrap();
    node.replication().commit(last).unwrap();
    source.replication().follow("a test", None);
    assert_eq!(everything(&node).unwrap(), everything(&source).unwrap());
}

/// A follower's log with a tail that somebody else has otherwise.
fn diverged(disk: &FaultyStorage) -> (Engine, Vec<LogFrame>, u64) {
    let (_other, leader) = converted(2);
    let database = leader.replication().database();
    let proposals = lead(&leader, 5 << 16);
    let mut asked = Vec::new();
    for number in 0..40 {
        let mut pending = leader.apply_event(event(number).with_key(format!("{number:0>100}")));
        poll(&mut pending);
        take(&leader, &proposals, 5 << 16);
        asked.push(pending);
    }
    let replication = leader.replication();
    let frames = replication.frames(1, u64::MAX, usize::MAX).unwrap();
    let committed = replication.tip().committed;
    let engine = member(disk, 2, Some(database)).unwrap();
    append(&engine, frames).unwrap();
    engine.replication().commit(committed + 3).unwrap();
    drop(asked);
    // The next leader has less and goes on otherwise.
    replication.follow("a test", None);
    replication.truncate_after(committed + 5).unwrap();
    replication.commit(committed + 5).unwrap();
    let proposals = lead(&leader, 6 << 16);
    for number in 100..130 {
        let mut pending = leader.apply_event(event(number).with_key(format!("{number:0>100}")));
        poll(&mut pending);
        let index = take(&leader, &proposals, 6 << 16);
        replication.commit(index).unwrap();
    }
    let frames = replication.frames(committed + 6, u64::MAX, usize::MAX).unwrap();
    (engine, frames, committed)
}

/// A log is cut and goes on, with a crash at any call.
pub fn a_log_that_differs_is_cut_and_goes_on_whatever_the_moment_of_a_crash() {
    let disk = FaultyStorage::new(7);
    let (engine, frames, committed) = diverged(&disk);
    let kept = committed + 5;
    let refused = append(&engine, frames[..1].to_vec()).unwrap_err();
    assert_eq!(refused.reason(), Some("log_mismatch"));
    let reader = behind(&engine, WalReadRequest::new(1)).wait().unwrap();
    let goes_on = |engine: &Engine| {
        let replication = engine.replication();
        replication.truncate_after(kept)?;
        assert_eq!(replication.tip().index, kept);
        append(engine, frames.clone())?;
        replication.commit(replication.tip().index).map(drop)
    };
    drop(reader);
    engine.close().unwrap();
    drop(engine);
    let image = disk.kill().image();
    let mut truth = None;
    for call in 1.. {
        let disk = image.restart();
        let engine = member(&disk, 2, None).unwrap();
        let calls = disk.mutating_calls();
        disk.crash_in_call(calls + call);
        let done = goes_on(&engine).is_ok();
        let image = disk.image();
        disk.power_off();
        drop(engine);
        for how in Crash::variants(call, 6) {
            let disk = image.crash(how);
            let engine = member(&disk, 2, None)
                .unwrap_or_else(|error| panic!("call {call}, {how:?}: {error}"));
            let tip = engine.replication().tip();
            assert!(tip.index >= kept.min(committed + 3), "call {call}, {how:?}: {tip:?}");
            // What is there is of one log or of the other.
            if engine.replication().truncate_after(kept.max(tip.committed)).is_ok() {
                let index = engine.replication().tip().index;
                let rest = frames.iter().filter(|frame| frame.index() > index).cloned();
                append(&engine, rest.collect::<Vec<_>>()).unwrap();
            }
            engine.replication().commit(frames.last().unwrap().index()).unwrap();
            let found = everything(&engine).unwrap();
            assert_eq!(*truth.get_or_insert(found.clone()), found, "call {call}, {how:?}");
        }
        if done {
            assert!(call > 8, "the crash came after the end: {call}");
            return;
        }
    }
}

/// Who has read the end of a log that is cut then finds what came instead.
pub fn readers_that_read_ahead_do_not_see_what_was_cut() {
    let disk = FaultyStorage::new(7);
    let (engine, frames, committed) = diverged(&disk);
    let replication = engine.replication();
    let request = WatchAllRequest { from_offset: Some(1), ..Default::default() };
    let (_, mut watch) = engine.watch_all(request).unwrap();
    let mut seen = Vec::new();
    let mut look = || loop {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match watch.poll_next(&mut context) {
            std::task::Poll::Ready(event) => seen.push(event.unwrap().unwrap()),
            std::task::Poll::Pending if watch.needs_files() => watch.load(),
            std::task::Poll::Pending => return seen.clone(),
        }
    };
    look();
    let numbers_of = |history: HistoryResult| -> Vec<_> {
        let numbers = history.events.iter().map(|event| event.payload.to_value()["n"].as_u64());
        numbers.flatten().take(30).collect()
    };
    // It reads whole steps of the log, also behind what is committed.
    let history = || behind(&engine, HistoryRequest::new("a"));
    let before = history().wait().unwrap();
    assert!(numbers_of(before).iter().all(|number| *number < 40));
    replication.truncate_after(committed + 5).unwrap();
    append(&engine, frames).unwrap();
    replication.commit(replication.tip().index).unwrap();
    let numbers: Vec<_> = look()
        .iter()
        .filter_map(|event| event.payload.to_value()["n"].as_u64())
        .filter(|number| *number >= 10)
        .collect();
    assert_eq!(numbers, (100..130).collect::<Vec<_>>());
    drop(watch);
    let after = history().wait().unwrap();
    assert_eq!(numbers_of(after), (100..130).rev().collect::<Vec<_>>());
}

/// What was voted is found again, after a crash at any call.
pub fn a_vote_survives_whatever_the_moment_of_a_crash() {
    for call in 1..12 {
        let disk = FaultyStorage::new(call);
        let engine = member(&disk, 1, Some([3; 16])).unwrap();
        let calls = disk.mutating_calls();
        disk.crash_in_call(calls + call);
        let answered: Vec<u8> =
            (1..8).take_while(|vote| engine.replication().save_vote(&[*vote; 9]).is_ok()).collect();
        let image = disk.image();
        disk.power_off();
        drop(engine);
        for how in Crash::variants(call, 8) {
            let engine = member(&image.crash(how), 1, None).unwrap();
            let found = engine.replication().read_vote().map_or(0, |vote| vote[0]);
            let last = answered.last().copied().unwrap_or(0);
            assert!((last..=last + 1).contains(&found), "{found} after {last}, {how:?}");
        }
    }
}

/// Readers of a node that applies batches find all of one or nothing.
pub fn a_batch_is_whole_for_readers_of_a_node_that_follows() {
    let source = FaultyStorage::new(1);
    let engine = open(&source, EveryWrite).unwrap();
    begin(&engine);
    // With the one that is there already.
    let ids: Vec<_> = (0..9).map(|number| format!("i{number}")).collect();
    for id in &ids {
        engine.create_instance(CreateInstanceRequest::new(id.as_str(), "m", 1)).wait().unwrap();
    }
    let ids: Vec<_> = ids.iter().map(String::as_str).chain(["a"]).collect();
    for _ in 0..200 {
        let op = |id| json!({"op": "APPLY_EVENT", "params": {"instance_id": id, "event": "E"}});
        let ops: Vec<_> = ids.iter().map(op).collect();
        let batch = json!({"mode": "atomic", "ops": ops});
        crate::calls::call(&engine, Operation::Batch, &batch).unwrap();
    }
    let frames = engine.replication().frames(1, u64::MAX, usize::MAX).unwrap();
    let database = Some(engine.replication().database());
    // One look at all instances is one look at one partition.
    let options = Options { partitions: 1, ..as_node(NodeKind::Replica, 2, database) };
    let replica = Engine::open(location(&FaultyStorage::new(2)), options).unwrap();
    let last = frames.last().unwrap().index();
    append(&replica, frames).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                let counts = replica.count_instances(CountInstancesRequest::default()).wait();
                let counts = counts.unwrap();
                let is_whole = counts.total() < 10 || counts.counts.len() == 1;
                assert!(is_whole, "half of a batch: {counts:?}");
            }
        });
        for index in 1..=last {
            replica.replication().commit(index).unwrap();
        }
        is_over.store(true, Ordering::SeqCst);
    });
    assert_eq!(shown(&replica), shown(&engine));
}
