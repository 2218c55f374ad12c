//! Databases of several nodes: who takes writes, who is read from, and what happens when they change or lie.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod fake;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fake::{Asked, Fake, Peer, applied, instance, options};
use rstmdb_client::{Client, Options, Pending, ReadMode};
use rstmdb_types::error::reason;
use rstmdb_types::*;
use serde_json::{Value, json};

/// What is asked of servers.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Ask {
    Keyed,
    Unkeyed,
    Read,
}

const ASKS: [Ask; 3] = [Ask::Keyed, Ask::Unkeyed, Ask::Read];

impl Ask {
    fn of(self, client: &Client) -> Pending<Outcome> {
        let event = ApplyEventRequest::new("a", "E");
        client.submit(match self {
            Ask::Keyed => Request::from(event.with_key("k")),
            Ask::Unkeyed => event.into(),
            Ask::Read => get().into(),
        })
    }

    fn op(self) -> &'static str {
        if self == Ask::Read { "GET_INSTANCE" } else { "APPLY_EVENT" }
    }

    fn answer(self, peer: &mut Peer, asked: &Asked) {
        peer.ok(asked, if self == Ask::Read { instance(1) } else { applied(1) });
    }

    /// The next request, which must be this one, is answered.
    fn take(self, peer: &mut Peer) {
        let asked = peer.expect(self.op());
        self.answer(peer, &asked);
    }
}

fn get() -> GetInstanceRequest {
    GetInstanceRequest { instance_id: "a".into() }
}

fn address(fake: &Fake) -> String {
    fake.endpoint().to_string()
}

/// Nodes 1, 2, … of a database; the first of them tells it when `node` is 1.
fn cluster(epoch: u64, node: u64, leader: Option<u64>, fakes: &[&Fake]) -> Value {
    let nodes = fakes.iter().zip(1..).map(|(fake, id)| {
        let role = if Some(id) == leader { "leader" } else { "follower" };
        json!({"id": id, "address": address(fake), "role": role})
    });
    let nodes: Vec<_> = nodes.collect();
    json!({"id": "d1", "epoch": epoch, "node": node, "leader": leader, "nodes": nodes})
}

/// A connected client of the first of these servers, which tells `cluster`.
fn connect(fake: &Fake, cluster: &Value, options: Options) -> (Client, Peer) {
    std::thread::scope(|scope| {
        let peer = scope.spawn(|| fake.greet_of(cluster));
        let client = Client::connect_blocking(options).unwrap();
        (client, peer.join().unwrap())
    })
}

/// A server that answers by itself; how many connections it took is counted.
fn serve(
    fake: Fake,
    answer: impl Fn(&mut Peer, &Asked) + Send + Sync + 'static,
) -> Arc<AtomicUsize> {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        loop {
            let mut peer = fake.accept();
            counted.fetch_add(1, Ordering::SeqCst);
            let answer = answer.clone();
            std::thread::spawn(move || {
                while let Some(asked) = peer.next() {
                    match &*asked.op {
                        "HELLO" => peer.ok(&asked, fake::hello_result("9.9.9", &fake::TODAY)),
                        _ => answer(&mut peer, &asked),
                    }
                }
            });
        }
    });
    connections
}

#[test]
fn a_refused_request_goes_where_the_server_says() {
    for (reason, ask, hosts) in ["not_leader", "replica"]
        .into_iter()
        .flat_map(|reason| ASKS.map(|ask| (reason, ask)))
        .flat_map(|(reason, ask)| [1, 2].map(|hosts| (reason, ask, hosts)))
    {
        let (replica, primary, other) = (Fake::new(), Fake::new(), Fake::new());
        let mut options = options(&[&replica, &other][..hosts]);
        // It is no repetition.
        options.retry.attempts = 0;
        let (client, mut peer) = replica.connect(options);
        let pending = ask.of(&client);
        let asked = peer.expect(ask.op());
        peer.refuse(&asked, "READ_ONLY_MODE", reason, Some(address(&primary)));
        let mut there = primary.greet();
        let again = there.expect(ask.op());
        assert_eq!(again.params, asked.params, "{reason} {ask:?}");
        ask.answer(&mut there, &again);
        pending.wait().unwrap();
        assert_eq!(client.server().unwrap().endpoint, primary.endpoint());
        // The next one goes there at once.
        let pending = ask.of(&client);
        ask.take(&mut there);
        pending.wait().unwrap();
    }
}

