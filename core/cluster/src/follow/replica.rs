//! The side that follows.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rstmdb_engine::guards::{self, Safeguard};
use rstmdb_engine::replication::LogFrame;
use rstmdb_engine::{Engine, Location, Options};
use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Offset};
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use super::compare::named_between;
use super::keeper::{EngineSeat, Keeper};
use super::lag::Lag;
use super::transfer::Transfer;
use super::{NodeIdentity, Pace, epoch_of, on_thread, unexpected};
use crate::peer::{
    Ack, Decoder, FollowFrom, FrameName, Frames, Heartbeat, Hello, Message, Offer, PeerError,
    PeerReader, PeerRefusal, PeerWriter,
};

/// Rounds of questions until it is clear where to go on.
const ROUNDS_MAX: usize = 64;
/// Messages with frames that wait for a checkpoint to be laid into its place.
const WAITING_MAX: usize = 4;

/// What a replica is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stage {
    /// It has no connection.
    #[default]
    Connecting,
    /// It finds out where to go on.
    Comparing,
    /// A checkpoint comes, or is laid into the directory.
    Installing,
    /// It gets frames as they come.
    Streaming,
}

/// How a replica fares.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// What it is doing.
    pub stage: Stage,
    /// What the source is called; empty before the first connection.
    pub source: String,
    /// Its number.
    pub source_node: u16,
    /// Why the last connection ended; nothing while all is well.
    pub error: Option<String>,
    /// The last change that readers see here.
    pub applied: Offset,
    /// The last change that is known to be committed at the source.
    pub committed: Offset,
    /// Changes that readers had seen and that were given up, since the source goes on otherwise.
    pub given_up: u64,
    /// Checkpoints that were laid into the directory.
    pub installed: u64,
}

/// How it stands with a wish to take the writes over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum TakeOver {
    /// Nobody wants to.
    #[default]
    Unwanted,
    /// The source is to be asked.
    Wanted,
    /// The source takes no more writes, and all that it has is here.
    Done,
    /// The source goes on.
    Refused(String),
}

/// A database that follows another one.
pub struct Replica {
    identity: NodeIdentity,
    pace: Pace,
    /// Where clients reach the source.
    upstream: String,
    keeper: Arc<Keeper>,
    lag: Mutex<Lag>,
    status: watch::Sender<Status>,
    take_over: watch::Sender<TakeOver>,
    /// Where the source ended when it handed over: that holds if the connection is cut, for it writes no more.
    goal: Mutex<Option<u64>>,
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Replica({}, {:?})", self.identity.name, self.status.borrow())
    }
}

/// One connection.
struct Session<'a, S> {
    replica: &'a Replica,
    incoming: PeerReader<ReadHalf<S>>,
    outgoing: PeerWriter<WriteHalf<S>>,
    theirs: Hello,
}

/// What is to be told to the source.
#[derive(Debug, Default)]
struct Progress {
    ack: Ack,
    failed: Option<Error>,
}

impl Replica {
    /// One of this directory. The options say which node it is; `upstream` is where those who want to write are sent.
    pub fn new(
        identity: NodeIdentity,
        pace: Pace,
        upstream: &str,
        location: Location,
        options: Options,
        seat: Arc<dyn EngineSeat>,
    ) -> Replica {
        let keeper = Arc::new(Keeper::new(location, options, seat));
        let (lag, status) = (Mutex::default(), watch::Sender::default());
        let (take_over, goal) = (watch::Sender::default(), Mutex::default());
        let upstream = upstream.to_owned();
        Replica { identity, pace, upstream, keeper, lag, status, take_over, goal }
    }

    /// How it fares, and when that changes.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Changes that are not applied here, and the age of the oldest by this process's own clock; or how long nothing
    /// was heard. No age: nothing was ever heard.
    pub fn lag(&self) -> (u64, Option<Duration>) {
        let mut lag = self.lag.lock();
        // A connection may end before it is noted what became of its last frames.
        if let Some(engine) = self.keeper.engine() {
            lag.applied(engine.replication().tip().committed_offset);
        }
        (lag.offsets(), lag.age(Instant::now()))
    }

    /// The engine, while there is one.
    pub fn engine(&self) -> Option<Arc<Engine>> {
        self.keeper.engine()
    }

