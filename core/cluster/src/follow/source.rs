//! The side that has the log.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rstmdb_engine::Engine;
use rstmdb_engine::guards::{self, Safeguard};
use rstmdb_engine::replication::{CheckpointFile, LogFrame, Replication};
use rstmdb_types::error::reason;
use rstmdb_types::{CompactRequest, Error, ErrorCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::compare::{Parting, compare};
use super::{NodeIdentity, Pace, epoch_of, on_thread, unexpected};
use crate::peer::{
    Ack, Chunk, Decoder, FollowFrom, Frames, Heartbeat, Message, Offer, PIECE_BYTES_MAX, PeerError,
    PeerReader, PeerRefusal, PeerWriter,
};

/// Replicas send small messages only.
const MESSAGE_BYTES_MAX: u64 = 64 << 10;

/// A replica that is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follower {
    /// What it is called.
    pub name: String,
    /// Its number.
    pub node: u16,
    /// Where clients reach it; empty: that is not known.
    pub address: String,
    /// What it has; nothing yet while it begins.
    pub ack: Ack,
    /// Whether it gets frames: it has all that was there when it connected, or is about to.
    pub is_streaming: bool,
}

/// Another node was promoted, as somebody who connected says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overtaken {
    /// The epoch that began.
    pub epoch: u64,
    /// Where writes are taken then; empty: that was not said.
    pub writes_at: String,
}

/// A replica that wants to take the writes over.
#[derive(Debug)]
pub struct Heir {
    /// Its number.
    pub node: u16,
    /// What it is called.
    pub name: String,
    /// Where clients reach it.
    pub address: String,
    /// Takes the last frame that was written here, or why this node goes on.
    pub answer: oneshot::Sender<std::result::Result<u64, String>>,
}

/// Serves replicas.
#[derive(Debug)]
pub struct Source {
    identity: NodeIdentity,
    pace: Pace,
    /// Frames are passed on before they are committed: what replicas have decides about that.
    is_ahead: bool,
    followers: Mutex<BTreeMap<u64, Follower>>,
    next: AtomicU64,
    /// A replica acknowledged something.
    acknowledged: Notify,
    /// The last frame that was appended by who leads.
    appended: watch::Sender<u64>,
    /// Who was heard of a later epoch than this log knows.
    overtaken: watch::Sender<Option<Overtaken>>,
    /// Takes those who want to take the writes over, where that can be done.
    heirs: Mutex<Option<mpsc::Sender<Heir>>>,
    /// Changes that were sent.
    sent: AtomicU64,
    /// Something of the followers changed.
    changed: watch::Sender<()>,
}

type Reading<S> = PeerReader<tokio::io::ReadHalf<S>>;
type Writing<S> = PeerWriter<tokio::io::WriteHalf<S>>;

impl Source {
    /// One that passes on what is committed.
    pub fn new(identity: NodeIdentity, pace: Pace) -> Source {
        Source {
            identity,
            pace,
            is_ahead: false,
            followers: Mutex::default(),
            next: AtomicU64::new(1),
            acknowledged: Notify::new(),
            appended: watch::Sender::new(0),
            overtaken: watch::Sender::default(),
            heirs: Mutex::default(),
            sent: AtomicU64::new(0),
            changed: watch::Sender::default(),
        }
    }

    /// One that passes on what is in the log, so that replicas can decide about it: for a [`Primary`](super::Primary).
    pub fn ahead(identity: NodeIdentity, pace: Pace) -> Source {
        Source { is_ahead: true, ..Source::new(identity, pace) }
    }

    /// The replicas that are connected now.
    pub fn followers(&self) -> Vec<Follower> {
        self.followers.lock().values().cloned().collect()
    }

    /// Those that want to take the writes over, from now on. Until this is asked for, and when what it gave is gone, they are
    /// told that it can't be done.
    pub fn heirs(&self) -> mpsc::Receiver<Heir> {
        let (sender, receiver) = mpsc::channel(1);
        *self.heirs.lock() = Some(sender);
        receiver
    }

