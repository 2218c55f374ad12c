//! Clients of the plain dialect, as release 0.3 speaks it: at any member they are served by the one that leads.

use std::net::SocketAddr;

use rstmdb_testkit::wire::{Wire, await_condition};
use serde_json::{Value, json};

use super::group::{Group, Member};

/// The hash of the token `abc`, and of another one.
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A member that does not lead, and not this one.
fn other_than(group: &Group, leader: usize) -> &Member {
    let other = group.members.iter().enumerate().find(|(place, _)| *place != leader);
    other.unwrap().1
}

fn address(member: &Member) -> SocketAddr {
    member.process().address()
}

/// Stores what events are applied to, all of it in one session.
fn begin(wire: &mut Wire) {
    let definition = json!({
        "states": ["s", "t"], "initial": "s",
        "transitions": [
            {"from": "s", "event": "E", "to": "t"}, {"from": "t", "event": "E", "to": "s"}
        ],
    });
    let machine = json!({"machine": "m", "version": 1, "definition": definition});
    wire.call("PUT_MACHINE", machine).unwrap();
    let instance = json!({"instance_id": "a", "machine": "m", "version": 1});
    wire.call("CREATE_INSTANCE", instance).unwrap();
}

fn event(wire: &mut Wire, number: u64) -> Result<Value, Value> {
    let payload = json!({"n": number});
    wire.call("APPLY_EVENT", json!({"instance_id": "a", "event": "E", "payload": payload}))
}

fn seen(wire: &mut Wire) -> Value {
    wire.call("GET_INSTANCE", json!({"instance_id": "a"})).unwrap()["ctx"]["n"].clone()
}

/// Connects until a member serves a plain client again.
fn served(address: SocketAddr) -> Wire {
    let mut found = None;
    await_condition("a plain client is served again", || {
        let mut wire = Wire::hello(address, &[]);
        let is_served = wire.call("GET_INSTANCE", json!({"instance_id": "a"})).is_ok();
        found = is_served.then_some(wire);
        found.is_some()
    });
    found.unwrap()
}