#[test]
fn requests_that_are_sent_elsewhere_keep_their_order() {
    let (follower, leader) = (Fake::new(), Fake::new());
    let (client, mut peer) = follower.connect(follower.options());
    let pending: Vec<_> =
        (0..20).map(|n| client.call(ApplyEventRequest::new(format!("i{n}"), "E"))).collect();
    let asked: Vec<_> = pending.iter().map(|_| peer.expect("APPLY_EVENT")).collect();
    asked.iter().for_each(|asked| {
        peer.refuse(asked, "READ_ONLY_MODE", "not_leader", Some(address(&leader)));
    });
    let mut peer = leader.greet();
    for (n, pending) in pending.into_iter().enumerate() {
        let asked = peer.expect("APPLY_EVENT");
        assert_eq!(asked.params["instance_id"], format!("i{n}"));
        peer.ok(&asked, applied(n as u64));
        pending.wait().unwrap();
    }
}

#[test]
fn servers_that_send_a_client_round_in_circles_are_given_up() {
    for (reason, ask) in
        ASKS.into_iter().flat_map(|ask| ["not_leader", "replica"].map(|r| (r, ask)))
    {
        let fakes = [Fake::new(), Fake::new()];
        let places = [address(&fakes[0]), address(&fakes[1])];
        let options =
            Options { request_timeout: Duration::ZERO, ..options(&[&fakes[0], &fakes[1]]) };
        let attempts = options.retry.attempts as usize;
        let counts: Vec<_> = fakes
            .into_iter()
            .zip([places[1].clone(), places[0].clone()])
            .map(|(fake, other)| {
                serve(fake, move |peer, asked| {
                    peer.refuse(asked, "READ_ONLY_MODE", reason, Some(other.clone()));
                })
            })
            .collect();
        let client = Client::connect_blocking(options).unwrap();
        let error = ask.of(&client).wait().unwrap_err();
        assert_eq!((error.code(), error.reason()), (ErrorCode::ReadOnlyMode, Some(reason)));
        assert!(error.context().contains_key("address"), "{error:?}");
        let connections: usize = counts.iter().map(|count| count.load(Ordering::SeqCst)).sum();
        // The first, four at once, and those behind a pause.
        assert!(connections <= 1 + 4 + attempts, "{reason} {ask:?}: {connections}");
    }
}

#[test]
fn an_address_that_leads_nowhere_is_not_the_end() {
    let dead = address(&Fake::new());
    for named in [dead.as_str(), "no..name:1", "not an address", "", "[::1", "h:99999"] {
        for ask in ASKS {
            let fake = Fake::new();
            let options = fake.options();
            let (refusals, named) = (AtomicUsize::new(0), named.to_owned());
            serve(fake, move |peer, asked| {
                // It is elected itself.
                if refusals.fetch_add(1, Ordering::SeqCst) < 3 {
                    peer.refuse(asked, "READ_ONLY_MODE", "not_leader", Some(named.clone()));
                } else {
                    ask.answer(peer, asked);
                }
            });
            let client = Client::connect_blocking(options).unwrap();
            ask.of(&client).wait().unwrap();
        }
    }
}

