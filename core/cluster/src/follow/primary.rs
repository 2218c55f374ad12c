//! Writes that count when replicas have them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use rstmdb_engine::Engine;
use rstmdb_engine::replication::{LogFrame, Proposer, Standing};
use rstmdb_types::error::reason;
use rstmdb_types::{Error, Result};
use tokio::sync::{Notify, watch};

use super::source::Source;
use super::{epoch_of, on_thread};
use crate::peer::{PeerError, PeerRefusal};

/// Takes the writes of an engine that was opened as a node. What it writes is shown when so many replicas have it on
/// their disks.
pub struct Primary {
    engine: Arc<Engine>,
    source: Arc<Source>,
    node: u16,
    replicas: AtomicUsize,
    written: Arc<Written>,
    leads: watch::Sender<bool>,
}

/// What comes of requests, and what of it is on the disk.
#[derive(Default)]
struct Written {
    proposed: Mutex<VecDeque<LogFrame>>,
    synced: AtomicU64,
    failed: Mutex<Option<Error>>,
    /// One of them changed.
    changed: Notify,
}

impl Proposer for Written {
    fn propose(&self, frame: LogFrame) {
        self.proposed.lock().push_back(frame);
        self.changed.notify_one();
    }
}

impl std::fmt::Debug for Primary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Primary(node {}, {} replicas, {:?})",
            self.node,
            self.replicas.load(Ordering::Relaxed),
            self.engine
        )
    }
}

impl Primary {
    /// One whose engine is this node of the source's group; a change counts when so many replicas have it.
    pub fn new(engine: Arc<Engine>, source: Arc<Source>, node: u16, replicas: usize) -> Primary {
        let replicas = AtomicUsize::new(replicas);
        let (written, leads) = (Arc::default(), watch::Sender::default());
        Primary { engine, source, node, replicas, written, leads }
    }

    /// Whether it takes requests, and when that changes.
    pub fn leads(&self) -> watch::Receiver<bool> {
        self.leads.subscribe()
    }

    /// From now on a change counts when so many replicas have it.
    pub fn require(&self, replicas: usize) {
        self.replicas.store(replicas, Ordering::Release);
        self.written.changed.notify_one();
    }

    /// Leads until the engine fails or is closed; says why. An epoch begins, unless the last one was this node's own.
    /// What is in the log counts when enough replicas have it, and only then are requests taken.
    pub async fn run(&self) -> PeerError {
        let Err(error) = self.lead().await;
        self.leads.send_replace(false);
        self.engine.replication().follow(&error.to_string(), None);
        error
    }

    async fn lead(&self) -> std::result::Result<std::convert::Infallible, PeerError> {
        let term = self.begin().await?;
        loop {
            self.pass_on(term).await?;
            if !matches!(self.engine.replication().standing(), Standing::Leading { .. }) {
                let what = "another node's frames came, or the database was closed";
                return Err(PeerError::Refusing(PeerRefusal::new(reason::NOT_LEADER, what)));
            }
            let tip = self.engine.replication().tip();
            let counts = self.counts();
            if counts > tip.committed {
                self.commit(counts).await?;
            }
            tokio::select! {
                () = self.written.changed.notified() => {}
                () = self.source.acknowledgement() => {}
            }
        }
    }

    /// Commits all of the log under a term of this node, and leads in it.
    async fn begin(&self) -> std::result::Result<u64, PeerError> {
        let replication = self.engine.replication();
        let (tip, known) = (replication.tip(), epoch_of(&self.engine));
        let is_own = tip.term == known && tip.term & 0xffff == u64::from(self.node);
        let (term, frame) = if is_own {
            (tip.term, LogFrame::blank(tip.index + 1, tip.term))
        } else {
            let term = ((known >> 16) + 1) << 16 | u64::from(self.node);
            (term, replication.epoch_frame(term))
        };
        if term > known {
            let engine = self.engine.clone();
            on_thread(move || Ok(engine.replication().save_epoch(term)?)).await?;
        }
        self.append(vec![frame]).await?;
        loop {
            self.commit(self.counts()).await?;
            let tip = replication.tip();
            if tip.committed == tip.index {
                break;
            }
            tokio::select! {
                () = self.written.changed.notified() => {}
                () = self.source.acknowledgement() => {}
            }
        }
        replication.lead(term, 1, self.written.clone())?;
        self.leads.send_replace(true);
        Ok(term)
    }

    /// The last frame that is on enough disks, this one's among them.
    fn counts(&self) -> u64 {
        self.source
            .acknowledged(self.replicas.load(Ordering::Acquire))
            .min(self.written.synced.load(Ordering::Acquire))
    }

    async fn commit(&self, index: u64) -> std::result::Result<(), PeerError> {
        let engine = self.engine.clone();
        on_thread(move || Ok(engine.replication().commit(index).map(drop)?)).await
    }

    /// Puts what was proposed into the log, where it ends.
    async fn pass_on(&self, term: u64) -> std::result::Result<(), PeerError> {
        if let Some(error) = self.written.failed.lock().take() {
            return Err(PeerError::Engine(error));
        }
        let frames: Vec<_> = self.written.proposed.lock().drain(..).collect();
        if frames.is_empty() {
            return Ok(());
        }
        let next = self.engine.replication().tip().index + 1;
        let frames = (next..).zip(frames).map(|(index, frame)| frame.placed(index, term));
        self.append(frames.collect()).await
    }

    async fn append(&self, frames: Vec<LogFrame>) -> std::result::Result<(), PeerError> {
        let Some(last) = frames.last().map(LogFrame::index) else { return Ok(()) };
        let (engine, written) = (self.engine.clone(), self.written.clone());
        on_thread(move || {
            let told = move |result: Result<()>| {
                match result {
                    Ok(()) => drop(written.synced.fetch_max(last, Ordering::AcqRel)),
                    Err(error) => *written.failed.lock() = Some(error),
                }
                written.changed.notify_one();
            };
            engine.replication().append(frames, told);
            Ok(())
        })
        .await?;
        self.source.appended(last);
        Ok(())
    }
}