    /// What comes of the wish of a replica to take over.
    fn ask_heir(&self, number: u64) -> oneshot::Receiver<std::result::Result<u64, String>> {
        let (answer, answered) = oneshot::channel();
        let follower = self.followers.lock().get(&number).cloned();
        let heirs = self.heirs.lock().clone();
        if let (Some(Follower { node, name, address, .. }), Some(heirs)) = (follower, heirs) {
            // One that finds no place is answered by being dropped.
            let _ = heirs.try_send(Heir { node, name, address, answer });
        }
        answered
    }

    /// Changes that were sent, each as often as it was.
    pub fn changes_sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Tells when one comes, goes, or begins to get frames.
    pub fn watch(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Tells when somebody is heard of who was promoted since.
    pub fn overtaken(&self) -> watch::Receiver<Option<Overtaken>> {
        self.overtaken.subscribe()
    }

    /// The last frame that so many replicas have on their disks; each counts once.
    pub(super) fn acknowledged(&self, replicas: usize) -> u64 {
        if replicas == 0 {
            return u64::MAX;
        }
        let mut best = BTreeMap::new();
        for follower in self.followers.lock().values() {
            let synced = best.entry(follower.node).or_insert(0);
            *synced = follower.ack.synced.max(*synced);
        }
        let mut synced: Vec<u64> = best.into_values().collect();
        synced.sort_unstable_by(|one, other| other.cmp(one));
        synced.get(replicas - 1).copied().unwrap_or(0)
    }

    /// Waits for a replica to acknowledge something.
    pub(super) async fn acknowledgement(&self) {
        self.acknowledged.notified().await;
    }

    /// Frames up to this one are in the log.
    pub(super) fn appended(&self, index: u64) {
        self.appended.send_replace(index);
    }

    /// Serves a replica until the connection ends; always ends with the reason.
    pub async fn serve<S>(&self, engine: &Arc<Engine>, stream: S) -> PeerError
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (reading, writing) = tokio::io::split(stream);
        let mut incoming = PeerReader::new(reading, Decoder::limited(MESSAGE_BYTES_MAX));
        let mut outgoing = PeerWriter::new(writing);
        let seat = Registered::new(self, engine);
        let Err(error) = self.converse(engine, &seat, &mut incoming, &mut outgoing).await;
        if let Some(refusal) = error.refusal() {
            let message = Message::Refused(refusal);
            // It may be gone.
            let _ = outgoing.send_within(&message, self.pace.silence).await;
        }
        error
    }