/// The members' lists of sessions, of the one at this place.
fn sessions(member: &Member) -> String {
    let socket = member.directory.with_extension("sock");
    let setting = format!("server.control_socket={}", socket.display());
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_rstmdb"))
        .args(["--set", &setting, "--sessions"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn plain_clients_are_served_at_every_member_in_frames_and_in_lines() {
    let mut group = Group::of(3, |launch| launch);
    group.await_voters(3);
    group.add(|launch| launch.set("cluster.role", "learner"));
    let leader = group.leader();
    begin(&mut Wire::hello(address(other_than(&group, leader)), &[]));
    let mut number = 0;
    for member in &group.members {
        let connections: [fn(SocketAddr) -> Wire; 3] =
            [|address| Wire::hello(address, &[]), Wire::lines, Wire::connect];
        for connect in connections {
            await_condition("the member is in service", || member.obstacle().is_none());
            let mut wire = connect(address(member));
            // About the node: answered where it is asked.
            wire.call("PING", json!({})).unwrap();
            number += 1;
            event(&mut wire, number).unwrap();
            assert_eq!(seen(&mut wire), number, "what was written is read at once");
            // An error is an answer, too.
            let missing = wire.call("GET_INSTANCE", json!({"instance_id": "b"})).unwrap_err();
            assert_eq!(missing["code"], "INSTANCE_NOT_FOUND");
            let unknown = wire.call("NOTHING", json!({})).unwrap_err();
            assert_eq!(unknown["code"], "BAD_REQUEST", "{unknown}");
            assert_eq!(wire.call("BYE", json!({})).unwrap()["goodbye"], true);
            assert!(wire.receive().is_none());
        }
    }
    // Requests that come before the answers, and those who end their side and wait.
    let mut wire = Wire::hello(address(other_than(&group, leader)), &[]);
    let ids: Vec<String> = (1..=200)
        .map(|n| {
            let payload = json!({"n": number + n});
            let event = json!({"instance_id": "a", "event": "E", "payload": payload});
            wire.ask("APPLY_EVENT", &event)
        })
        .collect();
    wire.socket().shutdown(std::net::Shutdown::Write).unwrap();
    for id in ids {
        let answer = wire.answer();
        assert_eq!((&answer["id"], &answer["status"]), (&json!(id), &json!("ok")), "{answer}");
    }
    assert!(wire.receive().is_none());
    // Others know who leads, and are told.
    let mut extended = Wire::hello(address(other_than(&group, leader)), &["extended"]);
    let refused = extended.call("GET_INSTANCE", json!({"instance_id": "a"})).unwrap_err();
    assert_eq!(refused["details"]["reason"], "not_leader", "{refused}");
    assert_eq!(
        refused["details"]["context"]["address"],
        address(&group.members[leader]).to_string()
    );
}

#[test]
fn a_session_that_was_passed_on_ends_when_another_node_leads() {
    let mut group = Group::of(3, |launch| launch);
    group.await_voters(3);
    let first = group.leader();
    let aside = address(other_than(&group, first));
    begin(&mut Wire::hello(aside, &[]));
    let mut watching = Wire::hello(aside, &[]);
    watching.call("WATCH_ALL", json!({})).unwrap();
    let mut passed = Wire::hello(aside, &[]);
    event(&mut passed, 1).unwrap();
    assert_eq!(watching.event()["event"], "E");
    let mut there = Wire::hello(address(&group.members[first]), &[]);
    assert_eq!(seen(&mut there), 1);
    // It asked nothing that only a leader knows, and stays.
    let mut idle = Wire::hello(aside, &[]);
    idle.call("PING", json!({})).unwrap();

    let next = (0..3).find(|place| *place != first).unwrap();
    let node = group.members[next].number();
    group.members[first].ask("CLUSTER_TRANSFER", json!({"to": node})).unwrap();
    for mut ended in [watching, passed, there] {
        assert!(ended.receive().is_none(), "it ends in good order");
    }
    // Whoever connects again is served, at the same address.
    assert_eq!(seen(&mut idle), 1);
    let mut again = served(address(&group.members[first]));
    event(&mut again, 2).unwrap();
    // The leader is gone without a word: what was passed on ends as well.
    let leader = group.leader();
    let place = (0..3).find(|place| *place != leader).unwrap();
    let mut passed = served(address(&group.members[place]));
    group.kill(leader);
    assert!(matches!(passed.try_receive(), Ok(None) | Err(_)));
    let mut again = served(address(&group.members[place]));
    assert_eq!(seen(&mut again), 2);
    // A member that stops answers what was asked.
    group.stop(place);
    assert!(again.receive().is_none());
}

#[test]
fn who_a_client_is_goes_with_its_session_and_what_it_may_is_decided_where_it_goes() {
    let (token, known) = ("abc", format!("till:{ABC}"));
    let mut group = Group::of(0, |launch| launch);
    for place in 0..2 {
        let member = group.next();
        let socket = member.directory.with_extension("sock");
        let member = member.set("server.control_socket", socket.display());
        let member = member.set("auth.required", true).set("auth.token_hashes", &known);
        group.add_member(if place == 0 { member.set("cluster.bootstrap", true) } else { member });
    }
    let authenticated = |member: &Member| {
        let mut wire = Wire::hello(address(member), &[]);
        wire.call("AUTH", json!({"method": "bearer", "token": token})).unwrap();
        wire
    };
    await_condition("a node leads", || group.members[0].obstacle().is_none());
    await_condition("the other follows", || group.members[1].obstacle().is_none());
    let mut stranger = Wire::hello(address(&group.members[1]), &[]);
    let refused = stranger.call("LIST_MACHINES", json!({})).unwrap_err();
    assert_eq!(refused["code"], "UNAUTHORIZED");
    let mut wire = authenticated(&group.members[1]);
    begin(&mut wire);
    let own = wire.socket().local_addr().unwrap().to_string();
    for member in &group.members {
        let listed = sessions(member);
        let line = listed.lines().find(|line| line.contains(&own));
        assert!(line.is_some_and(|line| line.contains("till")), "{listed}");
    }
    // It can be ended where it came to.
    let listed = sessions(&group.members[1]);
    let line = listed.lines().find(|line| line.contains(&own)).unwrap();
    let number = line.split_whitespace().next().unwrap();
    let socket = group.members[1].directory.with_extension("sock");
    let setting = format!("server.control_socket={}", socket.display());
    let status = std::process::Command::new(env!("CARGO_BIN_EXE_rstmdb"))
        .args(["--set", &setting, "--end-session", number])
        .stdout(std::process::Stdio::null())
        .status();
    assert!(status.unwrap().success());
    assert!(wire.receive().is_none());
    // A leader that does not know the token lets nobody in by another's word.
    group.kill(0);
    let member = group.members.remove(0).set("auth.token_hashes", format!("else:{EMPTY}"));
    group.members.insert(0, member);
    group.start(0);
    await_condition("a node leads", || group.members[0].obstacle().is_none());
    await_condition("the other follows", || group.members[1].obstacle().is_none());
    let mut wire = authenticated(&group.members[1]);
    let refused = wire.call("LIST_MACHINES", json!({})).unwrap_err();
    assert_eq!(refused["code"], "UNAUTHORIZED", "{refused}");
}

#[test]
fn a_member_that_passes_nothing_on_says_who_leads() {
    let group = Group::of(3, |launch| launch.set("cluster.relay_plain", false));
    group.await_voters(3);
    let leader = group.leader();
    let mut wire = Wire::hello(address(other_than(&group, leader)), &[]);
    let refused = wire.call("LIST_MACHINES", json!({})).unwrap_err();
    let there = address(&group.members[leader]).to_string();
    assert_eq!(refused["code"], "READ_ONLY_MODE");
    assert!(refused["message"].as_str().unwrap().contains(&there), "{refused}");
}
