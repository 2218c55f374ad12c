//! Engines that take part in a group: by one log that is agreed on outside, with crashes, cuts and refusals.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rstmdb_engine::FsyncPolicy::{EveryWrite, Never};
use rstmdb_engine::maintenance::{repair, set_aside, verify};
use rstmdb_engine::replication::{LeaderHint, LogFrame, Proposer, Standing};
use rstmdb_engine::{Background, Engine, Location, NodeKind, Options, Purpose};
use rstmdb_testkit::calls::behind;
use rstmdb_testkit::cluster::pair::{
    append, as_node, converted, event, lead, member, poll, shown, take,
};
use rstmdb_testkit::cluster::{Cluster, Faults, pair};
use rstmdb_testkit::faulty::{Call, Crash, Effect, Fault, FaultyStorage};
use rstmdb_testkit::sample::{apply, begin, location, open, options};
use rstmdb_testkit::seeds::{Replay, seeds_and};
use rstmdb_types::*;

#[test]
fn a_group_agrees_under_every_fault() {
    let mut replay = Replay::of("rstmdb-engine --test behaviour a_group_agrees");
    let mut figures = [0; 4];
    for seed in seeds_and(&[], 1, 120, 20_000) {
        replay.seed = seed;
        let size = if seed % 4 == 0 { 5 } else { 3 };
        let faults =
            Faults { crashes: seed % 3 != 0, network: seed % 5 != 0, refusals: seed % 2 == 0 };
        let mut cluster = Cluster::new(seed, size, faults);
        cluster.run(400);
        for (sum, more) in figures.iter_mut().zip(cluster.figures()) {
            *sum += more;
        }
    }
    println!("acknowledged, refused, unknown, terms: {figures:?}");
}

#[test]
fn what_is_proposed_is_shown_when_it_is_committed_and_not_before() {
    let (_disk, engine) = converted(3);
    let before = shown(&engine);
    let replication = engine.replication();
    assert_eq!(replication.standing(), Standing::Following { leader: None });
    let refused = engine.apply_event(event(7)).wait().unwrap_err();
    assert_eq!((refused.reason(), refused.retryable()), (Some("not_leader"), true));
    let proposals = lead(&engine, 5 << 16);
    let first = engine.apply_event(event(7));
    let second = engine.apply_event(event(8));
    let read = engine.get_instance(GetInstanceRequest { instance_id: "a".into() });
    let refused = engine.apply_event(ApplyEventRequest::new("a", "none"));
    let keyed = engine.apply_event(event(9).with_key("k"));
    assert!(![first.is_ready(), second.is_ready(), keyed.is_ready()].contains(&true));
    assert!(!read.is_ready() && !refused.is_ready(), "they tell of what is not committed");
    drop(keyed);
    let watched = replication.tip().committed_offset;
    let known = engine.apply_event(event(9).with_key("k"));
    let index = take(&engine, &proposals, 5 << 16);
    assert!(!read.is_ready() && !known.is_ready(), "appended is not committed");
    assert_eq!(replication.tip().committed_offset, watched);
    let page = engine.wal_read(WalReadRequest::new(watched + 1)).wait().unwrap();
    assert!(page.records.is_empty(), "{page:?}");
    replication.commit(index).unwrap();
    assert_eq!(first.wait().unwrap().wal_offset, watched + 1);
    assert_eq!(second.wait().unwrap().wal_offset, watched + 2);
    assert!(!known.wait().unwrap().applied);
    assert_eq!(read.wait().unwrap().last_wal_offset, watched + 2);
    assert_eq!(refused.wait().unwrap_err().code(), ErrorCode::InvalidTransition);
    assert_ne!(shown(&engine), before);
}