#[test]
fn an_election_is_waited_for_as_long_as_the_request_has_time() {
    for ask in ASKS {
        let fakes = [Fake::new(), Fake::new()];
        let mut options = options(&[&fakes[0], &fakes[1]]);
        options.retry.attempts = 1;
        let refusals = Arc::new(AtomicUsize::new(0));
        for fake in fakes {
            let refusals = refusals.clone();
            serve(fake, move |peer, asked| {
                if refusals.fetch_add(1, Ordering::SeqCst) < 20 {
                    peer.refuse(asked, "READ_ONLY_MODE", "not_leader", None);
                } else {
                    ask.answer(peer, asked);
                }
            });
        }
        let patient = Options { request_timeout: Duration::from_secs(600), ..options.clone() };
        let client = Client::connect_blocking(patient).unwrap();
        ask.of(&client).wait().unwrap();
        assert_eq!(refusals.load(Ordering::SeqCst), 21);
        // Without an end to its time, a request is repeated as often as any other.
        refusals.store(0, Ordering::SeqCst);
        let client = Client::connect_blocking(options).unwrap();
        let error = ask.of(&client).wait().unwrap_err();
        assert_eq!((error.reason(), error.retryable()), (Some(reason::NOT_LEADER), true));
        assert_eq!(refusals.load(Ordering::SeqCst), 2);
    }
}

#[test]
fn without_a_leader_a_request_ends_with_its_time_and_says_why() {
    for ask in ASKS {
        let fake = Fake::new();
        let options = Options { request_timeout: Duration::from_millis(50), ..fake.options() };
        serve(fake, |peer, asked| peer.refuse(asked, "READ_ONLY_MODE", "not_leader", None));
        let client = Client::connect_blocking(options).unwrap();
        let error = ask.of(&client).wait().unwrap_err();
        let expected = [reason::NOT_LEADER, reason::OUTCOME_UNKNOWN];
        // Whether the last one was on its way at that moment is chance.
        assert!(error.reason().is_some_and(|reason| expected.contains(&reason)), "{error:?}");
    }
}

#[test]
fn a_host_that_dies_is_replaced_and_no_write_is_done_twice() {
    for ask in ASKS {
        let (first, second) = (Fake::new(), Fake::new());
        let told = |node| cluster(1, node, None, &[&first, &second]);
        let (client, mut peer) = connect(&first, &told(1), options(&[&first, &second]));
        let pending = ask.of(&client);
        let sent = peer.expect(ask.op());
        let told = told(2);
        drop(first);
        peer.hang_up();
        if ask == Ask::Unkeyed {
            let error = pending.wait().unwrap_err();
            assert_eq!((error.reason(), error.retryable()), (Some(reason::OUTCOME_UNKNOWN), false));
            let next = Ask::Read.of(&client);
            let mut peer = second.greet_of(&told);
            Ask::Read.take(&mut peer);
            next.wait().unwrap();
        } else {
            let mut peer = second.greet_of(&told);
            let again = peer.expect(ask.op());
            assert_eq!(again.params, sent.params);
            ask.answer(&mut peer, &again);
            pending.wait().unwrap();
        }
    }
}

#[test]
fn the_first_that_answers_says_who_takes_writes() {
    let (follower, leader) = (Fake::new(), Fake::new());
    let told = |node| cluster(1, node, Some(2), &[&follower, &leader]);
    let both = options(&[&follower, &leader]);
    let (client, mut peer) = std::thread::scope(|scope| {
        let left = scope.spawn(|| follower.greet_of(&told(1)).next().is_none());
        let peer = scope.spawn(|| leader.greet_of(&told(2)));
        let client = Client::connect_blocking(both).unwrap();
        assert!(left.join().unwrap());
        (client, peer.join().unwrap())
    });
    assert_eq!(client.server().unwrap().node, Some(2));
    assert_eq!(client.leader(), Some(leader.endpoint()));
    let pending = Ask::Unkeyed.of(&client);
    Ask::Unkeyed.take(&mut peer);
    pending.wait().unwrap();
    // The other is heard for news.
    let _listener = follower.greet_of(&told(1));
    // Who names one host gets that one.
    let (client, mut peer) = connect(&follower, &told(1), follower.options());
    let pending = Ask::Read.of(&client);
    Ask::Read.take(&mut peer);
    pending.wait().unwrap();
}