    async fn converse<S>(
        &self,
        engine: &Arc<Engine>,
        seat: &Registered<'_>,
        incoming: &mut Reading<S>,
        outgoing: &mut Writing<S>,
    ) -> Result<std::convert::Infallible, PeerError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let pace = &self.pace;
        let theirs = match incoming.next_within(pace.silence).await? {
            Message::Hello(hello) => hello,
            other => return Err(unexpected(other.kind(), "a hello")),
        };
        let mine = self.identity.hello(Some(engine));
        if let Some(refusal) = mine.refuses(&theirs) {
            return Err(PeerError::Refusing(refusal));
        }
        if theirs.epoch > mine.epoch && guards::enabled(Safeguard::Fencing) {
            let (epoch, writes_at) = (theirs.epoch, theirs.writes_at.clone());
            self.overtaken.send_replace(Some(Overtaken { epoch, writes_at }));
            let what = format!(
                "{} heard of epoch {}, {} only of {}: follow the node that was promoted since, or wait until this \
                 one has caught up",
                theirs.name, theirs.epoch, mine.name, mine.epoch
            );
            return Err(PeerError::Refusing(PeerRefusal::for_now(reason::HISTORY_DIVERGED, what)));
        }
        seat.update(|follower| {
            follower.node = theirs.node;
            (follower.name, follower.address) = (theirs.name.clone(), theirs.address.clone());
        });
        outgoing.send_within(&Message::Hello(mine), pace.silence).await?;
        let mut patience = pace.silence;
        // The first frame that is known to be another one there.
        let mut high = None;
        loop {
            let FollowFrom { known, .. } = match incoming.next_within(patience).await? {
                Message::Follow(follow) => follow,
                Message::Refused(refusal) => return Err(PeerError::Refused(refusal)),
                other => return Err(unexpected(other.kind(), "how far the replica's log goes")),
            };
            let newest = known.first().map_or(0, |named| named.index);
            let found = {
                let (engine, to) = (engine.clone(), self.last(engine.replication()));
                on_thread(move || Ok(compare(engine.replication(), &known, to, high)?)).await?
            };
            high = match found {
                Parting::Between { high, .. } => Some(high),
                _ => None,
            };
            let answer = match found {
                Parting::Same => {
                    let from = newest + 1;
                    outgoing.send_within(&Message::Continue { from }, pace.silence).await?;
                    return self.stream(engine, seat, incoming, outgoing, from).await;
                }
                Parting::Last { index, offset } => Message::Cut { index, offset },
                Parting::Between { low, high } => Message::Compare { low, high },
                Parting::Gone => {
                    self.hand_over(engine, incoming, outgoing).await?;
                    patience = pace.install;
                    continue;
                }
            };
            outgoing.send_within(&answer, pace.silence).await?;
            // Who cuts opens its database again.
            patience = pace.install;
        }
    }

    /// The last frame that may be passed on.
    fn last(&self, replication: Replication<'_>) -> u64 {
        let tip = replication.tip();
        if self.is_ahead { tip.index } else { tip.committed }
    }

    async fn hand_over<S>(
        &self,
        engine: &Arc<Engine>,
        incoming: &mut Reading<S>,
        outgoing: &mut Writing<S>,
    ) -> Result<(), PeerError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let pace = &self.pace;
        let file = {
            let engine = engine.clone();
            Arc::new(on_thread(move || checkpoint_of(&engine)).await?)
        };
        let offer = Message::Offer(Offer { at: file.at, bytes: file.bytes });
        outgoing.send_within(&offer, pace.silence).await?;
        let mut position = match incoming.next_within(pace.silence).await? {
            Message::Fetch { position } => position,
            Message::Refused(refusal) => return Err(PeerError::Refused(refusal)),
            other => return Err(unexpected(other.kind(), "the place to go on in the checkpoint")),
        };
        let length_max = self.piece_bytes().clamp(1, PIECE_BYTES_MAX / 2);
        let mut rate = Rate::new(pace);
        loop {
            sleep_until(rate.next).await;
            let file = file.clone();
            let bytes = on_thread(move || {
                let mut bytes = vec![0; length_max];
                let length = file.read_at(&mut bytes, position)?;
                bytes.truncate(length);
                Ok(bytes)
            });
            let bytes = bytes.await?;
            let (length, is_last) = (bytes.len() as u64, bytes.is_empty());
            outgoing.send_within(&Message::Chunk(Chunk { position, bytes }), pace.silence).await?;
            position += length;
            rate.sent(length);
            if is_last {
                break;
            }
        }
        let mut next = file.at.index + 1;
        while next <= file.at.until {
            sleep_until(rate.next).await;
            let frames = self.frames(engine, next, file.at.until).await?;
            rate.sent(frames.iter().map(|frame| frame.payload_bytes() as u64).sum());
            next = frames.last().map_or(next, LogFrame::index) + 1;
            let mark = mark_of(engine);
            outgoing.send_within(&Message::Frames(Frames { mark, frames }), pace.install).await?;
        }
        Ok(())
    }

    /// So many bytes go into one message: with a rate, no more than in a second.
    fn piece_bytes(&self) -> usize {
        match self.pace.bytes_per_second {
            0 => self.pace.message_bytes,
            rate => rate.min(self.pace.message_bytes),
        }
    }

    /// At least one frame.
    async fn frames(
        &self,
        engine: &Arc<Engine>,
        from: u64,
        to: u64,
    ) -> Result<Vec<LogFrame>, PeerError> {
        let (engine, bytes) = (engine.clone(), self.piece_bytes());
        let frames = on_thread(move || Ok(engine.replication().frames(from, to, bytes)?)).await?;
        if frames.first().is_none_or(|frame| frame.index() != from) {
            let what = format!("the frame of index {from} can't be read from the log");
            return Err(PeerError::Engine(Error::new(ErrorCode::ReplicationError, what)));
        }
        Ok(frames)
    }

    async fn stream<S>(
        &self,
        engine: &Arc<Engine>,
        seat: &Registered<'_>,
        incoming: &mut Reading<S>,
        outgoing: &mut Writing<S>,
        from: u64,
    ) -> Result<std::convert::Infallible, PeerError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        seat.update(|follower| follower.is_streaming = true);
        self.changed.send_replace(());
        // What was sent so far, and what was acknowledged.
        let sent = AtomicU64::new(from - 1);
        let (synced, mut seen) = watch::channel(from - 1);
        // Both ways at once: neither side waits for the other to read before it reads itself.
        let (answers, mut answered) = mpsc::channel(1);
        let acknowledgements = async {
            let mut wish: Option<oneshot::Receiver<std::result::Result<u64, String>>> = None;
            loop {
                let asked = async {
                    match &mut wish {
                        Some(wish) => wish.await,
                        None => std::future::pending().await,
                    }
                };
                let message = tokio::select! {
                    message = incoming.next_within(self.pace.silence) => message?,
                    answer = asked => {
                        wish = None;
                        let what = "this node does not take the writes, or hands them over already";
                        let _ = answers.send(answer.unwrap_or_else(|_| Err(what.to_owned()))).await;
                        continue;
                    }
                };
                match message {
                    Message::TakeOver => {
                        tracing::info!("a replica asks to take the writes over");
                        wish = Some(self.ask_heir(seat.number));
                    }
                    Message::Ack(ack)
                        if ack.synced.max(ack.applied) <= sent.load(Ordering::Acquire) =>
                    {
                        seat.acknowledged(ack);
                        synced.send_replace(ack.synced);
                    }
                    Message::Ack(ack) => {
                        let what = format!(
                            "frame {} was acknowledged and never sent: the replica's log is not this one",
                            ack.synced.max(ack.applied)
                        );
                        return Err(PeerError::Refusing(PeerRefusal::for_now(
                            reason::LOG_MISMATCH,
                            what,
                        )));
                    }
                    Message::Refused(refusal) => return Err(PeerError::Refused(refusal)),
                    other => return Err(unexpected(other.kind(), "an acknowledgement")),
                }
            }
        };
        let frames = async {
            let replication = engine.replication();
            let committed = replication.watch();
            let mut appended = self.appended.subscribe();
            let mut under_way = VecDeque::new();
            let mut told = None;
            let mut beat = Instant::now();
            let mut rate = Rate::new(&self.pace);
            let mut next = from;
            loop {
                appended.mark_unchanged();
                let mark = mark_of(engine);
                let last = self.last(replication);
                let synced = *seen.borrow_and_update();
                while under_way.front().is_some_and(|(index, _)| *index <= synced) {
                    under_way.pop_front();
                }
                let waiting: usize = under_way.iter().map(|(_, bytes)| bytes).sum();
                let has_room = under_way.is_empty() || waiting < self.pace.window_bytes;
                let is_due = Instant::now() >= rate.next;
                if next <= last && has_room && is_due {
                    let frames = self.frames(engine, next, last).await?;
                    let bytes = frames.iter().map(LogFrame::payload_bytes).sum::<usize>();
                    next = frames.last().map_or(next, LogFrame::index) + 1;
                    under_way.push_back((next - 1, bytes));
                    rate.sent(bytes as u64);
                    sent.store(next - 1, Ordering::Release);
                    let changes = frames.iter().map(|frame| u64::from(frame.count())).sum();
                    self.sent.fetch_add(changes, Ordering::Relaxed);
                    let message = Message::Frames(Frames { mark, frames });
                    outgoing.send_within(&message, self.pace.silence).await?;
                    (told, beat) = (Some(mark), Instant::now());
                    continue;
                }
                if told != Some(mark) || beat.elapsed() >= self.pace.heartbeat {
                    outgoing.send_within(&Message::Heartbeat(mark), self.pace.silence).await?;
                    (told, beat) = (Some(mark), Instant::now());
                    continue;
                }
                tokio::select! {
                    offset = poll_fn(|context| committed.poll_beyond(mark.committed_offset, context)) => {
                        if offset <= mark.committed_offset {
                            return Err(PeerError::Engine(closed()));
                        }
                    }
                    _ = appended.changed(), if self.is_ahead => {}
                    _ = seen.changed() => {}
                    Some(answer) = answered.recv() => {
                        let (index, why) = match answer {
                            Ok(index) => (index, String::new()),
                            Err(why) => (0, why),
                        };
                        let message = Message::Yielded { index, why };
                        outgoing.send_within(&message, self.pace.silence).await?;
                    }
                    () = sleep_until(beat + self.pace.heartbeat) => {}
                    () = sleep_until(rate.next), if !is_due => {}
                }
            }
        };
        tokio::select! {
            ended = acknowledgements => ended,
            ended = frames => ended,
        }
    }
}

