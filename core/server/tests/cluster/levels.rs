//! Members of several releases in one group: it works at the level that all know, until somebody raises it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rstmdb_testkit::wire::{Wire, await_condition};
use rstmdb_types::ApplyEventRequest;
use serde_json::json;

use super::group::{Group, Member, begin, number};

/// Clients that write all the time; no call may fail but in a way that says that it may be repeated.
pub struct WriteLoad {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<Vec<String>>,
}

impl WriteLoad {
    /// Begins after `begin`.
    pub fn start(group: &Group) -> WriteLoad {
        let database = group.open("");
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (stop.clone(), done.clone());
        let thread = std::thread::spawn(move || {
            let mut wrong = Vec::new();
            let mut next = 1;
            while !stopped.load(Ordering::Relaxed) {
                let event = ApplyEventRequest::new("a", "E").with_payload(json!({"n": next}));
                match database.run(event.with_key(format!("load-{next}"))) {
                    Ok(_) => {
                        counted.store(next, Ordering::Relaxed);
                        next += 1;
                    }
                    // The same key again: it is done once.
                    Err(error) if error.retryable() => {}
                    Err(error) => wrong.push(format!("{error:?}")),
                }
            }
            wrong
        });
        WriteLoad { stop, done, thread }
    }

    /// Waits for some more to be done.
    pub fn goes_on(&self) {
        let before = self.done.load(Ordering::Relaxed);
        await_condition("writes go on", || self.done.load(Ordering::Relaxed) > before + 3);
    }

    /// The last that was done.
    pub fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let wrong = self.thread.join().unwrap();
        assert!(wrong.is_empty(), "{wrong:#?}");
        self.done.load(Ordering::Relaxed)
    }
}

/// Where plain clients are passed on: what came with level 2.
fn passes_on(group: &Group) -> bool {
    let leader = group.leader();
    let other = (0..group.members.len()).find(|place| *place != leader).unwrap();
    let mut wire = Wire::hello(group.members[other].process().address(), &[]);
    match wire.call("GET_INSTANCE", json!({"instance_id": "a"})) {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error["code"], "READ_ONLY_MODE", "{error}");
            false
        }
    }
}

/// The level of the group, as a member says.
pub fn level(member: &Member) -> serde_json::Value {
    member.ask("CLUSTER_STATUS", json!({})).unwrap()["level"].clone()
}

/// What comes of raising it: the level, or why not.
pub fn raise(group: &Group) -> Result<serde_json::Value, String> {
    let raised = group.members[group.leader()].ask("CLUSTER_UPGRADE", json!({}));
    raised
        .map(|raised| raised["level"].clone())
        .map_err(|error| error["message"].as_str().unwrap().to_owned())
}

/// Replaces a member by one of another release, as far as its level tells.
pub fn replace(group: &mut Group, place: usize, level: u32) {
    group.stop(place);
    let member = group.members.remove(place).set("cluster.level_max", level);
    group.members.insert(place, member);
    group.start(place);
    await_condition("it is back", || group.members[place].obstacle().is_none());
}

#[test]
fn a_group_works_at_the_level_that_all_know_until_it_is_raised() {
    let mut group = Group::of(3, |launch| launch.set("cluster.level_max", 1));
    group.await_voters(3);
    begin(&group.open(""));
    assert_eq!(level(&group.members[0]), 1);
    let load = WriteLoad::start(&group);
    load.goes_on();
    for place in 0..3 {
        assert!(!passes_on(&group), "not all know how");
        // A member tells what it knows a moment after its start.
        await_condition("the order tells who lacks what", || {
            let lacks = "knows levels up to 1: bring it to a release that knows level 2 first";
            match (place, raise(&group)) {
                (0, Ok(level)) => level == 1,
                (_, Err(why)) => why.contains(lacks),
                _ => false,
            }
        });
        replace(&mut group, place, 2);
        load.goes_on();
    }
    assert!(!passes_on(&group), "nobody said so");
    // One that knew more is gone back to the release before: that goes as long as nothing was raised.
    replace(&mut group, 1, 1);
    load.goes_on();
    replace(&mut group, 1, 2);
    await_condition("all say what they know", || raise(&group).is_ok_and(|level| level == 2));
    for member in &group.members {
        await_condition("all know the level", || level(member) == 2);
    }
    await_condition("what came with it is used", || passes_on(&group));
    load.goes_on();
    let done = load.stop();
    assert!(number(&group.open("")) >= done);

    // There is no way back, neither for a member nor for one that comes.
    let leader = group.leader();
    let place = (0..3).find(|place| *place != leader).unwrap();
    group.stop(place);
    let member = group.members.remove(place).set("cluster.level_max", 1);
    group.members.insert(place, member);
    group.start(place);
    let late = group.next().set("cluster.level_max", 1);
    group.add_member(late);
    for place in [place, 3] {
        let wanted = "the group works at level 2, and ";
        await_condition(wanted, || {
            group.members[place].obstacle().is_some_and(|said| {
                said.contains(wanted) && said.contains("to a release that knows level 2")
            })
        });
    }
    group.kill(3);
    // A restart at the release that knows it, and all is well.
    replace(&mut group, place, 2);
    group.await_same(number(&group.open("")));
}
