//! What members tell of their group, and the orders they take, at any of them.

use rstmdb::blocking::Database;
use rstmdb_protocol::frame::WireMode;
use rstmdb_protocol::{ReadMode, ReadWish, message};
use rstmdb_testkit::wire::{Wire, await_condition};
use rstmdb_types::{
    ClusterAddRequest, ClusterDrainRequest, ClusterInitRequest, ClusterMember,
    ClusterPromoteRequest, ClusterRemoveRequest, ClusterStatusRequest, ClusterStatusResult,
    ClusterTransferRequest, ClusterUpgradeRequest, ClusterVerifyRequest, Error, ErrorCode,
    ErrorKind, OperationRequest, ReplicaPromoteRequest, Result,
};
use serde_json::{Value, json};

use super::group::{Group, Member, begin, event, number};

/// A client that knows one member alone.
fn at(member: &Member) -> Database {
    Database::open(&format!("rstmdb://{}?request_timeout=60s", member.process().address())).unwrap()
}

/// Asks until it is not refused for what passes.
fn done<R: OperationRequest + Clone>(database: &Database, request: R) -> R::Result {
    let mut result = None;
    await_condition("the order is carried out", || match database.run(request.clone()) {
        Ok(outcome) => {
            result = Some(outcome);
            true
        }
        Err(error) => {
            assert_ne!(error.kind(), ErrorKind::Invalid, "{error}");
            false
        }
    });
    result.unwrap()
}

fn status(member: &Member) -> ClusterStatusResult {
    at(member).run(ClusterStatusRequest {}).unwrap()
}

fn await_status(member: &Member, what: &str, holds: impl Fn(&ClusterStatusResult) -> bool) {
    await_condition(what, || holds(&status(member)));
}

fn refusal<T: std::fmt::Debug>(result: Result<T>, code: ErrorCode, part: &str) -> Error {
    let error = result.unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    assert!(error.message().contains(part), "{error}");
    error
}

/// Who the member is.
fn id(member: &Member) -> u64 {
    status(member).node.unwrap()
}

fn entry(status: &ClusterStatusResult, node: u64) -> &ClusterMember {
    status.members.iter().find(|of| of.node == node).unwrap()
}

#[test]
fn any_member_tells_of_all_and_takes_orders_for_who_leads() {
    let mut group = Group::of(3, |launch| launch.set("cluster.zone", "attic"));
    group.await_voters(3);
    let database = group.open("");
    begin(&database);
    event(&database, 1);
    group.await_same(1);
    let leader = group.leader();
    let follower = (leader + 1) % 3;

    // All hold the same, and say so at one place.
    let verified = done(&at(&group.members[follower]), ClusterVerifyRequest {});
    assert!(verified.ok && verified.members.len() == 3, "{verified:?}");
    assert!(verified.members.iter().all(|of| of.agrees && of.digest == verified.digest));
    let all_same = |told: &ClusterStatusResult| {
        let digest = |of: &ClusterMember| (of.digest.clone(), of.digest_offset);
        let first = digest(&told.members[0]);
        first.1 >= Some(verified.offset) && told.members.iter().all(|of| digest(of) == first)
    };
    for member in &group.members {
        await_status(member, "all show the same digest", |told| told.has_quorum && all_same(told));
        let told = status(member);
        assert_eq!(told.leader, Some(id(&group.members[leader])));
        assert_eq!(told.cluster.as_deref(), Some("shop"));
        assert_eq!((told.level, told.members.len()), (Some(3), 3));
        assert!(told.members.iter().all(|of| of.answers && of.term == told.term), "{told:?}");
        assert!(told.members.iter().all(|of| of.lag_ms.is_some()), "{told:?}");
        let roles = told.members.iter().filter(|of| of.role == "follower").count();
        assert_eq!(roles, 2, "{told:?}");
        let zones = "zone attic holds 3 of 3 voters";
        assert!(told.problems.iter().any(|what| what.contains(zones)), "{told:?}");
    }

    // Orders come to who leads.
    let asked = at(&group.members[follower]);
    let next = id(&group.members[(leader + 2) % 3]);
    let moved = done(&asked, ClusterTransferRequest { to: Some(next) });
    assert_eq!(moved.leader, next);
    assert_eq!(group.leader(), (leader + 2) % 3);
    let away = done(&asked, ClusterTransferRequest { to: None });
    assert_ne!(away.leader, next);
    let raised = done(&asked, ClusterUpgradeRequest {});
    assert_eq!((raised.level, raised.possible, raised.is_raised), (3, 3, false));

    // What makes no sense is told.
    for node in [9, 70_000] {
        let unknown = format!("the group has no node {node}");
        let request = ClusterTransferRequest { to: Some(node) };
        refusal(asked.run(request), ErrorCode::NotFound, &unknown);
        let request = ClusterRemoveRequest { node, force: true };
        refusal(asked.run(request), ErrorCode::NotFound, &unknown);
        let request = ClusterPromoteRequest { node, force: false };
        refusal(asked.run(request), ErrorCode::NotFound, &unknown);
        let request = ClusterDrainRequest { node, undo: false };
        refusal(asked.run(request), ErrorCode::NotFound, &unknown);
    }
    let odd = asked.run(ClusterRemoveRequest { node: next, force: false });
    refusal(odd, ErrorCode::BadRequest, "2 voters stand no more failures than 1");
    let replica = asked.run(ReplicaPromoteRequest::default());
    refusal(replica, ErrorCode::BadRequest, "a member of a group");
    let again = asked.run(ClusterInitRequest {});
    refusal(again, ErrorCode::Conflict, "of its group already");

    // Who is gone is told as gone, and the others still agree.
    let gone = (group.leader() + 1) % 3;
    let number = id(&group.members[gone]);
    group.kill(gone);
    let leader = group.leader();
    await_status(&group.members[leader], "one does not answer", |told| {
        !entry(told, number).answers
    });
    let told = status(&group.members[leader]);
    assert!(told.has_quorum && entry(&told, number).committed.is_none(), "{told:?}");
    let silent = format!("node {number} does not answer at ");
    assert!(told.problems.iter().any(|what| what.starts_with(&silent)), "{told:?}");
    let verified = done(&at(&group.members[leader]), ClusterVerifyRequest {});
    let (missing, there): (Vec<_>, Vec<_>) =
        verified.members.iter().partition(|of| of.node == number);
    assert!(!verified.ok && there.iter().all(|of| of.agrees), "{verified:?}");
    assert!(missing[0].problem.as_ref().unwrap().contains("does not answer"), "{verified:?}");
}