/// When more may be sent.
struct Rate {
    bytes_per_second: usize,
    next: Instant,
}

impl Rate {
    fn new(pace: &Pace) -> Rate {
        Rate { bytes_per_second: pace.bytes_per_second, next: Instant::now() }
    }

    fn sent(&mut self, bytes: u64) {
        if self.bytes_per_second > 0 {
            let takes = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
            self.next = self.next.max(Instant::now()) + takes;
        }
    }
}

fn closed() -> Error {
    Error::new(ErrorCode::InternalError, "the database was closed").with_reason(reason::CLOSED)
}

fn mark_of(engine: &Engine) -> Heartbeat {
    let tip = engine.replication().tip();
    Heartbeat {
        epoch: epoch_of(engine),
        committed: tip.committed,
        committed_offset: tip.committed_offset,
    }
}

/// The newest checkpoint from which the log goes on, or a new one.
fn checkpoint_of(engine: &Engine) -> Result<CheckpointFile, PeerError> {
    if let Some(file) = engine.replication().checkpoint()? {
        return Ok(file);
    }
    engine.compact(CompactRequest::default()).wait()?;
    engine.replication().checkpoint()?.ok_or_else(|| {
        let what = "the log does not reach back so far, and there is no checkpoint to begin with yet; it comes with \
                    the next compaction of the database that takes the writes";
        PeerError::Refusing(PeerRefusal::for_now(reason::OFFSET_COMPACTED, what))
    })
}