#[test]
fn a_leader_that_can_not_be_reached_leaves_the_client_where_it_is() {
    let (follower, gone) = (Fake::new(), Fake::new());
    let told = cluster(1, 1, Some(2), &[&follower, &gone]);
    let both = options(&[&follower, &gone]);
    drop(gone);
    let (client, mut peer) = connect(&follower, &told, both);
    let pending = Ask::Read.of(&client);
    Ask::Read.take(&mut peer);
    pending.wait().unwrap();
}

#[test]
fn a_leader_that_hangs_is_left_when_another_one_is_told_of() {
    for ask in ASKS {
        let (old, new) = (Fake::new(), Fake::new());
        let both = [&old, &new];
        let (client, mut hangs) = connect(&old, &cluster(1, 1, Some(1), &both), options(&both));
        // The other node is heard, though nothing is asked of it.
        let mut peer = new.greet_of(&cluster(1, 2, Some(1), &both));
        let pending = ask.of(&client);
        hangs.expect(ask.op());
        // What is old, of another database, or nothing at all, changes nothing.
        for news in [
            cluster(0, 2, Some(2), &both),
            json!({"id": "d2", "epoch": 9, "leader": 2, "nodes": []}),
            json!("news"),
            json!(null),
            cluster(2, 2, Some(2), &both),
        ] {
            peer.send(&json!({"type": "topology", "cluster": news}));
        }
        let pending = if ask == Ask::Unkeyed {
            assert_eq!(pending.wait().unwrap_err().reason(), Some(reason::OUTCOME_UNKNOWN));
            ask.of(&client)
        } else {
            pending
        };
        // It has nothing to hear from who leads.
        assert!(peer.next().is_none());
        let mut there = new.greet_of(&cluster(2, 2, Some(2), &both));
        ask.take(&mut there);
        pending.wait().unwrap();
    }
}

#[test]
fn what_a_server_tells_of_its_nodes_may_be_anything() {
    let many: Vec<_> =
        (0..3000).map(|id| json!({"id": id, "address": "x:1", "role": "r"})).collect();
    for garbage in [
        json!(null),
        json!(7),
        json!([1]),
        json!({}),
        json!({"id": 3, "nodes": {}}),
        json!({"id": "d", "epoch": u64::MAX, "leader": "me", "nodes": [null, 1, {"id": -1}]}),
        json!({"id": "d", "node": 1, "leader": 2, "nodes": [{"id": 2, "address": "]["}]}),
        json!({"id": "d", "node": 1, "leader": 7, "nodes": many}),
    ] {
        let fakes = [Fake::new(), Fake::new()];
        let (client, mut peer) = connect(&fakes[0], &garbage, options(&[&fakes[0], &fakes[1]]));
        let pending = client.call(PingRequest {});
        peer.pong();
        pending.wait().unwrap();
    }
}

#[test]
fn a_host_of_another_database_is_refused() {
    let (first, second) = (Fake::new(), Fake::new());
    let both = options(&[&first, &second]);
    let told = cluster(1, 1, None, &[]);
    let (client, mut peer) = connect(&first, &told, both);
    let pending = Ask::Keyed.of(&client);
    peer.expect("APPLY_EVENT");
    drop(first);
    peer.hang_up();
    let stop = Arc::new(AtomicUsize::new(0));
    let stopped = stop.clone();
    std::thread::spawn(move || {
        while stopped.load(Ordering::SeqCst) == 0 {
            let other = json!({"id": "another", "epoch": 9, "nodes": []});
            assert!(second.greet_of(&other).next().is_none(), "nothing is asked of it");
        }
    });
    let error = pending.wait().unwrap_err();
    assert_eq!(error.reason(), Some(reason::OUTCOME_UNKNOWN));
    assert!(error.message().contains("holds another database (another)"), "{error}");
    stop.store(1, Ordering::SeqCst);
}

