//! Members over sockets: who may speak, what strangers cost, nodes that come and go.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rstmdb_cluster::follow::NodeIdentity;
use rstmdb_cluster::net::{JoinAnswer, PeerDesk, PeerNode, TcpNetwork, ask_to_join};
use rstmdb_cluster::peer::{Hello, Levels, Message, PeerError};
use rstmdb_cluster::raft::{
    EngineSlot, MemberNode, RaftNode, RaftTimes, begin_group, first_member,
};
use rstmdb_engine::{Background, Engine, NodeKind, Options, Retention};
use rstmdb_testkit::cluster::pair::{as_node, event, shown};
use rstmdb_testkit::faulty::FaultyStorage;
use rstmdb_testkit::sample::{self, location};
use rstmdb_types::CompactRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const DATABASE: [u8; 16] = [9; 16];
/// What is waited for, at most.
const PATIENCE: Duration = Duration::from_secs(60);
const TIMES: RaftTimes = RaftTimes { heartbeat_ms: 60, election_min_ms: 250, election_max_ms: 500 };

/// A node of a group on this machine.
struct Member {
    local: Arc<PeerNode>,
    desk: Arc<PeerDesk>,
    raft: Arc<RaftNode>,
    facts: MemberNode,
    listening: JoinHandle<()>,
}

fn options(id: u16) -> Options {
    Options {
        background: Background::Threads,
        retention: Retention::Bytes(0),
        ..as_node(NodeKind::Member, id, Some(DATABASE))
    }
}

fn identity(name: &str, node: u16, uuid: u8) -> NodeIdentity {
    NodeIdentity {
        cluster: "shop".into(),
        node,
        uuid: [uuid; 16],
        name: name.into(),
        address: String::new(),
    }
}

fn facts(name: &str, uuid: u8, peer: &str) -> MemberNode {
    MemberNode {
        name: name.to_owned(),
        peer: peer.to_owned(),
        client: format!("{name}:7401"),
        uuid: format!("{uuid:02x}").repeat(16),
        levels: (1, 2),
        ..MemberNode::default()
    }
}

impl Member {
    /// The first one: its group is it alone.
    async fn first(name: &str, uuid: u8) -> Member {
        let (disk, listener) = (FaultyStorage::new(1), listener().await);
        let facts = facts(name, uuid, &listener.local_addr().unwrap().to_string());
        let engine = Engine::open(location(&disk), options(1)).unwrap();
        begin_group(&engine, 1, &first_member(facts.clone()).unwrap()).unwrap();
        engine.close().unwrap();
        drop(engine);
        Member::start(&disk, listener, facts, uuid, 1).await
    }

    /// One that asks another to be taken in.
    async fn join(name: &str, uuid: u8, other: &Member) -> Member {
        let listener = listener().await;
        let facts = facts(name, uuid, &listener.local_addr().unwrap().to_string());
        let stranger = PeerNode::new(identity(name, 0, uuid), [0; 16], None);
        let mut address = other.facts.peer.clone();
        let node = loop {
            match ask_to_join(&stranger, &address, &facts).await.unwrap() {
                JoinAnswer::Member { node, database } => {
                    assert_eq!(database, DATABASE);
                    break node;
                }
                JoinAnswer::Elsewhere(leader) if !leader.is_empty() => address = leader,
                _ => tokio::task::yield_now().await,
            }
        };
        Member::start(&FaultyStorage::new(u64::from(uuid)), listener, facts, uuid, node).await
    }

    async fn start(
        disk: &FaultyStorage,
        listener: TcpListener,
        facts: MemberNode,
        uuid: u8,
        id: u16,
    ) -> Member {
        let slot = Arc::new(EngineSlot::open(location(disk), options(id)).unwrap());
        let local = Arc::new(PeerNode::new(identity(&facts.name, id, uuid), DATABASE, None));
        local.keeps_log_in(slot.clone());
        let desk = Arc::new(PeerDesk::new(local.clone(), location(disk)));
        let network = TcpNetwork::new(local.clone());
        let raft = Arc::new(RaftNode::start(id, slot, TIMES, network).await.unwrap());
        desk.takes_part(Some(raft.clone()));
        let listening = tokio::spawn(desk.clone().listen(listener));
        Member { local, desk, raft, facts, listening }
    }