#[test]
fn who_stops_leading_takes_back_what_is_not_committed_and_says_what_is_open() {
    let (disk, engine) = converted(3);
    let replication = engine.replication();
    let proposals = lead(&engine, 5 << 16);
    let committed = engine.apply_event(event(1).with_key("one"));
    assert!(!committed.is_ready());
    drop(committed);
    let index = take(&engine, &proposals, 5 << 16);
    replication.commit(index).unwrap();
    let before = shown(&engine);
    // One is proposed and appended, one is proposed, one is only in memory.
    let appended = engine.apply_event(event(2));
    let mut polled = engine.apply_event(event(22));
    poll(&mut polled);
    let read = engine.get_instance(GetInstanceRequest { instance_id: "a".into() });
    let known = engine.apply_event(event(1).with_key("one"));
    let refused = engine.apply_event(ApplyEventRequest::new("a", "none"));
    take(&engine, &proposals, 5 << 16);
    let memory = engine.apply_event(event(3));
    let hint = LeaderHint { node: 2, address: "there:7401".to_owned() };
    replication.follow("a test", Some(hint));
    for open in [appended, polled] {
        assert_eq!(open.wait().unwrap_err().reason(), Some("outcome_unknown"));
    }
    let elsewhere = memory.wait().unwrap_err();
    assert_eq!(elsewhere.reason(), Some("not_leader"), "nothing happened: {elsewhere}");
    assert_eq!(read.wait().unwrap_err().reason(), Some("not_leader"));
    assert_eq!(refused.wait().unwrap_err().reason(), Some("not_leader"));
    assert_eq!(known.wait().unwrap_err().reason(), Some("not_leader"), "asked while more was open");
    let refused = engine.apply_event(event(4)).wait().unwrap_err();
    assert_eq!(refused.context()["address"], "there:7401");
    assert!(refused.message().contains("there:7401"), "{refused}");
    assert_eq!(shown(&engine), before);
    // What was appended is still in the log, and may be committed by somebody else.
    let tip = replication.tip();
    assert!(tip.index > tip.committed, "{tip:?}");
    let disk = disk.crash(Crash::KEEP_NONE);
    drop(engine);
    let engine = member(&disk, 1, None).unwrap();
    assert_eq!(shown(&engine), before, "it is not known to be committed");
    assert_eq!(engine.replication().tip().index, tip.index);
    engine.replication().commit(tip.index).unwrap();
    let last = behind(&engine, GetInstanceRequest { instance_id: "a".into() }).wait().unwrap();
    assert_eq!(last.ctx.to_value()["n"], 22);
    let truncated = engine.replication().truncate_after(tip.index - 1).unwrap_err();
    assert_eq!(truncated.reason(), Some("log_mismatch"));
}

#[test]
fn a_frame_of_somebody_else_ends_a_run_and_what_does_not_fit_is_void() {
    let (_disk, engine) = converted(1);
    let replication = engine.replication();
    let proposals = lead(&engine, 5 << 16);
    let first = engine.apply_event(event(1));
    let mut second = engine.apply_event(event(2));
    poll(&mut second);
    let lost = std::mem::take(&mut *proposals.0.lock());
    assert_eq!(lost.len(), 1);
    // The library refused it and took a later one, of a run that is over.
    replication.follow("refused", None);
    let proposals = lead(&engine, 5 << 16);
    let before = shown(&engine);
    let third = engine.apply_event(event(3));
    drop(third);
    let late = lost[0].clone().placed(replication.tip().index + 1, 5 << 16);
    append(&engine, vec![late]).unwrap();
    let own = std::mem::take(&mut *proposals.0.lock());
    let index = replication.tip().index + 1;
    append(&engine, own.into_iter().map(|frame| frame.placed(index, 5 << 16)).collect::<Vec<_>>())
        .unwrap();
    assert!(replication.frame_at(index).unwrap().unwrap().is_void());
    replication.commit(index).unwrap();
    assert!(matches!(replication.standing(), Standing::Following { .. }));
    assert_eq!(first.wait().unwrap_err().reason(), Some("outcome_unknown"));
    assert_ne!(shown(&engine), before, "the late frame fits: it was evaluated on this very log");
    let again = behind(&engine, GetInstanceRequest { instance_id: "a".into() }).wait().unwrap();
    assert_eq!(again.ctx.to_value()["n"], 2);
}