#[test]
fn who_is_drained_gives_leadership_away_and_stays_so_over_a_restart() {
    let mut group = Group::of(3, |launch| launch);
    group.await_voters(3);
    let database = group.open("");
    begin(&database);
    let first = group.leader();
    let drained = id(&group.members[first]);
    let result = done(&database, ClusterDrainRequest { node: drained, undo: false });
    assert!(result.is_drained, "{result:?}");
    await_condition("another one leads", || group.leader() != first);
    await_condition("it says that it is not ready", || {
        group.members[first].obstacle().is_some_and(|said| said.contains("\"drained\""))
    });
    let told = status(&group.members[first]);
    assert!(entry(&told, drained).is_drained && told.has_quorum, "{told:?}");
    let way_out = format!("cluster drain {drained} --undo");
    let request = ClusterTransferRequest { to: Some(drained) };
    refusal(database.run(request), ErrorCode::Conflict, &way_out);
    event(&database, 1);
    group.await_same(1);

    group.stop(first);
    group.start(first);
    await_condition("it still is", || {
        group.members[first].obstacle().is_some_and(|said| said.contains("\"drained\""))
    });
    // Whoever leads hands over to the one that may lead.
    let leader = group.leader();
    let second = id(&group.members[leader]);
    let result = done(&database, ClusterDrainRequest { node: second, undo: false });
    assert!(result.is_drained);
    let third = (0..3).find(|place| *place != first && *place != leader).unwrap();
    await_condition("the last leads", || group.leader() == third);
    let last = id(&group.members[third]);
    let request = ClusterDrainRequest { node: last, undo: false };
    refusal(database.run(request), ErrorCode::Conflict, "nobody could lead");

    for node in [drained, second] {
        let result = done(&database, ClusterDrainRequest { node, undo: true });
        assert!(!result.is_drained);
    }
    await_condition("it is ready", || group.members[first].obstacle().is_none());
    let result = done(&database, ClusterTransferRequest { to: Some(drained) });
    assert_eq!(result.leader, drained);
}

