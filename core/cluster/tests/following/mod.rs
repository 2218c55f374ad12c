//! Databases that follow another one, in one process, over connections in memory.
#![allow(dead_code)]

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rstmdb_cluster::follow::{EngineSeat, NodeIdentity, Pace, Primary, Replica, Source};
use rstmdb_cluster::peer::PeerError;
use rstmdb_engine::FsyncPolicy::EveryWrite;
use rstmdb_engine::replication::Standing;
use rstmdb_engine::{Engine, NodeKind, Options};
use rstmdb_testkit::cluster::pair::{as_node, shown};
use rstmdb_testkit::faulty::FaultyStorage;
use rstmdb_testkit::sample::{apply, begin, location, options};
use tokio::io::{AsyncReadExt, DuplexStream, duplex};

pub fn block_on<F: Future>(test: F) -> F::Output {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(test)
}

pub fn pace() -> Pace {
    Pace {
        heartbeat: Duration::from_millis(20),
        message_bytes: 700,
        window_bytes: 3000,
        retry_min: Duration::from_millis(2),
        retry_max: Duration::from_millis(20),
        ..Pace::default()
    }
}

pub fn identity(node: u16) -> NodeIdentity {
    NodeIdentity {
        cluster: "shop".into(),
        node,
        uuid: [node as u8; 16],
        name: format!("node-{node}"),
        address: String::new(),
    }
}

/// What a replica was last told to answer with.
#[derive(Default)]
pub struct Answers(pub Mutex<Option<Arc<Engine>>>);

impl EngineSeat for Answers {
    fn occupy(&self, engine: &Arc<Engine>) {
        assert!(self.0.lock().replace(engine.clone()).is_none(), "another one is there");
    }

    fn vacate(&self) {
        assert!(self.0.lock().take().is_some());
    }
}

/// Who can be followed, while its engine is open.
pub struct Upstream {
    pub source: Arc<Source>,
    pub engine: Mutex<Option<Arc<Engine>>>,
    /// After so many bytes a connection is cut; 0: never.
    pub bytes_max: AtomicU64,
    pub connections: AtomicU64,
}

impl Upstream {
    pub fn of(source: Source, engine: Option<Arc<Engine>>) -> Arc<Upstream> {
        let (bytes_max, connections) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Upstream {
            source: Arc::new(source),
            engine: Mutex::new(engine),
            bytes_max,
            connections,
        })
    }

    pub fn alone(engine: Engine) -> Arc<Upstream> {
        Upstream::of(Source::new(identity(0), pace()), Some(Arc::new(engine)))
    }

    pub fn engine(&self) -> Arc<Engine> {
        self.engine.lock().clone().unwrap()
    }

    pub fn close(&self) {
        let engine = self.engine.lock().take().unwrap();
        engine.close().unwrap();
    }

    /// A connection to it.
    pub fn connect(self: &Arc<Self>) -> Result<DuplexStream, PeerError> {
        let Some(engine) = self.engine.lock().clone() else {
            return Err(PeerError::Io(std::io::ErrorKind::ConnectionRefused.into()));
        };
        self.connections.fetch_add(1, Ordering::SeqCst);
        let (here, there) = duplex(512);
        let source = self.source.clone();
        tokio::spawn(async move { source.serve(&engine, there).await });
        Ok(match self.bytes_max.load(Ordering::SeqCst) {
            0 => here,
            bytes_max => cut_after(here, bytes_max),
        })
    }
}

/// Passes bytes on, and ends after so many came from there.
pub fn cut_after(there: DuplexStream, bytes: u64) -> DuplexStream {
    let (here, between) = duplex(512);
    tokio::spawn(async move {
        let (read_there, mut write_there) = tokio::io::split(there);
        let (mut read_here, mut write_here) = tokio::io::split(between);
        let mut limited = read_there.take(bytes);
        tokio::select! {
            _ = tokio::io::copy(&mut limited, &mut write_here) => {}
            _ = tokio::io::copy(&mut read_here, &mut write_there) => {}
        }
    });
    here
}

pub fn replica(disk: &FaultyStorage, node: u16) -> (Arc<Replica>, Arc<Answers>) {
    replica_with(disk, node, as_node(NodeKind::Replica, node, None))
}

pub fn replica_with(
    disk: &FaultyStorage,
    node: u16,
    options: Options,
) -> (Arc<Replica>, Arc<Answers>) {
    let seat = Arc::<Answers>::default();
    let replica =
        Replica::new(identity(node), pace(), "there:7401", location(disk), options, seat.clone());
    (Arc::new(replica), seat)
}

/// Follows in the background.
pub fn start(
    replica: &Arc<Replica>,
    upstream: &Arc<Upstream>,
) -> tokio::task::JoinHandle<PeerError> {
    let (replica, upstream) = (replica.clone(), upstream.clone());
    tokio::spawn(async move { replica.run(|| std::future::ready(upstream.connect())).await })
}

pub async fn stop(running: tokio::task::JoinHandle<PeerError>) {
    running.abort();
    let _ = running.await;
}

/// Waits until a replica shows all that its source shows, and compares.
pub async fn equal(replica: &Replica, upstream: &Upstream) {
    let source = upstream.engine();
    let tip = source.replication().tip();
    replica.status().wait_for(|status| status.applied >= tip.committed_offset).await.unwrap();
    let here = replica.engine().unwrap();
    assert_eq!(shown(&here), shown(&source));
    let find = |engine: &Engine| {
        let tip = engine.replication().tip();
        (tip.committed_offset, tip.chain)
    };
    assert_eq!(find(&here), find(&source));
}

/// A node that takes writes which count when so many replicas have them.
pub fn primary(
    engine: Arc<Engine>,
    node: u16,
    replicas: usize,
) -> (Arc<Upstream>, tokio::task::JoinHandle<PeerError>) {
    let upstream = Upstream::of(Source::ahead(identity(node), pace()), Some(engine.clone()));
    let primary = Primary::new(engine, upstream.source.clone(), node, replicas);
    (upstream, tokio::spawn(async move { primary.run().await }))
}

pub async fn leads(engine: &Engine) {
    while !matches!(engine.replication().standing(), Standing::Leading { .. }) {
        tokio::task::yield_now().await;
    }
}

pub fn open(disk: &FaultyStorage) -> Engine {
    Engine::open(location(disk), options(EveryWrite)).unwrap()
}

/// Who heard of a promotion does not follow the one that took the writes before.
pub fn nobody_follows_who_is_of_the_past() {
    block_on(async {
        let disks = [1, 2].map(FaultyStorage::new);
        let engine = open(&disks[0]);
        begin(&engine);
        let old = Upstream::alone(engine);
        let (copy, _seat) = replica(&disks[1], 2);
        let running = start(&copy, &old);
        equal(&copy, &old).await;
        stop(running).await;
        // Another one was promoted, and has told so.
        copy.engine().unwrap().replication().save_epoch(7 << 16 | 3).unwrap();
        apply(&old.engine(), 1).unwrap();
        tokio::select! {
            refused = copy.follow(old.connect().unwrap()) => {
                assert!(refused.to_string().contains("follow the node that was promoted"), "{refused}");
            }
            () = follows(&copy, &old) => panic!("what nobody else has is applied"),
        }
    });
}

/// Waits until a replica has all that a source has.
async fn follows(replica: &Replica, upstream: &Upstream) {
    let last = upstream.engine().replication().tip().committed_offset;
    replica.status().wait_for(|status| status.applied >= last).await.unwrap();
}