/// A replica's entry among the followers, and its claim on the log, while it is connected.
struct Registered<'a> {
    source: &'a Source,
    engine: &'a Engine,
    number: u64,
}

impl<'a> Registered<'a> {
    fn new(source: &'a Source, engine: &'a Engine) -> Registered<'a> {
        let number = source.next.fetch_add(1, Ordering::Relaxed);
        let seat = Registered { source, engine, number };
        // All that is there stays until it is known what is needed.
        engine.replication().claim(&seat.claim(), 1);
        let follower = Follower {
            name: String::new(),
            node: 0,
            address: String::new(),
            ack: Ack::default(),
            is_streaming: false,
        };
        source.followers.lock().insert(number, follower);
        seat
    }

    fn claim(&self) -> String {
        format!("replica/{}", self.number)
    }

    fn update(&self, change: impl FnOnce(&mut Follower)) {
        if let Some(follower) = self.source.followers.lock().get_mut(&self.number) {
            change(follower);
        }
    }

    fn acknowledged(&self, ack: Ack) {
        self.update(|follower| follower.ack = ack);
        self.engine.replication().claim(&self.claim(), ack.applied_offset + 1);
        self.source.acknowledged.notify_one();
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.engine.replication().release(&self.claim());
        self.source.followers.lock().remove(&self.number);
        self.source.changed.send_replace(());
        // It may have been what a change waited for: a lower number of replicas may do then.
        self.source.acknowledged.notify_one();
    }
}