    fn address(&self) -> SocketAddr {
        self.facts.peer.parse().unwrap()
    }

    fn engine(&self) -> Arc<Engine> {
        self.raft.engine()
    }

    fn id(&self) -> u16 {
        self.local.identity().node
    }

    /// It is gone at once, for all others.
    async fn vanish(self) {
        self.listening.abort();
        self.desk.takes_part(None);
        let _ = self.raft.stop().await;
        let _ = self.raft.engine().close();
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

async fn wait_until<T>(mut found: impl FnMut() -> Option<T>) -> T {
    let mut again = tokio::time::interval(Duration::from_millis(5));
    let look = async {
        loop {
            again.tick().await;
            if let Some(found) = found() {
                return found;
            }
        }
    };
    tokio::time::timeout(PATIENCE, look).await.expect("what was waited for did not come")
}

async fn leader(group: &[Member]) -> &Member {
    wait_until(|| group.iter().find(|member| member.raft.state().is_leading)).await
}

/// Writes with keys, wherever the leader is, until it is acknowledged.
async fn write(group: &[Member], number: u64) {
    loop {
        let engine = leader(group).await.engine();
        let request = event(number).with_key(format!("key-{number}"));
        match engine.apply_event(request).held_by(engine.clone()).await {
            Ok(_) => return,
            Err(error) => {
                let may_again = error.retryable() || error.reason() == Some("outcome_unknown");
                assert!(may_again, "{error:?}");
            }
        }
    }
}

/// Waits until all have the same, and says what.
async fn same(group: &[Member]) -> serde_json::Value {
    let tip = leader(group).await.engine().replication().tip();
    let mut all = Vec::new();
    for member in group {
        let reached = || (member.engine().replication().tip().committed >= tip.index).then_some(());
        wait_until(reached).await;
        let engine = member.engine();
        all.push(tokio::task::spawn_blocking(move || shown(&engine)).await.unwrap());
    }
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "{all:#?}");
    all.swap_remove(0)
}

/// All that want a vote have one.
async fn promoted(group: &[Member]) {
    loop {
        let first = leader(group).await;
        first.raft.promote_ready().await.unwrap();
        if first.raft.state().members.iter().filter(|member| member.is_voter).count() == group.len()
        {
            return;
        }
        first.raft.changed().await;
    }
}

async fn three() -> Vec<Member> {
    let first = Member::first("one", 1).await;
    let second = Member::join("two", 2, &first).await;
    let third = Member::join("three", 3, &second).await;
    let group = vec![first, second, third];
    promoted(&group).await;
    let engine = leader(&group).await.engine();
    tokio::task::spawn_blocking(move || sample::begin(&engine)).await.unwrap();
    group
}

async fn stop(group: Vec<Member>) {
    for member in group {
        member.vanish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_join_vote_and_go_on_when_the_leader_is_gone() {
    let mut group = three().await;
    let ids: Vec<u16> = group.iter().map(Member::id).collect();
    assert_eq!(ids, [1, 2, 3]);
    for number in 1..=20 {
        write(&group, number).await;
    }
    let first = leader(&group).await.id();
    let place = group.iter().position(|member| member.id() == first).unwrap();
    group.remove(place).vanish().await;
    for number in 21..=40 {
        write(&group, number).await;
    }
    // One that comes gets a number that nobody had, and the place of the one that is gone in one change.
    let fourth = Member::join("four", 4, &group[0]).await;
    assert_eq!(fourth.id(), 4);
    group.push(fourth);
    let caught_up = || {
        let leads = group.iter().find(|member| member.raft.state().is_leading)?;
        let state = leads.raft.state();
        state.member(4)?.behind.filter(|behind| *behind < 3).map(drop)
    };
    wait_until(caught_up).await;
    leader(&group).await.raft.remove(first, false).await.unwrap();
    let state = leader(&group).await.raft.state();
    let voters: Vec<u16> =
        state.members.iter().filter(|member| member.is_voter).map(|member| member.id).collect();
    assert_eq!(voters.len(), 3, "{state:?}");
    assert!(!voters.contains(&first) && voters.contains(&4), "{state:?}");
    let shown = same(&group).await;
    assert!(shown.to_string().contains("40"), "{shown}");
    stop(group).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_goes_over_when_it_is_asked_to() {
    let group = three().await;
    let first = leader(&group).await;
    let next = group.iter().find(|member| member.id() != first.id()).unwrap();
    first.raft.transfer(Some(next.id())).await.unwrap();
    wait_until(|| next.raft.state().is_leading.then_some(())).await;
    let refused = first.raft.transfer(None).await.unwrap_err();
    assert_eq!(refused.reason(), Some("not_leader"));
    assert_eq!(refused.context()["address"], next.facts.client);
    // A number of voters that stands no more failures has to be wanted.
    let even = next.raft.remove(first.id(), false).await.unwrap_err();
    assert!(even.message().contains("2 voters stand no more failures than 1"), "{even}");
    next.raft.remove(first.id(), true).await.unwrap();
    let unknown = next.raft.remove(first.id(), true).await.unwrap_err();
    assert!(unknown.message().contains("the group has no node"), "{unknown}");
    stop(group).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_late_begins_with_a_checkpoint() {
    let mut group = vec![Member::first("one", 1).await];
    let engine = leader(&group).await.engine();
    tokio::task::spawn_blocking(move || sample::begin(&engine)).await.unwrap();
    for number in 1..=30 {
        write(&group, number).await;
    }
    for number in 31..=33 {
        let engine = group[0].engine();
        let compact = move || engine.compact(CompactRequest::default()).wait().unwrap();
        tokio::task::spawn_blocking(compact).await.unwrap();
        group[0].raft.note_checkpoint().await.unwrap();
        write(&group, number).await;
    }
    let first_kept = || {
        let engine = group[0].engine();
        let _ = engine.compact(CompactRequest::default()).wait();
        Some(()).filter(|()| engine.replication().tip().first_kept > 20)
    };
    wait_until(first_kept).await;
    let second = Member::join("two", 2, &group[0]).await;
    group.push(second);
    let shown = same(&group).await;
    assert!(shown.to_string().contains("33"), "{shown}");
    let tip = group[1].engine().replication().tip();
    assert!(tip.first_kept > 20, "it got a checkpoint, not all of the log: {tip:?}");
    stop(group).await;
}

/// What comes back to these bytes, up to the end of the connection.
async fn answer(address: SocketAddr, bytes: &[u8]) -> Vec<Message> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The other side may end before all is sent.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut came = Vec::new();
    let _ = stream.read_to_end(&mut came).await;
    let mut decoder = rstmdb_cluster::peer::Decoder::default();
    let (mut rest, mut messages) = (came.as_slice(), Vec::new());
    while let Ok(Some(envelope)) = decoder.read(&mut rest) {
        messages.push(envelope.message);
    }
    messages
}

fn hello(node: u16, uuid: u8) -> Hello {
    Hello {
        levels: Levels::HERE,
        cluster: "shop".into(),
        database: DATABASE,
        node,
        uuid: [uuid; 16],
        name: "stranger".into(),
        release: "0.4.0".into(),
        epoch: 0,
        address: String::new(),
        writes_at: String::new(),
        tip: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_belong_is_told_why() {
    let group = three().await;
    let address = group[0].address();
    let foreign = Hello { cluster: "other".into(), ..hello(2, 2) };
    let stale = Hello { database: [1; 16], ..hello(2, 2) };
    let newer = rstmdb_cluster::peer::Range { from: 9, to: 9 };
    let later = Hello { levels: Levels { peer: newer, ..Levels::HERE }, ..hello(2, 2) };
    let cases = [
        (foreign, "belongs to the group \"shop\", stranger to \"other\""),
        (stale, "hold different databases"),
        (later, "understands messages of level 1 to 2, stranger those of level 9"),
        (
            hello(2, 77),
            "node 2 of the group is another one than stranger: its directory was replaced or wiped",
        ),
    ];
    for (said, expected) in cases {
        let came = answer(address, &Message::Hello(said).encode(0, 1)).await;
        let [Message::Refused(refusal)] = came.as_slice() else { panic!("{came:?}") };
        assert!(refusal.message.contains(expected), "{}", refusal.message);
    }
    // One that is too old for the group.
    let leads = leader(&group).await;
    leads.local.learn(BTreeMap::new(), 2);
    let old = rstmdb_cluster::peer::Range { from: 1, to: 1 };
    let old = Levels { effect: old, ..Levels::HERE };
    let other = group.iter().find(|member| member.id() != leads.id()).unwrap().id();
    let uuid = u8::try_from(other).unwrap();
    let old = Hello { levels: old, ..hello(other, uuid) };
    let came = answer(leads.address(), &Message::Hello(old).encode(0, 1)).await;
    let [Message::Refused(refusal)] = came.as_slice() else { panic!("{came:?}") };
    let expected = "the group works at level 2, and stranger knows levels 1 to 1";
    assert!(refusal.message.contains(expected), "{}", refusal.message);
    // A member may have acknowledged more since it began to say hello: that makes its directory no older copy.
    for number in 1..=10 {
        write(&group, number).await;
    }
    same(&group).await;
    let before = Hello { tip: Some(3), ..hello(other, uuid) };
    let came = answer(leads.address(), &Message::Hello(before).encode(0, 1)).await;
    assert!(matches!(came.as_slice(), [Message::Hello(_)]), "{came:?}");
    // A member of that very number and name is welcome.
    let came = answer(address, &Message::Hello(hello(2, 2)).encode(0, 1)).await;
    assert!(matches!(came.as_slice(), [Message::Hello(_)]), "{came:?}");
    // Where another node was, no new one comes by itself.
    let wiped = PeerNode::new(identity("two", 0, 88), [0; 16], None);
    let at = leader(&group).await.facts.peer.clone();
    let facts = MemberNode { uuid: "58".repeat(16), ..group[1].facts.clone() };
    let refused = ask_to_join(&wiped, &at, &facts).await.unwrap_err();
    let PeerError::Refused(refusal) = refused else { panic!("{refused}") };
    assert!(refusal.message.contains("rstmdb-cli cluster remove 2"), "{}", refusal.message);
    let members = leader(&group).await.raft.state().members;
    assert_eq!(members.len(), 3);
    // Who was removed is told so.
    let leads = leader(&group).await;
    let gone = group.iter().find(|member| member.id() != leads.id()).unwrap();
    leads.raft.remove(gone.id(), true).await.unwrap();
    let knows = || leads.raft.state().member(gone.id()).is_none().then_some(());
    wait_until(knows).await;
    let uuid = u8::try_from(gone.id()).unwrap();
    let removed = || async {
        answer(leads.address(), &Message::Hello(hello(gone.id(), uuid)).encode(0, 1)).await
    };
    let came = removed().await;
    let [Message::Refused(refusal)] = came.as_slice() else { panic!("{came:?}") };
    assert!(refusal.message.contains("was removed from the group"), "{}", refusal.message);
    stop(group).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_half_messages_and_floods_stop_nobody() {
    let group = three().await;
    let address = group[0].address();
    let whole = Message::Hello(hello(2, 2)).encode(0, 1);
    let twice: Vec<u8> = whole.repeat(2);
    let mut damaged = whole.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    // A message that only members may send, from one that belongs to no group.
    let question = Message::Succeeded(true).encode(0, 2);
    let stranger = [Message::Hello(hello(0, 99)).encode(0, 1), question].concat();
    let garbage: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0; 4096],
        vec![0xff; 1 << 20],
        whole[..whole.len() / 2].to_vec(),
        damaged,
        twice,
        stranger,
    ];
    let before = group[0].desk.counts().refused.load(Ordering::Relaxed);
    for bytes in &garbage {
        answer(address, bytes).await;
    }
    // The half of a message is none, and ends like the end of any connection.
    let refused = || group[0].desk.counts().refused.load(Ordering::Relaxed) - before;
    wait_until(|| (refused() >= garbage.len() as u64 - 1).then_some(())).await;
    // So many that say nothing take all places of strangers; members keep theirs, and the group goes on.
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let dropped = || (group[0].desk.counts().dropped.load(Ordering::Relaxed) > 100).then_some(());
    wait_until(dropped).await;
    for number in 1..=10 {
        write(&group, number).await;
    }
    drop(silent);
    same(&group).await;
    stop(group).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_moved_says_where_it_is() {
    let group = three().await;
    let leads = leader(&group).await;
    let moved = group.iter().find(|member| member.id() != leads.id()).unwrap();
    let facts = MemberNode { zone: "b".into(), client: "new:7401".into(), ..moved.facts.clone() };
    let answer = ask_to_join(&moved.local, &leads.facts.peer, &facts).await.unwrap();
    assert_eq!(answer, JoinAnswer::Member { node: moved.id(), database: DATABASE });
    for member in &group {
        let told = || {
            let state = member.raft.state();
            let known = state.member(moved.id())?.member.clone();
            (known.client == "new:7401" && known.zone == "b").then_some(())
        };
        wait_until(told).await;
    }
    let addresses: BTreeMap<u64, String> = BTreeMap::new();
    moved.local.learn(addresses, 0);
    stop(group).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_level_is_raised_when_all_know_it_and_goes_on_without_who_raised_it() {
    let mut group = three().await;
    let leads = leader(&group).await;
    assert_eq!(leads.raft.state().level, 2, "a group begins at the newest");
    let lacks = leads.raft.upgrade(Some(3)).await.unwrap_err();
    assert!(lacks.message().contains("node 1 (one) knows levels up to 2"), "{lacks}");
    let back = leads.raft.upgrade(Some(1)).await.unwrap_err();
    assert!(back.message().contains("there is no way back"), "{back}");
    assert_eq!(leads.raft.upgrade(None).await.unwrap(), 2);
    for member in group.iter().filter(|member| member.id() != leads.id()) {
        let refused = member.raft.upgrade(None).await.unwrap_err();
        assert_eq!(refused.reason(), Some("not_leader"));
    }
    for member in &group {
        let facts = MemberNode { levels: (1, 3), ..member.facts.clone() };
        ask_to_join(&member.local, &leads.facts.peer, &facts).await.unwrap();
    }
    assert_eq!(leads.raft.upgrade(None).await.unwrap(), 3);
    // The one that said so goes, and a node that is too old does not come in.
    let gone = leads.id();
    let place = group.iter().position(|member| member.id() == gone).unwrap();
    group.remove(place).vanish().await;
    leader(&group).await.raft.remove(gone, true).await.unwrap();
    let leads = leader(&group).await;
    let known = || leads.raft.state().member(gone).is_none().then(|| leads.raft.state().level);
    assert_eq!(wait_until(known).await, 3);
    let late = PeerNode::new(identity("late", 0, 9), [0; 16], None);
    let facts = facts("late", 9, "there:7403");
    let refused = ask_to_join(&late, &leads.facts.peer, &facts).await.unwrap_err();
    let PeerError::Refused(refusal) = refused else { panic!("it came in") };
    assert!(refusal.message.contains("bring late to a release that knows level 3"));
    stop(group).await;
}