#[test]
fn what_a_drained_node_alone_has_is_not_lost() {
    let mut group = Group::of(3, |launch| launch);
    group.await_voters(3);
    let database = group.open("");
    begin(&database);
    let drained = group.leader();
    let node = id(&group.members[drained]);
    done(&database, ClusterDrainRequest { node, undo: false });
    await_condition("another one leads", || group.leader() != drained);
    let leader = group.leader();
    let behind = (0..3).find(|place| *place != leader && *place != drained).unwrap();
    group.kill(behind);
    event(&database, 1);
    group.kill(leader);
    group.start(behind);
    // Nobody but the drained node can be elected. It leads until the other one has what it has.
    await_condition("the other one leads", || group.leader() == behind);
    group.await_same(1);
    event(&group.open(""), 2);
}

#[test]
fn a_group_is_begun_and_grows_by_orders_alone() {
    let mut group = Group::of(0, |launch| launch);
    let waiting = |group: &mut Group, role: &str| {
        let place = group.members.len();
        let member = Member::new(group.folder(), place).set("cluster.role", role);
        // It knows nobody but itself.
        let seed = member.peers.clone();
        let member = member.set("cluster.seeds", seed);
        group.add_member(member);
        await_condition("it waits", || {
            group.members[place].obstacle().is_some_and(|said| said.contains("joining"))
        });
        place
    };
    let place = waiting(&mut group, "voter");
    let database = at(&group.members[place]);
    await_status(&group.members[place], "the way out is told", |told| {
        told.problems.iter().any(|what| what.contains("rstmdb-cli cluster init"))
    });
    let told = status(&group.members[place]);
    assert_eq!((&*told.role, told.has_quorum, told.node), ("joining", false, None), "{told:?}");
    let early = database.run(ClusterVerifyRequest {});
    refusal(early, ErrorCode::Conflict, "this server belongs to no group yet");

    let begun = database.run(ClusterInitRequest {}).unwrap();
    assert_eq!((&*begun.cluster, begun.node), ("shop", 1));
    await_status(&group.members[0], "it leads", |told| told.has_quorum);
    refusal(
        database.run(ClusterInitRequest {}),
        ErrorCode::Conflict,
        "node 1 of its group already",
    );
    let last = database.run(ClusterRemoveRequest { node: 1, force: true });
    refusal(last, ErrorCode::Conflict, "the last that votes");
    let last = database.run(ClusterDrainRequest { node: 1, undo: false });
    refusal(last, ErrorCode::Conflict, "nobody could lead");
    begin(&database);

    // A learner.
    let place = waiting(&mut group, "learner");
    let peer_address = group.members[place].peers.clone();
    let added = done(&database, ClusterAddRequest { peer_address: peer_address.clone().into() });
    assert_eq!(added.node, 2);
    let again = done(&database, ClusterAddRequest { peer_address: peer_address.into() });
    assert_eq!(again, added, "it is a member already");
    let request = ClusterTransferRequest { to: Some(2) };
    refusal(database.run(request), ErrorCode::Conflict, "node 2 is a learner");
    await_status(&group.members[0], "it has all", |told| entry(told, 2).lag_entries == Some(0));
    let even = database.run(ClusterPromoteRequest { node: 2, force: false });
    refusal(even, ErrorCode::BadRequest, "2 voters stand no more failures than 1");
    let promoted = done(&database, ClusterPromoteRequest { node: 2, force: true });
    assert_eq!(promoted.voters, 2);
    await_status(&group.members[1], "that is told", |told| {
        told.problems.iter().any(|what| what.contains("2 voters stand no more failures than 1"))
    });

    // One that wants a vote gets it by itself.
    let place = waiting(&mut group, "voter");
    let peer_address = group.members[place].peers.clone();
    let added =
        done(&at(&group.members[1]), ClusterAddRequest { peer_address: peer_address.into() });
    assert_eq!(added.node, 3);
    group.await_voters(3);
    event(&database, 1);
    group.await_same(1);

    // Nobody is there.
    let request = ClusterAddRequest { peer_address: "127.0.0.1:1".into() };
    refusal(database.run(request), ErrorCode::ReplicationError, "can't be invited");
    let request = ClusterAddRequest { peer_address: "nowhere".into() };
    let error = refusal(database.run(request), ErrorCode::BadRequest, "peer_address: ");
    assert_eq!(error.context()["field"], "peer_address");
    // One of them goes, and what it had is not given to another one.
    let removed = done(&database, ClusterRemoveRequest { node: 3, force: true });
    assert_eq!((removed.node, removed.voters), (3, 2));
    await_status(&group.members[0], "it is gone", |told| told.members.len() == 2);
}