#[test]
fn reads_that_may_be_behind_go_to_a_replica_and_say_how_far() {
    for (mode, max_lag, expected) in [
        (ReadMode::Any, None, json!({"read": "any"})),
        (ReadMode::Session, None, json!({"read": "session", "min_offset": 41})),
        (ReadMode::Bounded, Some(5), json!({"read": "bounded", "max_lag_ms": 5000})),
    ] {
        let (leader, replica) = (Fake::new(), Fake::new());
        let both = [&leader, &replica];
        let max_lag = max_lag.map(Duration::from_secs);
        let options = Options { read: mode, max_lag, ..leader.options() };
        let (client, mut home) = connect(&leader, &cluster(1, 1, Some(1), &both), options);
        let write = client.call(ApplyEventRequest::new("a", "E"));
        let asked = home.expect("APPLY_EVENT");
        assert_eq!(asked.message.get("read"), None, "a write reads nothing");
        home.ok(&asked, applied(41));
        write.wait().unwrap();
        let read = Ask::Read.of(&client);
        let mut peer = replica.greet_of(&cluster(1, 2, Some(1), &both));
        let asked = peer.expect("GET_INSTANCE");
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(asked.message.get(name), Some(value), "{mode:?}");
        }
        assert_eq!(asked.message.get("max_lag_ms").is_some(), mode == ReadMode::Bounded);
        peer.ok(&asked, instance(41));
        read.wait().unwrap();
        // What is about a server is asked of the one there is at home, and a watch goes on there.
        let ping = client.call(PingRequest {});
        home.pong();
        ping.wait().unwrap();
        // A handle that reads otherwise shares the connections.
        let fresh = client.reading(ReadMode::Linearizable).unwrap().call(get());
        let asked = home.expect("GET_INSTANCE");
        assert_eq!(asked.message.get("read"), None);
        home.ok(&asked, instance(41));
        fresh.wait().unwrap();
        // The replica dies: who leads is asked.
        drop(replica);
        let read = Ask::Read.of(&client);
        peer.expect("GET_INSTANCE");
        peer.hang_up();
        let asked = home.expect("GET_INSTANCE");
        assert_eq!(asked.message["read"], expected["read"]);
        home.ok(&asked, instance(41));
        read.wait().unwrap();
    }
}

#[test]
fn a_read_that_may_be_behind_soon_leaves_nodes_that_say_nothing() {
    let (near, mute, deaf) = (Fake::new(), Fake::new(), Fake::new());
    let told = cluster(1, 1, None, &[&near, &mute, &deaf]);
    // Enough for three nodes to be asked in turn, and not for one to be waited for.
    let request_timeout = Duration::from_secs(8);
    let options = Options { read: ReadMode::Any, request_timeout, ..near.options() };
    let (client, mut home) = connect(&near, &told, options);
    std::thread::spawn(move || {
        while let Some(asked) = home.next() {
            Ask::Read.answer(&mut home, &asked);
        }
    });
    // This one says hello and nothing else; the other one not even that.
    let connections = serve(deaf, |_, _| ());
    Ask::Read.of(&client).wait().unwrap();
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    drop(mute);
}

#[test]
fn a_lease_is_asked_of_who_leads_and_older_servers_are_told_nothing() {
    let fake = Fake::new();
    let options = Options { read: ReadMode::Lease, ..fake.options() };
    let (client, mut peer) = fake.connect(options.clone());
    let read = Ask::Read.of(&client);
    let asked = peer.expect("GET_INSTANCE");
    assert_eq!(asked.message["read"], "lease");
    peer.ok(&asked, instance(1));
    read.wait().unwrap();
    let (client, mut peer) = fake.connect_old(options);
    let read = Ask::Read.of(&client);
    let asked = peer.expect("GET_INSTANCE");
    assert_eq!(asked.message.get("read"), None);
    peer.ok(&asked, instance(1));
    read.wait().unwrap();
    let error = client.reading(ReadMode::Bounded).unwrap_err();
    assert_eq!(error.reason(), Some(reason::INVALID_OPTION));
    let options = Options { read: ReadMode::Bounded, ..fake.options() };
    let error = Client::connect_blocking(options).unwrap_err();
    assert!(error.message().contains("max_lag"), "{error}");
}

