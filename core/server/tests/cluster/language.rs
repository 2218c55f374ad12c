//! Definitions of a later language level wait until all members know it.

use rstmdb::Json;
use rstmdb::blocking::Database;
use rstmdb_testkit::wire::await_condition;
use rstmdb_types::{ApplyEventRequest, CreateInstanceRequest, PutMachineRequest};
use serde_json::json;

use super::group::{Group, begin};
use super::levels::{level, raise, replace};

/// Asks to put a machine that counts.
fn put(database: &Database) -> rstmdb::Result<bool> {
    let count = json!([{"assign": {"n": {"$": "coalesce(ctx.n, 0) + 1"}}}]);
    let definition = json!({
        "states": ["a"], "initial": "a",
        "transitions": [{"from": "a", "event": "E", "to": "a", "actions": count}],
    });
    let request = PutMachineRequest::new("counts", 1, Json::from_value(&definition));
    database.run(request).map(|put| put.created)
}

/// Applies the event of this number; what the machine has counted then.
fn count(database: &Database, number: u64) -> Json {
    let event = ApplyEventRequest::new("i", "E").with_key(format!("key-{number}"));
    database.run(event).unwrap().ctx
}

#[test]
fn definitions_that_not_all_members_know_are_held_back_until_the_level_is_raised() {
    let mut group = Group::of(3, |launch| launch.set("cluster.level_max", 2));
    group.await_voters(3);
    let held_back = |group: &Group| {
        let error = put(&group.open("")).unwrap_err();
        assert_eq!((error.code().as_str(), error.reason()), ("BAD_REQUEST", Some("unsupported")));
        let ways =
            ["language level 2", "works at level 2", "knows level 3", "rstmdb-cli cluster upgrade"];
        for part in ways {
            assert!(error.message().contains(part), "{error}");
        }
    };
    // A definition of level 1 is not held back.
    begin(&group.open(""));
    held_back(&group);
    for place in 0..3 {
        replace(&mut group, place, 0);
    }
    held_back(&group);
    await_condition("all say what they know", || raise(&group).is_ok_and(|level| level == 3));
    let database = group.open("");
    assert!(put(&database).unwrap());
    assert!(!put(&database).unwrap(), "the same again");

    database.run(CreateInstanceRequest::new("i", "counts", 1)).unwrap();
    for number in 1..=3 {
        assert_eq!(count(&database, number), Json::from(json!({"n": number})));
    }
    for member in &group.members {
        await_condition("all know the level", || level(member) == 3);
    }
    // Whoever leads next has it, from the log alone.
    let first = group.leader();
    group.kill(first);
    assert_eq!(count(&database, 4), Json::from(json!({"n": 4})));
}