    /// Opens what is in the directory, so that it is known at once whether that can be done; nothing where there is no
    /// database yet.
    pub async fn open(&self) -> rstmdb_types::Result<()> {
        let keeper = self.keeper.clone();
        Ok(on_thread(move || Ok(keeper.open_if_there().map(drop)?)).await?)
    }

    /// Closes the engine. Nothing may be following then.
    pub fn close(&self) -> rstmdb_types::Result<()> {
        self.keeper.close()
    }

    /// Asks the source to take no more writes, and waits until all that it has is here. While it follows. Whoever goes on to
    /// lead ends that first.
    pub async fn take_over(&self, patience: Duration) -> rstmdb_types::Result<()> {
        let failed = |what: String| Err(Error::new(ErrorCode::ReplicationError, what));
        if self.status.borrow().stage != Stage::Streaming {
            return failed("it has no connection to the node that it follows".to_owned());
        }
        let mut answer = self.take_over.subscribe();
        *self.goal.lock() = None;
        self.take_over.send_replace(TakeOver::Wanted);
        let decided = |now: &TakeOver| matches!(now, TakeOver::Done | TakeOver::Refused(_));
        let decided = tokio::time::timeout(patience, answer.wait_for(decided)).await;
        let decided = decided.map(|decided| decided.map(|now| now.clone()));
        match decided {
            Ok(Ok(TakeOver::Done)) => Ok(()),
            Ok(Ok(TakeOver::Refused(why))) => {
                self.take_over.send_replace(TakeOver::Unwanted);
                failed(why)
            }
            _ => {
                self.take_over.send_replace(TakeOver::Unwanted);
                failed(format!(
                    "the node that it follows did not hand over within {} ms",
                    patience.as_millis()
                ))
            }
        }
    }

    /// Follows until that can't go on without somebody's help; says why. To end it earlier, drop the future.
    pub async fn run<S, C, F>(&self, mut connect: C) -> PeerError
    where
        S: AsyncRead + AsyncWrite + Unpin,
        C: FnMut() -> F,
        F: Future<Output = Result<S, PeerError>>,
    {
        if let Err(error) = self.open().await {
            return error.into();
        }
        let mut wait = self.pace.retry_min;
        loop {
            let error = match connect().await {
                Ok(stream) => self.follow(stream).await,
                Err(error) => error,
            };
            let was_good = self.status.borrow().stage == Stage::Streaming;
            self.status.send_modify(|status| {
                status.stage = Stage::Connecting;
                status.error = Some(error.to_string());
            });
            if error.is_final() {
                tracing::error!("{} follows no longer: {error}", self.identity.name);
                return error;
            }
            tracing::warn!("{} connects again, since {error}", self.identity.name);
            if was_good {
                wait = self.pace.retry_min;
            }
            sleep(self.jittered(wait)).await;
            wait = (wait * 2).min(self.pace.retry_max);
        }
    }

    /// Between half of it and all, so that replicas of one source do not come all at once.
    fn jittered(&self, wait: Duration) -> Duration {
        let part = self.keeper.location.entropy.next_u64() % 512;
        wait / 2 + wait * part as u32 / 1024
    }

    /// Follows over one connection until it ends; always ends with the reason.
    pub async fn follow<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> PeerError {
        let (reading, writing) = tokio::io::split(stream);
        let mut incoming = PeerReader::new(reading, Decoder::default());
        let mut outgoing = PeerWriter::new(writing);
        let theirs = match self.greet(&mut incoming, &mut outgoing).await {
            Ok(theirs) => theirs,
            Err(error) => return self.part(outgoing, error).await,
        };
        let mut session = Session { replica: self, incoming, outgoing, theirs };
        let Err(error) = session.run().await;
        self.part(session.outgoing, error).await
    }

    async fn part<W: AsyncWrite + Unpin>(
        &self,
        mut outgoing: PeerWriter<W>,
        error: PeerError,
    ) -> PeerError {
        if let Some(refusal) = error.refusal() {
            // It may be gone.
            let _ = outgoing.send_within(&Message::Refused(refusal), self.pace.silence).await;
        }
        error
    }

