//! Servers of one group, each with a directory and an address for the others that stay.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};

use rstmdb::blocking::Database;
use rstmdb_testkit::process::{Launch, ServerProcess};
use rstmdb_testkit::wire::{Wire, await_condition};
use rstmdb_types::{ApplyEventRequest, GetInstanceRequest, Json, Operation};
use serde_json::{Value, json};

/// A server that is a member, or will be.
pub struct Member {
    launch: Launch,
    pub process: Option<ServerProcess>,
    pub directory: PathBuf,
    pub peers: String,
}

impl Member {
    /// A server that belongs to no group.
    pub fn alone(folder: &Path) -> ServerProcess {
        Launch::new(env!("CARGO_BIN_EXE_rstmdb"), &folder.join("0")).start()
    }

    pub fn new(folder: &Path, place: usize) -> Member {
        let (directory, peers) = (folder.join(place.to_string()), free_address());
        let launch = Launch::new(env!("CARGO_BIN_EXE_rstmdb"), &directory)
            .set("cluster.enabled", true)
            .set("cluster.name", "shop")
            .set("cluster.bind_addr", &peers);
        Member { launch, process: None, directory, peers }
    }

    #[must_use]
    pub fn set(mut self, key: &str, value: impl std::fmt::Display) -> Member {
        self.launch = self.launch.set(key, value);
        self
    }

    /// Another program takes its place.
    #[must_use]
    pub fn program(mut self, program: &str) -> Member {
        self.launch = self.launch.program(program);
        self
    }

    /// How it is started.
    pub fn launch(&self) -> &Launch {
        &self.launch
    }

    pub fn process(&self) -> &ServerProcess {
        self.process.as_ref().unwrap()
    }

    /// What comes of a request at this member and no other.
    pub fn ask(&self, op: &str, params: Value) -> Result<Value, Value> {
        Wire::hello(self.process().address(), &["extended"]).call(op, params)
    }

    /// Its number in the group.
    pub fn number(&self) -> u64 {
        Group::told(self)["node"].as_u64().unwrap()
    }

    /// Why it is not ready; nothing when it is.
    pub fn obstacle(&self) -> Option<String> {
        let (status, page) = self.process().page("/health/ready");
        (status != 200).then_some(page)
    }
}

/// An address of this machine that no other test has.
fn free_address() -> String {
    static HOSTS: AtomicU16 = AtomicU16::new(3);
    let process = std::process::id();
    let host = match cfg!(target_os = "linux") {
        true => {
            let last = 3 + HOSTS.fetch_add(1, Ordering::Relaxed) % 250;
            format!("127.{}.{}.{last}", 1 + (process >> 8) % 250, process % 256)
        }
        false => "127.0.0.1".to_owned(),
    };
    TcpListener::bind((host.as_str(), 0)).unwrap().local_addr().unwrap().to_string()
}

/// Servers of one group.
pub struct Group {
    folder: tempfile::TempDir,
    pub members: Vec<Member>,
}

impl Group {
    /// The first begins, and the others find it.
    pub fn of(size: usize, change: impl Fn(Launch) -> Launch) -> Group {
        Group::with(tempfile::tempdir().unwrap(), size, change)
    }

    pub fn with(
        folder: tempfile::TempDir,
        size: usize,
        change: impl Fn(Launch) -> Launch,
    ) -> Group {
        let mut group = Group { folder, members: Vec::new() };
        for place in 0..size {
            match place {
                0 => group.add(|launch| change(launch.set("cluster.bootstrap", true))),
                _ => group.add(&change),
            }
        }
        group
    }

    /// All expect each other.
    pub fn expecting(size: usize) -> Group {
        let folder = tempfile::tempdir().unwrap();
        let members: Vec<Member> =
            (0..size).map(|place| Member::new(folder.path(), place)).collect();
        let seeds: Vec<String> = members.iter().map(|member| member.peers.clone()).collect();
        let expects = |member: Member| {
            member.set("cluster.seeds", seeds.join(",")).set("cluster.bootstrap_expect", size)
        };
        let members = members.into_iter().map(expects).collect();
        let mut group = Group { folder, members };
        (0..size).for_each(|place| group.start(place));
        group
    }

    /// Starts one more, which finds the group by its first member.
    pub fn add(&mut self, change: impl Fn(Launch) -> Launch) {
        let mut member = self.next();
        member.launch = change(member.launch);
        self.add_member(member);
    }

    /// The next one, not yet started.
    pub fn next(&self) -> Member {
        let member = Member::new(self.folder.path(), self.members.len());
        match self.members.first() {
            Some(first) => member.set("cluster.seeds", &first.peers),
            None => member,
        }
    }

