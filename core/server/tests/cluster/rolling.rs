//! A group of another revision is replaced node by node, under load. `make soak-cluster` builds that revision's server.

use rstmdb_testkit::wire::await_condition;
use serde_json::json;

use super::group::{Group, begin, number};
use super::levels::WriteLoad;

/// Replaces the program of a member: it stops in order, or is killed.
fn replace(group: &mut Group, place: usize, program: &str, is_killed: bool) {
    if is_killed {
        group.kill(place);
    } else {
        group.stop(place);
    }
    let member = group.members.remove(place).program(program);
    group.members.insert(place, member);
    group.start(place);
    await_condition("it is back", || group.members[place].obstacle().is_none());
}

#[test]
fn a_group_of_another_revision_is_replaced_node_by_node_under_load() {
    let Ok(old) = std::env::var("RSTMDB_OLD_SERVER") else {
        eprintln!("skipped: RSTMDB_OLD_SERVER names no server; make soak-cluster builds one");
        return;
    };
    let new = env!("CARGO_BIN_EXE_rstmdb");
    let mut group = Group::of(3, |launch| launch.program(&old));
    group.await_voters(3);
    begin(&group.open(""));
    let load = WriteLoad::start(&group);
    load.goes_on();
    for place in 0..3 {
        replace(&mut group, place, new, place == 1);
        load.goes_on();
        // Either may lead.
        let leader = group.leader();
        let next = group.members[(leader + 1) % 3].number();
        // A release that does not know the order goes on to lead.
        let _ = group.members[leader].ask("CLUSTER_TRANSFER", json!({"to": next}));
        load.goes_on();
    }
    // Back, as long as nothing was raised; and on again.
    for program in [&old, new] {
        replace(&mut group, 0, program, false);
        load.goes_on();
    }
    let done = load.stop();
    assert!(number(&group.open("")) >= done);
    // A member tells what it knows a moment after its start.
    await_condition("the level is raised", || {
        group.members[group.leader()].ask("CLUSTER_UPGRADE", json!({})).is_ok()
    });
    group.await_same(number(&group.open("")));
}