    async fn greet<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
        &self,
        incoming: &mut PeerReader<R>,
        outgoing: &mut PeerWriter<W>,
    ) -> Result<Hello, PeerError> {
        let mine = self.identity.hello(self.keeper.engine().as_deref());
        outgoing.send_within(&Message::Hello(mine.clone()), self.pace.silence).await?;
        let theirs = match incoming.next_within(self.pace.silence).await? {
            Message::Hello(hello) => hello,
            Message::Refused(refusal) => return Err(PeerError::Refused(refusal)),
            other => return Err(unexpected(other.kind(), "a hello")),
        };
        if let Some(refusal) = mine.refuses(&theirs) {
            return Err(PeerError::Refusing(refusal));
        }
        self.status.send_modify(|status| {
            status.stage = Stage::Comparing;
            status.source = theirs.name.clone();
            status.source_node = theirs.node;
        });
        Ok(theirs)
    }

    /// What of the log is here and shown.
    fn applied(&self, engine: &Engine) -> Ack {
        let tip = engine.replication().tip();
        self.lag.lock().applied(tip.committed_offset);
        self.status.send_modify(|status| status.applied = tip.committed_offset);
        Ack { synced: tip.synced, applied: tip.committed, applied_offset: tip.committed_offset }
    }

    fn heard(&self, mark: &Heartbeat) {
        self.lag.lock().heard(Instant::now(), mark.committed_offset);
        self.status.send_if_modified(|status| {
            let is_new = status.committed != mark.committed_offset || status.error.is_some();
            status.committed = mark.committed_offset;
            status.error = None;
            is_new
        });
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<'_, S> {
    async fn run(&mut self) -> Result<std::convert::Infallible, PeerError> {
        let mut wanted = None;
        for _ in 0..ROUNDS_MAX {
            let engine = self.engine().await?;
            let (offset, known) = self.named(&engine, wanted.take()).await?;
            self.send(Message::Follow(FollowFrom { offset, known })).await?;
            match self.next().await? {
                Message::Continue { from } => return self.stream(engine, from).await,
                Message::Compare { low, high } => wanted = Some((low, high)),
                Message::Cut { index, offset } => self.cut(engine, index, offset).await?,
                Message::Offer(offer) => {
                    drop(engine);
                    self.install(offer).await?;
                }
                other => return Err(unexpected(other.kind(), "where to go on")),
            }
        }
        let what = format!("{} questions did not lead to where to go on", ROUNDS_MAX);
        Err(PeerError::Refusing(PeerRefusal::for_now(reason::LOG_MISMATCH, what)))
    }

    async fn send(&mut self, message: Message) -> Result<(), PeerError> {
        self.outgoing.send_within(&message, self.replica.pace.silence).await
    }

    async fn next(&mut self) -> Result<Message, PeerError> {
        match self.incoming.next_within(self.replica.pace.silence).await? {
            Message::Refused(refusal) => Err(PeerError::Refused(refusal)),
            message => Ok(message),
        }
    }

    /// The engine, once it knows what epoch this is and who takes the writes.
    async fn engine(&self) -> Result<Arc<Engine>, PeerError> {
        let (keeper, theirs) = (self.replica.keeper.clone(), self.theirs.clone());
        let upstream = match theirs.writes_at.as_str() {
            "" => self.replica.upstream.clone(),
            address => address.to_owned(),
        };
        let engine = on_thread(move || {
            let engine = keeper.ensure(theirs.database)?;
            keeper.point_to(&engine, theirs.node, &upstream);
            keep_epoch(&engine, theirs.epoch)?;
            Ok(engine)
        });
        let engine = engine.await?;
        self.replica.applied(&engine);
        Ok(engine)
    }

    /// The end of the log, or frames of it between two.
    async fn named(
        &self,
        engine: &Arc<Engine>,
        wanted: Option<(u64, u64)>,
    ) -> Result<(Offset, Vec<FrameName>), PeerError> {
        let tip = engine.replication().tip();
        let Some((low, high)) = wanted else {
            return Ok((
                tip.offset,
                vec![FrameName { index: tip.index, term: tip.term, chain: tip.chain }],
            ));
        };
        let engine = engine.clone();
        let known = on_thread(move || Ok(named_between(engine.replication(), low, high)?)).await?;
        if known.is_empty() {
            let what = format!(
                "this log parts from the source's before frame {high}, and neither has what is needed to go back so far: \
                 move this directory away and begin with an empty one"
            );
            return Err(PeerError::Refusing(PeerRefusal::new(reason::HISTORY_DIVERGED, what)));
        }
        Ok((tip.offset, known))
    }

    /// What is behind a frame goes, after a promotion that can be seen.
    async fn cut(
        &mut self,
        engine: Arc<Engine>,
        index: u64,
        offset: Offset,
    ) -> Result<(), PeerError> {
        let tip = engine.replication().tip();
        if index >= tip.index {
            return Err(unexpected(
                crate::peer::MessageKind::Cut,
                "a frame before the end of the log",
            ));
        }
        if index < tip.committed && self.theirs.epoch <= tip.term {
            let what = format!(
                "{} lacks what is here behind offset {offset}, and nobody was promoted since: it may still come to it",
                self.theirs.name
            );
            return Err(PeerError::Refusing(PeerRefusal::for_now(reason::HISTORY_DIVERGED, what)));
        }
        let keeper = self.replica.keeper.clone();
        let given_up = on_thread(move || Ok(keeper.cut(&engine, index, offset)?)).await?;
        self.replica.status.send_modify(|status| status.given_up += given_up.changes);
        if let Some(engine) = self.replica.engine() {
            self.replica.lag.lock().begin(engine.replication().tip().committed_offset);
        }
        Ok(())
    }

    /// Fetches a checkpoint, and the frames that it is of no use without, and lays them into the directory.
    async fn install(&mut self, offer: Offer) -> Result<(), PeerError> {
        let replica = self.replica;
        replica.status.send_modify(|status| status.stage = Stage::Installing);
        let location = replica.keeper.location.clone();
        let mut transfer = on_thread(move || Ok(Transfer::begin(&location, offer)?)).await?;
        self.send(Message::Fetch { position: transfer.position() }).await?;
        loop {
            let chunk = match self.next().await? {
                Message::Chunk(chunk) => chunk,
                other => return Err(unexpected(other.kind(), "a part of the checkpoint")),
            };
            let taken = on_thread(move || transfer.take(&chunk).map(|is_last| (transfer, is_last)));
            let (came, is_last) = taken.await?;
            transfer = came;
            if is_last {
                break;
            }
        }
        let (frames, mut waiting) = mpsc::channel(WAITING_MAX);
        let keeper = replica.keeper.clone();
        let installing = on_thread(move || {
            let coming = std::iter::from_fn(|| waiting.blocking_recv());
            let read = |buffer: &mut [u8], position| transfer.read(buffer, position);
            let installed = keeper.replace(|location, options| {
                Engine::install(location, options, &offer.at, read, coming)
            });
            transfer.end();
            Ok(installed?)
        });
        // Frames come while it is read; what ends one ends the other.
        let (installed, fed) = tokio::join!(installing, self.feed(offer, frames));
        installed.and(fed)?;
        replica.status.send_modify(|status| {
            status.stage = Stage::Comparing;
            status.installed += 1;
        });
        if let Some(engine) = replica.engine() {
            replica.lag.lock().begin(engine.replication().tip().committed_offset);
        }
        Ok(())
    }

    async fn feed(
        &mut self,
        offer: Offer,
        frames: mpsc::Sender<rstmdb_types::Result<LogFrame>>,
    ) -> Result<(), PeerError> {
        let mut next = offer.at.index + 1;
        while next <= offer.at.until {
            let came = match self.next().await {
                Ok(Message::Frames(came)) => came.frames,
                Ok(other) => {
                    return Err(unexpected(other.kind(), "frames that go with the checkpoint"));
                }
                Err(error) => return Err(error),
            };
            for frame in came {
                next = frame.index() + 1;
                if frames.send(Ok(frame)).await.is_err() {
                    // Why is told where it failed.
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn stream(
        &mut self,
        engine: Arc<Engine>,
        from: u64,
    ) -> Result<std::convert::Infallible, PeerError> {
        let replica = self.replica;
        if from != engine.replication().tip().index + 1 {
            return Err(unexpected(crate::peer::MessageKind::Continue, "the end of this log"));
        }
        replica.status.send_modify(|status| status.stage = Stage::Streaming);
        let begun = Progress { ack: replica.applied(&engine), failed: None };
        let progress = Arc::new(watch::Sender::new(begun));
        let mut seen = progress.subscribe();
        seen.mark_changed();
        let (incoming, outgoing) = (&mut self.incoming, &mut self.outgoing);
        // Both ways at once: neither side waits for the other to read before it reads itself.
        let frames = async {
            loop {
                let committed = engine.replication().tip().committed;
                let is_there = replica.goal.lock().take_if(|goal| committed >= *goal).is_some();
                if is_there && *replica.take_over.borrow() == TakeOver::Wanted {
                    replica.take_over.send_replace(TakeOver::Done);
                }
                let (mark, frames) = match incoming.next_within(replica.pace.silence).await? {
                    Message::Frames(Frames { mark, frames }) => (mark, frames),
                    Message::Heartbeat(mark) => (mark, Vec::new()),
                    Message::Yielded { index: 0, why } => {
                        replica.take_over.send_replace(TakeOver::Refused(why));
                        continue;
                    }
                    Message::Yielded { index, .. } => {
                        *replica.goal.lock() = Some(index);
                        continue;
                    }
                    Message::Refused(refusal) => return Err(PeerError::Refused(refusal)),
                    other => return Err(unexpected(other.kind(), "frames")),
                };
                replica.heard(&mark);
                let (here, told) = (engine.clone(), progress.clone());
                on_thread(move || apply(&here, &mark, frames, &told)).await?;
                let ack = replica.applied(&engine);
                progress.send_modify(|progress| {
                    progress.ack.applied = ack.applied;
                    progress.ack.applied_offset = ack.applied_offset;
                });
            }
        };
        let mut wanted = replica.take_over.subscribe();
        // A connection before this one may have been cut before the answer came.
        wanted.mark_changed();
        let acknowledgements = async {
            loop {
                // The senders are here: they do not end.
                tokio::select! {
                    _ = seen.changed() => {}
                    _ = wanted.changed() => {
                        let is_wanted = *wanted.borrow_and_update() == TakeOver::Wanted;
                        if is_wanted {
                            let message = Message::TakeOver;
                            outgoing.send_within(&message, replica.pace.silence).await?;
                        }
                        continue;
                    }
                }
                let ack = {
                    let progress = seen.borrow_and_update();
                    if let Some(error) = &progress.failed {
                        return Err(PeerError::Engine(error.clone()));
                    }
                    progress.ack
                };
                outgoing.send_within(&Message::Ack(ack), replica.pace.silence).await?;
            }
        };
        tokio::select! {
            ended = frames => ended,
            ended = acknowledgements => ended,
        }
    }
}

/// Who is of the past is not followed.
fn keep_epoch(engine: &Engine, epoch: u64) -> Result<(), PeerError> {
    let known = epoch_of(engine);
    if epoch < known && guards::enabled(Safeguard::Fencing) {
        let what = format!(
            "the source is of epoch {epoch}, and epoch {known} has begun: somebody else was promoted"
        );
        return Err(PeerError::Refusing(PeerRefusal::for_now(reason::HISTORY_DIVERGED, what)));
    }
    if epoch > engine.replication().highest_epoch() {
        engine.replication().save_epoch(epoch)?;
    }
    Ok(())
}

/// Puts frames into the log, and shows what is committed. That they are on the disk is told to `progress` later.
fn apply(
    engine: &Engine,
    mark: &Heartbeat,
    frames: Vec<LogFrame>,
    progress: &Arc<watch::Sender<Progress>>,
) -> Result<(), PeerError> {
    keep_epoch(engine, mark.epoch)?;
    let replication = engine.replication();
    if let Some(last) = frames.last().map(LogFrame::index) {
        let teller = progress.clone();
        replication.append(frames, move |synced| {
            teller.send_modify(|progress| match synced {
                Ok(()) => progress.ack.synced = progress.ack.synced.max(last),
                Err(error) => progress.failed = Some(error),
            });
        });
    }
    replication.commit(mark.committed)?;
    Ok(())
}