    /// Where their directories are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn add_member(&mut self, member: Member) {
        self.members.push(member);
        self.start(self.members.len() - 1);
    }

    /// Stops all; the directories stay.
    pub fn end(mut self) -> tempfile::TempDir {
        for place in 0..self.members.len() {
            if self.members[place].process.is_some() {
                self.stop(place);
            }
        }
        self.folder
    }

    pub fn start(&mut self, place: usize) {
        let member = &mut self.members[place];
        member.process = Some(member.launch.start());
    }

    /// `kill -9`.
    pub fn kill(&mut self, place: usize) {
        self.members[place].process.take().unwrap().kill();
    }

    /// Has it stop in order; what it said.
    pub fn stop(&mut self, place: usize) -> Vec<String> {
        let process = self.members[place].process.take().unwrap();
        process.signal("TERM");
        let (code, log) = process.wait();
        assert_eq!(code, Some(0), "{log:#?}");
        log
    }

    fn running(&self) -> impl Iterator<Item = (usize, &Member)> {
        self.members.iter().enumerate().filter(|(_, member)| member.process.is_some())
    }

    /// A client that knows all that run.
    pub fn open(&self, parameters: &str) -> Database {
        let hosts: Vec<String> =
            self.running().map(|(_, member)| member.process().address().to_string()).collect();
        Database::open(&format!("rstmdb://{}{parameters}", hosts.join(","))).unwrap()
    }

    /// What a member says of all nodes, once it is in service.
    fn told(member: &Member) -> Value {
        let mut wire = Wire::connect(member.process().address());
        let hello = json!({"protocol_version": 1, "features": ["extended"]});
        wire.call("HELLO", hello).unwrap()["cluster"].clone()
    }

    /// Who leads, when all that run agree.
    pub fn leader(&self) -> usize {
        let mut found = None;
        await_condition("all agree on who leads", || {
            let told: Vec<(usize, Value)> =
                self.running().map(|(place, member)| (place, Group::told(member))).collect();
            // One that is not taken in tells nothing.
            let in_service = told.iter().filter(|(_, told)| told.is_object());
            let leaders: Vec<&Value> = in_service.map(|(_, told)| &told["leader"]).collect();
            let agreed = leaders.first().is_some_and(|first| !first.is_null())
                && leaders.windows(2).all(|two| two[0] == two[1]);
            found = told
                .iter()
                .find(|(_, told)| agreed && told.is_object() && told["node"] == told["leader"])
                .map(|(place, _)| *place);
            found.is_some()
        });
        found.unwrap()
    }

    /// All nodes, as the leader says.
    pub fn nodes(&self) -> Vec<Value> {
        let told = Group::told(&self.members[self.leader()]);
        told["nodes"].as_array().unwrap().clone()
    }

    pub fn await_voters(&self, count: usize) {
        await_condition("there are so many voters", || {
            let voters = |role: &Value| role == "leader" || role == "follower";
            self.nodes().iter().filter(|node| voters(&node["role"])).count() == count
        });
    }

    /// All that run show this.
    pub fn await_same(&self, wanted: u64) {
        for (_, member) in self.running() {
            let url = format!("rstmdb://{}?read=any", member.process().address());
            let database = Database::open(&url).unwrap();
            await_condition("all show the same", || number(&database) == wanted);
        }
    }
}

/// What events are applied to: an instance whose context keeps the last number.
pub fn begin(database: &Database) {
    let definition = json!({
        "states": ["s", "t"], "initial": "s",
        "transitions": [
            {"from": "s", "event": "E", "to": "t"}, {"from": "t", "event": "E", "to": "s"}
        ],
    });
    let call = |operation, request| database.call(operation, &Json::from_value(&request)).unwrap();
    call(Operation::PutMachine, json!({"machine": "m", "version": 1, "definition": definition}));
    call(Operation::CreateInstance, json!({"instance_id": "a", "machine": "m", "version": 1}));
}

/// Applies one with a key of its own.
pub fn event(database: &Database, number: u64) {
    let event = ApplyEventRequest::new("a", "E").with_payload(json!({"n": number}));
    database.run(event.with_key(format!("key-{number}"))).unwrap();
}

/// The number of the last event that is seen; 0 when there is none.
pub fn number(database: &Database) -> u64 {
    let found = database.run(GetInstanceRequest { instance_id: "a".into() });
    found.map_or(0, |found| found.ctx.to_value()["n"].as_u64().unwrap_or(0))
}