#[test]
fn a_replica_that_is_too_far_behind_is_left_alone() {
    let (leader, replica) = (Fake::new(), Fake::new());
    let both = [&leader, &replica];
    let options = Options { read: ReadMode::Any, ..leader.options() };
    let (client, mut home) = connect(&leader, &cluster(1, 1, Some(1), &both), options);
    let read = Ask::Read.of(&client);
    let mut peer = replica.greet_of(&cluster(1, 2, Some(1), &both));
    let asked = peer.expect("GET_INSTANCE");
    peer.refuse(&asked, "REPLICATION_ERROR", "lag_exceeded", None);
    Ask::Read.take(&mut home);
    read.wait().unwrap();
    for _ in 0..3 {
        let read = Ask::Read.of(&client);
        Ask::Read.take(&mut home);
        read.wait().unwrap();
    }
    // Where all are behind, that is the answer.
    let read = Ask::Read.of(&client);
    let asked = home.expect("GET_INSTANCE");
    home.refuse(&asked, "REPLICATION_ERROR", "lag_exceeded", None);
    let mut peer = replica.greet_of(&cluster(1, 2, Some(1), &both));
    let asked = peer.expect("GET_INSTANCE");
    peer.refuse(&asked, "REPLICATION_ERROR", "lag_exceeded", None);
    let error = read.wait().unwrap_err();
    assert_eq!((error.reason(), error.retryable()), (Some(reason::LAG_EXCEEDED), true));
}

#[test]
fn an_unconfirmed_write_is_repeated_with_its_key_and_never_without() {
    let fake = Fake::new();
    let (client, mut peer) = fake.connect(fake.options());
    let keyed = Ask::Keyed.of(&client);
    let first = peer.expect("APPLY_EVENT");
    peer.error(&first, "REPLICATION_TIMEOUT", true);
    let again = peer.expect("APPLY_EVENT");
    assert_eq!(again.params, first.params);
    peer.ok(&again, applied(7));
    keyed.wait().unwrap();
    let unkeyed = Ask::Unkeyed.of(&client);
    let asked = peer.expect("APPLY_EVENT");
    peer.error(&asked, "REPLICATION_TIMEOUT", true);
    let error = unkeyed.wait().unwrap_err();
    assert_eq!(error.code(), ErrorCode::ReplicationTimeout);
    assert_eq!((error.reason(), error.retryable()), (Some(reason::OUTCOME_UNKNOWN), false));
}

#[test]
fn a_watch_goes_on_at_its_place_on_another_node() {
    let (first, second) = (Fake::new(), Fake::new());
    let told = |node| cluster(1, node, None, &[&first, &second]);
    let (client, mut peer) = connect(&first, &told(1), options(&[&first, &second]));
    let watching = client.watch(WatchAllRequest::default());
    let asked = peer.expect("WATCH_ALL");
    peer.ok(&asked, json!({"subscription_id": "s", "wal_offset": 5, "history_id": "h1"}));
    let (_, mut events) = watching.wait().unwrap();
    peer.event("s", 6);
    assert_eq!(events.next_blocking().unwrap().unwrap().wal_offset, 6);
    let told = told(2);
    drop(first);
    peer.hang_up();
    let mut peer = second.greet_of(&told);
    let asked = peer.expect("WATCH_ALL");
    assert_eq!(
        (&asked.params["from_offset"], &asked.params["history_id"]),
        (&json!(7), &json!("h1"))
    );
    peer.ok(&asked, json!({"subscription_id": "t", "wal_offset": 7, "history_id": "h1"}));
    peer.event("t", 7);
    assert_eq!(events.next_blocking().unwrap().unwrap().wal_offset, 7);
    // A node whose log is another one says so, and that is the end.
    peer.hang_up();
    let mut peer = second.greet_of(&told);
    let asked = peer.expect("WATCH_ALL");
    peer.error(&asked, "CONFLICT", false);
    assert_eq!(events.next_blocking().unwrap().unwrap_err().code(), ErrorCode::Conflict);
}