#[test]
fn the_newest_frames_are_handed_on_from_memory_as_they_are_in_the_files() {
    let (disk, engine) = converted(3);
    let (replication, term) = (engine.replication(), 5 << 16);
    let first = replication.tip().index + 1;
    let proposals = lead(&engine, term);
    let mut late = None;
    for number in 1..=6 {
        poll(&mut engine.apply_event(event(number)));
        late = late.or_else(|| proposals.0.lock().first().cloned());
        replication.commit(take(&engine, &proposals, term)).unwrap();
    }
    // One that does not fit, one that is cut off, and one in its place.
    let next = replication.tip().index + 1;
    append(&engine, vec![late.unwrap().placed(next, term)]).unwrap();
    append(&engine, vec![LogFrame::members(next + 1, term, "one")]).unwrap();
    replication.truncate_after(next).unwrap();
    append(&engine, vec![LogFrame::blank(next + 1, term + 1), LogFrame::blank(next + 2, term + 1)])
        .unwrap();
    let handed_on = |engine: &Engine| -> Vec<_> {
        let (replication, last) = (engine.replication(), next + 2);
        let ends = [usize::MAX, 1, 0].map(|bytes| (last, bytes));
        let ends = ends.into_iter().chain([(first, usize::MAX), (last + 9, usize::MAX)]);
        let frames = |(to, bytes)| {
            (next..=last + 1).map(move |from| replication.frames(from, to, bytes).unwrap())
        };
        ends.flat_map(frames).collect()
    };
    let reads = || behind(&engine, WalStatsRequest {}).wait().unwrap().io_stats.reads;
    let before = reads();
    let from_memory = handed_on(&engine);
    assert_eq!(reads(), before, "all of it is there");
    assert!(from_memory[0][0].is_void() && from_memory[0].len() == 3, "{from_memory:?}");
    let all = replication.frames(first, u64::MAX, usize::MAX).unwrap();
    let disk = disk.crash(Crash::KEEP_NONE);
    drop(engine);
    let engine = member(&disk, 1, None).unwrap();
    assert_eq!(handed_on(&engine), from_memory);
    assert_eq!(engine.replication().frames(first, u64::MAX, usize::MAX).unwrap(), all);
}

#[test]
fn a_node_begins_with_nothing_or_with_a_checkpoint_and_comes_to_the_same() {
    for compacts in [false, true] {
        let (disk, source) = {
            let disk = FaultyStorage::new(1);
            let engine = open(&disk, EveryWrite).unwrap();
            begin(&engine);
            (disk, engine)
        };
        for number in 0..60 {
            apply(&source, number).unwrap();
            if compacts && number % 20 == 19 {
                source.compact(CompactRequest::default()).wait().unwrap();
            }
        }
        let replication = source.replication();
        assert_eq!(replication.standing(), Standing::Alone);
        let here = FaultyStorage::new(2);
        let database = Some(replication.database());
        let kind = NodeKind::Replica;
        let replica = if compacts {
            let offered = replication.checkpoint().unwrap().unwrap();
            let at = offered.at;
            let frames = replication.frames(at.index + 1, at.until, usize::MAX).unwrap();
            let read = |buffer: &mut [u8], position| offered.read_at(buffer, position);
            let frames = frames.iter().map(|frame| LogFrame::decode(&frame.encode()));
            Engine::install(location(&here), as_node(kind, 9, None), &at, read, frames).unwrap()
        } else {
            Engine::open(location(&here), as_node(kind, 9, database)).unwrap()
        };
        let follow = |replica: &Engine| {
            let tip = replica.replication().tip();
            for frame in replication.frames(tip.index + 1, u64::MAX, 300).unwrap() {
                append(replica, vec![frame]).unwrap();
            }
            replica.replication().commit(replication.tip().committed).unwrap();
            replica.replication().tip().index < replication.tip().index
        };
        while follow(&replica) {}
        assert_eq!(shown(&replica), shown(&source));
        assert_eq!(replica.replication().tip().chain, replication.tip().chain);
        let history = HistoryRequest::new("a");
        let histories = [&replica, &source].map(|engine| behind(engine, history.clone()).wait());
        if !compacts {
            assert_eq!(histories[0].as_ref().unwrap(), histories[1].as_ref().unwrap());
        }
        apply(&source, 1000).unwrap();
        while follow(&replica) {}
        let refused = apply(&replica, 1001).unwrap_err();
        assert_eq!((refused.reason(), refused.retryable()), (Some("replica"), false));
        replica.compact(CompactRequest::default()).wait().unwrap();
        replica.close().unwrap();
        let here = here.crash(Crash::KEEP_NONE);
        let replica = Engine::open(location(&here), as_node(kind, 9, None)).unwrap();
        assert_eq!(shown(&replica), shown(&source));
        assert!(
            verify(&{
                drop(replica);
                location(&here)
            })
            .unwrap()
            .ok
        );
        drop(source);
        assert!(verify(&location(&disk)).unwrap().ok);
    }
}