#[test]
fn a_server_that_is_alone_takes_no_orders_about_a_group() {
    let folder = tempfile::tempdir().unwrap();
    let alone = Member::alone(folder.path());
    let database = Database::open(&format!("rstmdb://{}", alone.address())).unwrap();
    let told = database.run(ClusterStatusRequest {}).unwrap();
    assert_eq!((&*told.role, told.has_quorum, told.cluster), ("standalone", true, None));
    let init = database.run(ClusterInitRequest {});
    refusal(init, ErrorCode::BadRequest, "start its server with cluster.enabled");
}

#[test]
fn without_a_quorum_the_status_is_told_and_orders_are_refused() {
    let mut group = Group::of(3, |launch| launch);
    group.await_voters(3);
    // One that leads stays, and then one that does not.
    for stays_leader in [true, false] {
        let leader = group.leader();
        let stays = if stays_leader { leader } else { (leader + 1) % 3 };
        let gone: Vec<usize> = (0..3).filter(|place| *place != stays).collect();
        gone.iter().for_each(|place| group.kill(*place));
        let member = &group.members[stays];
        await_status(member, "there is no quorum", |told| {
            let says = "no quorum: 1 of 3 voters answer, and 2 must";
            told.role != "joining"
                && !told.has_quorum
                && told.problems.first().is_some_and(|problem| problem.contains(says))
                && told.members.iter().filter(|of| of.answers).count() == 1
        });
        let database =
            Database::open(&format!("rstmdb://{}?request_timeout=2s", member.process().address()))
                .unwrap();
        let mut refused = None;
        await_condition("who led knows", || {
            let error = database.run(ClusterRemoveRequest { node: 9, force: true }).unwrap_err();
            let is_known = error.message().contains("rstmdb-cli cluster status");
            refused = Some(error);
            is_known
        });
        let error = refused.unwrap();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        await_condition("it is not ready", || {
            stays_leader || member.obstacle().is_some_and(|said| said.contains("no_leader"))
        });
        gone.into_iter().for_each(|place| group.start(place));
        group.leader();
    }
}

/// What comes of a read at a member that may be so much behind.
fn read(member: &Member, wish: &ReadWish) -> std::result::Result<Value, Value> {
    let mut wire = Wire::hello(member.process().address(), &["extended"]);
    let params = json!({"instance_id": "a"}).to_string();
    let mut asked = Vec::new();
    message::reading(&mut asked, WireMode::Frames, "r", "GET_INSTANCE", &params, wish);
    wire.send_bytes(&asked);
    let answer = wire.answer();
    match answer["error"].is_null() {
        true => Ok(answer["result"].clone()),
        false => Err(answer["error"].clone()),
    }
}

#[test]
fn members_know_how_old_their_state_is() {
    let mut group = Group::of(3, |launch| launch);
    group.await_voters(3);
    group.add(|launch| launch.set("cluster.role", "learner"));
    let database = group.open("");
    begin(&database);
    event(&database, 1);
    group.await_same(1);
    let within = |ms| ReadWish { mode: ReadMode::Bounded, min_offset: None, max_lag_ms: Some(ms) };
    let leader = group.leader();
    for member in &group.members {
        await_condition("it is fresh enough", || read(member, &within(10_000)).is_ok());
        let told = member.ask("REPLICATION_STATUS", json!({})).unwrap();
        let leads = told["role"] == "leader";
        assert_eq!(told["lag_ms"].is_u64(), !leads, "{told}");
        // Nobody but who leads is as fresh as that.
        let stale = read(member, &within(0));
        assert_eq!(stale.is_ok(), leads, "{stale:?}");
        if let Err(error) = stale {
            assert_eq!(error["code"], "REPLICATION_ERROR", "{error}");
            assert!(error["message"].as_str().unwrap().contains("more than 0 ms"), "{error}");
        }
    }
    // Who led still answers the learner, and can't know what others decide.
    let others: Vec<usize> = (0..3).filter(|place| *place != leader).collect();
    others.iter().for_each(|place| group.kill(*place));
    let learner = &group.members[3];
    await_condition("it grows old", || read(learner, &within(2_000)).is_err());
    let any = ReadWish { mode: ReadMode::Any, min_offset: None, max_lag_ms: None };
    assert!(read(learner, &any).is_ok(), "who wants any gets it");
    others.iter().for_each(|place| group.start(*place));
    await_condition("it is fresh again", || read(&group.members[3], &within(10_000)).is_ok());
    assert_eq!(number(&group.open("")), 1);
}
