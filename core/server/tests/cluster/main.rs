//! Groups of servers: processes on sockets that elect, replicate, are killed and come back.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod group;
mod language;
mod levels;
mod operations;
mod refusals;
mod relay;
mod rolling;

use group::{Group, Member, event, number};
use rstmdb_testkit::wire::Wire;

/// Sets up what events are applied to.
fn prepare(group: &Group) -> rstmdb::blocking::Database {
    let database = group.open("");
    group::begin(&database);
    database
}

#[test]
fn nothing_acknowledged_is_lost_when_the_leader_is_killed() {
    let mut group = Group::of(3, |launch| launch);
    group.await_voters(3);
    for member in &group.members {
        rstmdb_testkit::wire::await_condition("all are ready", || member.obstacle().is_none());
    }
    let database = prepare(&group);
    for number in 1..=30 {
        event(&database, number);
    }
    let first = group.leader();
    group.kill(first);
    for number in 31..=60 {
        event(&database, number);
    }
    assert_eq!(number(&database), 60);
    let second = group.leader();
    assert_ne!(second, first);
    // The repetition of what was done before the kill is known after it.
    event(&database, 30);
    assert_eq!(number(&database), 60);
    // It comes back, elsewhere for clients, and has all of it.
    group.start(first);
    group.await_voters(3);
    // All are gone at once, and what was acknowledged is on their disks.
    for place in 0..3 {
        group.kill(place);
    }
    for place in 0..3 {
        group.start(place);
    }
    group.leader();
    let database = group.open("");
    assert_eq!(number(&database), 60);
    event(&database, 61);
    group.await_same(61);
}

#[test]
fn who_does_not_lead_refuses_reads_that_must_be_fresh() {
    let group = Group::of(3, |launch| launch);
    group.await_voters(3);
    let database = prepare(&group);
    event(&database, 1);
    group.await_same(1);
    let leader = group.leader();
    let address = group.members[leader].process().address().to_string();
    for (place, member) in group.members.iter().enumerate() {
        let mut wire = Wire::hello(member.process().address(), &["extended"]);
        let read = wire.call("GET_INSTANCE", serde_json::json!({"instance_id": "a"}));
        assert_eq!(read.is_ok(), place == leader, "{read:?}");
        if let Err(error) = read {
            assert_eq!(error["code"], "READ_ONLY_MODE", "{error}");
            assert!(error["message"].as_str().unwrap().contains(&address), "{error}");
        }
    }
}

#[test]
fn a_leader_that_stops_hands_over_and_writes_go_on() {
    let mut group = Group::of(3, |launch| launch);
    group.await_voters(3);
    let database = prepare(&group);
    event(&database, 1);
    let first = group.leader();
    let log = group.stop(first);
    assert!(log.iter().any(|line| line.contains("another node leads")), "{log:#?}");
    event(&database, 2);
    assert_eq!(number(&database), 2);
    group.start(first);
    group.await_voters(3);
    group.await_same(2);
}

#[test]
fn as_many_as_are_expected_begin_by_themselves() {
    let group = Group::expecting(3);
    group.await_voters(3);
    let database = prepare(&group);
    event(&database, 1);
    group.await_same(1);
}

#[test]
fn a_database_that_was_alone_becomes_the_first_node_and_learners_are_read_from() {
    let folder = tempfile::tempdir().unwrap();
    let alone = Member::alone(folder.path());
    let database =
        rstmdb::blocking::Database::open(&format!("rstmdb://{}", alone.address())).unwrap();
    group::begin(&database);
    event(&database, 1);
    let id = database.run(rstmdb_types::InfoRequest {}).unwrap();
    drop(database);
    alone.stop();
    let mut group = Group::with(folder, 1, |launch| launch);
    assert_eq!(group.leader(), 0);
    let database = group.open("");
    assert_eq!(number(&database), 1);
    assert_eq!(database.run(rstmdb_types::InfoRequest {}).unwrap().instances, id.instances);
    group.add(|launch| launch.set("cluster.role", "learner").set("cluster.zone", "b"));
    event(&database, 2);
    group.await_same(2);
    let nodes = group.nodes();
    let learner = nodes.iter().find(|node| node["role"] == "learner").unwrap();
    assert_eq!(learner["zone"], "b");
    // It has no vote, so that the first goes on alone.
    group.kill(1);
    event(&database, 3);
}

#[test]
fn a_member_tells_when_nobody_leads_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let told = |place: usize| folder.path().join(place.to_string());
    let mut group = Group::of(0, |launch| launch);
    for place in 0..3 {
        let line = "echo \"$RSTMDB_EVENT $RSTMDB_NEW_ROLE $RSTMDB_NODE\"";
        let hook = format!("{line} >> {}", told(place).display());
        let member = group.next().set("hooks.on_quorum_lost", &hook);
        let member = member.set("hooks.on_role_change", hook);
        group.add_member(if place == 0 { member.set("cluster.bootstrap", true) } else { member });
    }
    group.await_voters(3);
    let leader = group.leader();
    let [gone, last] = [1, 2].map(|further| (leader + further) % 3);
    let said = |place| std::fs::read_to_string(told(place)).unwrap_or_default();
    let number = group.members[last].number();
    assert!(said(leader).contains("role_change leader "), "{}", said(leader));
    assert!(!said(last).contains("quorum_lost"), "at a start nobody leads yet");
    group.kill(gone);
    group.kill(leader);
    rstmdb_testkit::wire::await_condition("the last one tells", || {
        said(last).contains(&format!("quorum_lost follower {number}\n"))
    });
    group.start(gone);
    group.await_voters(3);
}