#[test]
fn the_directory_of_a_node_is_written_by_the_node_alone() {
    let (disk, engine) = converted(2);
    let before = shown(&engine);
    engine.close().unwrap();
    drop(engine);
    for found in [
        open(&disk, EveryWrite).map(drop).unwrap_err(),
        repair(&location(&disk), 3, true).map(drop).unwrap_err(),
    ] {
        assert_eq!(found.reason(), Some("not_leader"), "{found:?}");
        assert!(found.message().contains("node 1"), "{found}");
    }
    let looking = Options { purpose: Purpose::Read, ..options(EveryWrite) };
    let engine = Engine::open(location(&disk), looking).unwrap();
    assert_eq!(shown(&engine), before);
    assert_eq!(apply(&engine, 9).unwrap_err().reason(), Some("not_leader"));
    engine.close().unwrap();
    drop(engine);
    assert!(verify(&location(&disk)).unwrap().ok);
    let wrong = |options: Options, at: Location| {
        let error = Engine::open(at, options).map(drop).unwrap_err();
        error.context().get("option").and_then(|option| option.as_str()).map(str::to_owned)
    };
    let fresh = || location(&FaultyStorage::new(1));
    let node = |id| as_node(NodeKind::Member, id, None);
    assert_eq!(wrong(node(2), location(&disk)).as_deref(), Some("node"));
    assert_eq!(wrong(node(0), fresh()).as_deref(), Some("node"));
    assert_eq!(wrong(node(1), Location::memory()).as_deref(), Some("node"));
    let lazy = Options { fsync: Never, ..node(1) };
    assert_eq!(wrong(lazy, fresh()).as_deref(), Some("fsync"));
    assert_eq!(shown(&member(&disk, 1, None).unwrap()), before);
}

#[test]
fn an_installation_is_whole_or_not_there_whatever_the_moment_of_a_crash() {
    let (_disk, source) = {
        let disk = FaultyStorage::new(1);
        let engine = open(&disk, EveryWrite).unwrap();
        begin(&engine);
        (disk, engine)
    };
    for number in 0..40 {
        apply(&source, number).unwrap();
    }
    source.compact(CompactRequest::default()).wait().unwrap();
    apply(&source, 41).unwrap();
    let replication = source.replication();
    let offered = replication.checkpoint().unwrap().unwrap();
    let truth = shown(&source);
    // A node that is behind, with a log of its own.
    let here = FaultyStorage::new(3);
    let options = || as_node(NodeKind::Member, 2, Some(replication.database()));
    let node = Engine::open(location(&here), options()).unwrap();
    append(&node, replication.frames(1, 6, usize::MAX).unwrap()).unwrap();
    node.replication().commit(6).unwrap();
    node.replication().save_vote(b"mine").unwrap();
    let before = shown(&node);
    node.close().unwrap();
    drop(node);
    let image = here.kill().image();
    let older = rstmdb_engine::replication::Installed { until: 5, ..offered.at };
    let nothing = |_: &mut [u8], _| Ok(0);
    let refused =
        Engine::install(location(&image.restart()), options(), &older, nothing, [].into_iter());
    let refused = refused.unwrap_err();
    assert_eq!(refused.reason(), Some("log_mismatch"), "the node has more: {refused}");
    for call in 1.. {
        let disk = image.restart();
        disk.crash_in_call(call);
        let at = offered.at;
        let frames = replication.frames(at.index + 1, at.until, usize::MAX).unwrap();
        let read = |buffer: &mut [u8], position| offered.read_at(buffer, position);
        let installed =
            Engine::install(location(&disk), options(), &at, read, frames.into_iter().map(Ok));
        let is_done = installed.is_ok();
        let image = disk.image();
        disk.power_off();
        drop(installed);
        for how in Crash::variants(call, 4) {
            let node = Engine::open(location(&image.crash(how)), options()).unwrap();
            assert_eq!(node.replication().read_vote().as_deref(), Some(&b"mine"[..]));
            node.replication().commit(u64::MAX).unwrap();
            let found = shown(&node);
            assert!(found == truth || (found == before && !is_done), "call {call}, {how:?}");
        }
        if is_done {
            assert!(call > 5);
            break;
        }
    }
}

#[test]
fn what_can_not_be_synced_is_not_acknowledged_and_the_node_stops() {
    let (disk, engine) = converted(1);
    let index = engine.replication().tip().index;
    disk.inject(Fault::new(Call::Sync, Effect::DropPending).nth(1));
    assert!(append(&engine, vec![LogFrame::blank(index + 1, 5 << 16)]).is_err());
    assert!(append(&engine, vec![LogFrame::blank(index + 2, 5 << 16)]).is_err(), "never again");
}

#[test]
fn a_log_that_differs_is_cut_and_goes_on_whatever_the_moment_of_a_crash() {
    pair::a_log_that_differs_is_cut_and_goes_on_whatever_the_moment_of_a_crash();
}

#[test]
fn what_a_leader_shows_waits_for_a_round() {
    pair::what_a_leader_shows_waits_for_a_round();
}

#[test]
fn who_does_not_lead_shows_what_may_be_behind_and_nothing_else() {
    pair::who_does_not_lead_shows_what_may_be_behind_and_nothing_else();
}

#[test]
fn who_waits_for_frames_is_told_in_their_order_when_they_are_on_the_disk() {
    pair::who_waits_for_frames_is_told_in_their_order_when_they_are_on_the_disk();
}

#[test]
fn a_checkpoint_names_the_place_that_its_data_is_of() {
    pair::a_checkpoint_names_the_place_that_its_data_is_of();
}

#[test]
fn who_belongs_to_the_group_is_known_from_the_log_and_from_checkpoints() {
    let (disk, engine) = converted(3);
    let replication = engine.replication();
    assert_eq!(replication.members(), None);
    let term = 5 << 16;
    let index = replication.tip().index + 1;
    append(&engine, vec![LogFrame::members(index, term, "one and two")]).unwrap();
    assert_eq!(replication.members(), None, "it is not committed");
    replication.commit(index).unwrap();
    let said = replication.members().unwrap();
    assert_eq!((said.index, said.term, &*said.words), (index, term, "one and two"));
    // It is no change: who leads goes on.
    let proposals = lead(&engine, term);
    let next = replication.tip().index + 1;
    append(&engine, vec![LogFrame::members(next, term, "two and three")]).unwrap();
    replication.commit(next).unwrap();
    assert!(matches!(replication.standing(), Standing::Leading { .. }));
    let too_much = "x".repeat((64 << 10) + 1);
    let refused = append(&engine, vec![LogFrame::members(next + 1, term, &too_much)]);
    assert_eq!(refused.unwrap_err().reason(), Some("log_mismatch"));
    let _ = engine.begin(CompactRequest::default()).wait();
    let index = take(&engine, &proposals, term);
    replication.commit(index).unwrap();
    // A leader would log another boundary.
    replication.follow("a test", None);
    let written = engine.compact(CompactRequest::default()).wait().unwrap();
    assert!(written.snapshots_created > 0, "{written:?}");
    let offered = replication.checkpoint().unwrap().unwrap();
    let frames = replication.frames(offered.at.index + 1, offered.at.until, usize::MAX).unwrap();
    assert!(frames.iter().all(|frame| frame.said_members().is_none()), "the checkpoint has it");
    let here = FaultyStorage::new(2);
    let options = as_node(NodeKind::Member, 2, Some(replication.database()));
    let read = |buffer: &mut [u8], position| offered.read_at(buffer, position);
    let frames = frames.into_iter().map(Ok);
    let other = Engine::install(location(&here), options, &offered.at, read, frames).unwrap();
    let expected = replication.members();
    assert_eq!(expected.as_ref().unwrap().words, "two and three");
    assert_eq!(other.replication().members(), expected);
    // All that it says it has can be read, and what is before is named as such.
    let first = offered.at.next;
    other.replication().commit(u64::MAX).unwrap();
    for from in [offered.at.boundary + 1, first] {
        let request = WatchAllRequest { from_offset: Some(from), ..Default::default() };
        let begun = other.watch_all(request).map(|(_, mut watch)| {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            loop {
                match watch.poll_next(&mut context) {
                    std::task::Poll::Pending if watch.needs_files() => watch.load(),
                    polled => break polled,
                }
            }
        });
        match begun {
            Ok(polled) => {
                assert!(!matches!(polled, std::task::Poll::Ready(Some(Err(_)))), "{polled:?}")
            }
            Err(error) => {
                assert!(from < first && error.reason() == Some("offset_compacted"), "{error}");
            }
        }
    }
    assert!(other.damage().is_none(), "{:?}", other.damage());
    engine.close().unwrap();
    drop(engine);
    assert!(verify(&location(&disk)).unwrap().ok);
    assert_eq!(member(&disk, 1, None).unwrap().replication().members(), expected);
}

#[test]
fn readers_that_read_ahead_do_not_see_what_was_cut() {
    pair::readers_that_read_ahead_do_not_see_what_was_cut();
}

#[test]
fn a_vote_survives_whatever_the_moment_of_a_crash() {
    pair::a_vote_survives_whatever_the_moment_of_a_crash();
}

#[test]
fn a_batch_is_whole_for_readers_of_a_node_that_follows() {
    pair::a_batch_is_whole_for_readers_of_a_node_that_follows();
}

#[test]
fn a_copy_that_is_promoted_begins_a_history_and_the_old_one_follows_it() {
    let old = FaultyStorage::new(1);
    let source = open(&old, EveryWrite).unwrap();
    begin(&source);
    apply(&source, 0).unwrap();
    let database = Some(source.replication().database());
    let copy =
        Engine::open(location(&FaultyStorage::new(2)), as_node(NodeKind::Replica, 2, database));
    let copy = copy.unwrap();
    let frames =
        |engine: &Engine, from| engine.replication().frames(from, u64::MAX, usize::MAX).unwrap();
    append(&copy, frames(&source, 1)).unwrap();
    copy.replication().commit(u64::MAX).unwrap();
    // One more that the copy did not get.
    apply(&source, 1).unwrap();
    let history = |engine: &Engine| engine.position().history_id.unwrap();
    let before = history(&source);
    assert_eq!(history(&copy), before);
    source.close().unwrap();
    drop(source);
    let replication = copy.replication();
    let term = ((replication.tip().term >> 16) + 1) << 16 | 2;
    assert_eq!(replication.save_epoch(term).unwrap(), term);
    append(&copy, vec![replication.epoch_frame(term)]).unwrap();
    replication.commit(replication.tip().index).unwrap();
    let proposals = lead(&copy, term);
    let promoted = copy.apply_event(event(2));
    let index = {
        assert!(!promoted.is_ready());
        let mut promoted = promoted;
        poll(&mut promoted);
        take(&copy, &proposals, term)
    };
    replication.commit(index).unwrap();
    assert_ne!(history(&copy), before, "the same offset is another change here");
    // The old one sees where the logs part: below what it has, so it can't go on as it is.
    let node = Engine::open(location(&old), as_node(NodeKind::Replica, 1, None)).unwrap();
    let tip = node.replication().tip();
    let same = |index: &u64| {
        let here = node.replication().frame_at(*index).unwrap();
        here.is_some() && here == copy.replication().frame_at(*index).unwrap()
    };
    let last = (1..=tip.index).rev().find(same).unwrap();
    assert_eq!(last + 1, tip.index, "one frame more");
    let refused = append(&node, frames(&copy, last + 1)).unwrap_err();
    assert_eq!(refused.reason(), Some("log_mismatch"));
    let refused = node.replication().truncate_after(last).unwrap_err();
    let committed = &refused.context()["committed"];
    assert_eq!((refused.reason(), committed), (Some("log_mismatch"), &tip.index.into()));
    // What it had alone is set aside, in files.
    let offset = node.replication().frame_at(last).unwrap().unwrap();
    let offset = offset.first() + u64::from(offset.count()) - 1;
    drop(node);
    let aside = set_aside(&location(&old), offset).unwrap();
    assert_eq!((aside.changes_dropped, aside.done), (1, true));
    let node = Engine::open(location(&old), as_node(NodeKind::Replica, 1, None)).unwrap();
    assert_eq!(node.replication().tip().index, last);
    append(&node, frames(&copy, last + 1)).unwrap();
    node.replication().commit(u64::MAX).unwrap();
    assert_eq!(shown(&node), shown(&copy));
    assert_eq!(history(&node), history(&copy));
}

/// Agrees with itself on another thread, as a driver would.
#[derive(Default)]
struct Driver {
    proposed: Mutex<VecDeque<LogFrame>>,
    arrived: Condvar,
    is_over: AtomicBool,
}

impl Proposer for Driver {
    fn propose(&self, frame: LogFrame) {
        self.proposed.lock().push_back(frame);
        self.arrived.notify_one();
    }
}

impl Driver {
    /// Appends what is proposed, and commits what is synced.
    fn drive(&self, engine: &Engine, term: u64) {
        let synced = Arc::new(AtomicU64::new(0));
        while !self.is_over.load(Ordering::SeqCst) {
            let mut proposed = self.proposed.lock();
            if proposed.is_empty() {
                self.arrived.wait_for(&mut proposed, Duration::from_millis(1));
            }
            let frames: Vec<_> = proposed.drain(..).collect();
            drop(proposed);
            let replication = engine.replication();
            let next = replication.tip().index + 1;
            let frames: Vec<_> =
                (next..).zip(frames).map(|(index, frame)| frame.placed(index, term)).collect();
            if let Some(last) = frames.last().map(LogFrame::index) {
                let done = synced.clone();
                replication.append(frames, move |result| {
                    result.unwrap();
                    done.fetch_max(last, Ordering::SeqCst);
                });
            }
            replication.commit(synced.load(Ordering::SeqCst)).unwrap();
        }
    }
}

/// A leader with threads of its own, in term 5; who drives is not begun.
fn leader_with_threads() -> (FaultyStorage, Engine, Arc<Driver>) {
    let (disk, engine) = converted(1);
    engine.close().unwrap();
    drop(engine);
    let options = Options { background: Background::Threads, ..as_node(NodeKind::Member, 1, None) };
    let engine = Engine::open(location(&disk), options).unwrap();
    let (sent, told) = std::sync::mpsc::channel();
    let replication = engine.replication();
    let blank = LogFrame::blank(replication.tip().index + 1, 5 << 16);
    replication.append([blank], move |result| sent.send(result).unwrap());
    told.recv().unwrap().unwrap();
    replication.commit(replication.tip().index).unwrap();
    let driver = Arc::<Driver>::default();
    replication.lead(5 << 16, 1, driver.clone()).unwrap();
    (disk, engine, driver)
}

#[test]
fn a_checkpoint_is_handed_over_while_a_compaction_waits_for_the_group() {
    let (_disk, engine, driver) = leader_with_threads();
    let compact = |engine: &Engine| {
        let compacted = engine.compact(CompactRequest::default()).wait().unwrap();
        assert_eq!(compacted.snapshots_created, 1);
    };
    std::thread::scope(|scope| {
        let compacting = scope.spawn(|| compact(&engine));
        let mut proposed = driver.proposed.lock();
        while proposed.is_empty() {
            driver.arrived.wait(&mut proposed);
        }
        drop(proposed);
        // Whoever decides asks for it before it goes on to decide.
        let before = engine.replication().checkpoint().unwrap();
        scope.spawn(|| driver.drive(&engine, 5 << 16));
        compacting.join().unwrap();
        let after = engine.replication().checkpoint().unwrap().unwrap();
        assert!(before.is_none_or(|before| before.at.offset < after.at.offset));
        driver.is_over.store(true, Ordering::SeqCst);
    });
    engine.close().unwrap();
}

#[test]
fn a_leader_with_threads_answers_all_who_wait() {
    let (_disk, engine, driver) = leader_with_threads();
    let answered = std::thread::scope(|scope| {
        scope.spawn(|| driver.drive(&engine, 5 << 16));
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let engine = &engine;
                scope.spawn(move || {
                    let mut answered = 0;
                    loop {
                        match engine.run(event(writer * 1000 + answered)) {
                            Ok(_) => answered += 1,
                            Err(error) => return (answered, error),
                        }
                    }
                })
            })
            .collect();
        // A checkpoint, while they write, waits for its mark to be committed.
        let compacted = engine.compact(CompactRequest::default()).wait().unwrap();
        assert_eq!(compacted.snapshots_created, 1);
        let hint = LeaderHint { node: 2, address: "there".to_owned() };
        engine.replication().follow("a test", Some(hint));
        driver.is_over.store(true, Ordering::SeqCst);
        let ended: Vec<_> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        for (_, error) in &ended {
            assert!(matches!(error.reason(), Some("not_leader" | "outcome_unknown")), "{error:?}");
        }
        ended.iter().map(|(answered, _)| answered).sum::<u64>()
    });
    let last = behind(&engine, GetInstanceRequest { instance_id: "a".into() }).wait().unwrap();
    assert!(answered == 0 || last.ctx.to_value()["n"].is_u64());
    let all = WalReadRequest { limit: Some(10_000), ..WalReadRequest::new(1) };
    let events = behind(&engine, all);
    // The machine, the instance and one event were there before; an open one may be committed.
    let events = events.wait().unwrap().records.len() as u64 - 3;
    assert!((answered..=answered + 4).contains(&events), "{answered} answered, {events} there");
    engine.close().unwrap();
}
