//! What messages say.

use rstmdb_engine::replication::LogFrame;
use rstmdb_types::Offset;

use super::consensus::{
    AppendFrames, Appended, Candidacy, Handover, PeerVote, Succession, Verdict,
};
use super::fields::{BodyReader, BodyWriter};
use super::header::{HEADER_BYTES, Header};
use super::hello::{Hello, PeerRefusal};
use super::kind::{MessageKind, PIECE_BYTES_MAX};
use super::malformed::MessageError;
use super::parts::{Offer, put_offer, take_frames_of, take_offer};
use super::session::PassedSession;

/// A frame and all before it, named by what no other log has; index 0 is the beginning of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameName {
    /// Its index.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// The hash of all changes up to it.
    pub chain: u64,
}

impl FrameName {
    /// Before the first frame of a log.
    pub const START: FrameName = FrameName { index: 0, term: 0, chain: 0 };

    /// The name of a frame.
    pub fn of(frame: &LogFrame) -> FrameName {
        FrameName { index: frame.index(), term: frame.term(), chain: frame.chain() }
    }
}

/// How far the log of a replica goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowFrom {
    /// The offset of its last change.
    pub offset: Offset,
    /// Its last frame, and some before it, backwards.
    pub known: Vec<FrameName>,
}

/// Some bytes of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Where they are in it.
    pub position: u64,
    /// The bytes; none: that was all.
    pub bytes: Vec<u8>,
}

/// What a source has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// The highest epoch that it heard of.
    pub epoch: u64,
    /// The last frame that is committed.
    pub committed: u64,
    /// The offset of the last change that is committed.
    pub committed_offset: Offset,
}

/// Frames, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frames {
    /// What the source has.
    pub mark: Heartbeat,
    /// At least one.
    pub frames: Vec<LogFrame>,
}

/// What a replica has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ack {
    /// The last frame that is on its disk for certain.
    pub synced: u64,
    /// The last frame that its readers see.
    pub applied: u64,
    /// The offset of the last change that its readers see.
    pub applied_offset: Offset,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message {
    /// See [`MessageKind::Hello`].
    Hello(Hello),
    /// See [`MessageKind::Refused`].
    Refused(PeerRefusal),
    /// See [`MessageKind::Follow`].
    Follow(FollowFrom),
    /// See [`MessageKind::Compare`]: frames between these two are wanted.
    Compare {
        /// The last that is the same.
        low: u64,
        /// The first that is another one.
        high: u64,
    },
    /// See [`MessageKind::Continue`]: this frame is the next.
    Continue {
        /// Its index.
        from: u64,
    },
    /// See [`MessageKind::Cut`]: this frame is the last that both have.
    Cut {
        /// Its index.
        index: u64,
        /// The offset of the last change up to it.
        offset: Offset,
    },
    /// See [`MessageKind::Offer`].
    Offer(Offer),
    /// See [`MessageKind::Fetch`].
    Fetch {
        /// The bytes that are there already.
        position: u64,
    },
    /// See [`MessageKind::Chunk`].
    Chunk(Chunk),
    /// See [`MessageKind::Frames`].
    Frames(Frames),
    /// See [`MessageKind::Ack`].
    Ack(Ack),
    /// See [`MessageKind::Heartbeat`].
    Heartbeat(Heartbeat),
    /// See [`MessageKind::TakeOver`].
    TakeOver,
    /// See [`MessageKind::Yielded`].
    Yielded {
        /// The last frame of the source; 0: it goes on to take writes.
        index: u64,
        /// Why it goes on.
        why: String,
    },
    /// See [`MessageKind::Join`]: what is to be known of the node, as JSON.
    Join(String),
    /// See [`MessageKind::Joined`].
    Joined {
        /// The node's number.
        node: u16,
        /// The id of the group's database.
        database: [u8; 16],
    },
    /// See [`MessageKind::Elsewhere`].
    Elsewhere {
        /// Where that is; nothing: it is not known.
        address: String,
    },
    /// See [`MessageKind::Vote`].
    Vote(Candidacy),
    /// See [`MessageKind::PreVote`].
    PreVote(Candidacy),
    /// See [`MessageKind::Voted`].
    Voted(Verdict),
    /// See [`MessageKind::Append`].
    Append(AppendFrames),
    /// See [`MessageKind::Appended`].
    Appended(Appended),
    /// See [`MessageKind::Succeed`].
    Succeed(Succession),
    /// See [`MessageKind::Succeeded`]: whether it may lead next.
    Succeeded(bool),
    /// See [`MessageKind::Handover`].
    Handover(Handover),
    /// See [`MessageKind::Installed`].
    Installed(PeerVote),
    /// See [`MessageKind::Inquire`].
    Inquire,
    /// See [`MessageKind::Report`]: what there is to know, as JSON.
    Report(String),
    /// See [`MessageKind::Invite`].
    Invite {
        /// Where the member is.
        address: String,
    },
    /// See [`MessageKind::Invited`].
    Invited,
    /// See [`MessageKind::Session`].
    Session(PassedSession),
    /// See [`MessageKind::SessionBegins`].
    SessionBegins,
}

impl Message {
    /// What it is.
    pub fn kind(&self) -> MessageKind {
        match self {
            Message::Hello(_) => MessageKind::Hello,
            Message::Refused(_) => MessageKind::Refused,
            Message::Follow(_) => MessageKind::Follow,
            Message::Compare { .. } => MessageKind::Compare,
            Message::Continue { .. } => MessageKind::Continue,
            Message::Cut { .. } => MessageKind::Cut,
            Message::Offer(_) => MessageKind::Offer,
            Message::Fetch { .. } => MessageKind::Fetch,
            Message::Chunk(_) => MessageKind::Chunk,
            Message::Frames(_) => MessageKind::Frames,
            Message::Ack(_) => MessageKind::Ack,
            Message::Heartbeat(_) => MessageKind::Heartbeat,
            Message::TakeOver => MessageKind::TakeOver,
            Message::Yielded { .. } => MessageKind::Yielded,
            Message::Join(_) => MessageKind::Join,
            Message::Joined { .. } => MessageKind::Joined,
            Message::Elsewhere { .. } => MessageKind::Elsewhere,
            Message::Vote(_) => MessageKind::Vote,
            Message::PreVote(_) => MessageKind::PreVote,
            Message::Voted(_) => MessageKind::Voted,
            Message::Append(_) => MessageKind::Append,
            Message::Appended(_) => MessageKind::Appended,
            Message::Succeed(_) => MessageKind::Succeed,
            Message::Succeeded(_) => MessageKind::Succeeded,
            Message::Handover(_) => MessageKind::Handover,
            Message::Installed(_) => MessageKind::Installed,
            Message::Inquire => MessageKind::Inquire,
            Message::Report(_) => MessageKind::Report,
            Message::Invite { .. } => MessageKind::Invite,
            Message::Invited => MessageKind::Invited,
            Message::Session(_) => MessageKind::Session,
            Message::SessionBegins => MessageKind::SessionBegins,
        }
    }

    /// The bytes that travel, in pieces where there are many.
    pub fn encode(&self, group: u16, request: u32) -> Vec<u8> {
        let body = self.body();
        let mut bytes = Vec::with_capacity(body.len() + HEADER_BYTES);
        let mut rest = body.as_slice();
        loop {
            let (piece, behind) = rest.split_at(rest.len().min(PIECE_BYTES_MAX));
            let more = !behind.is_empty();
            let header =
                Header { length: piece.len() as u32, kind: self.kind(), more, group, request };
            bytes.extend_from_slice(&header.encode(piece));
            bytes.extend_from_slice(piece);
            if !more {
                return bytes;
            }
            rest = behind;
        }
    }

    fn body(&self) -> Vec<u8> {
        let mut body = BodyWriter::default();
        match self {
            Message::Hello(hello) => hello.encode(&mut body),
            Message::Refused(refusal) => refusal.encode(&mut body),
            Message::Follow(follow) => {
                body.u64(follow.offset).u16(follow.known.len() as u16);
                for FrameName { index, term, chain } in &follow.known {
                    body.u64(*index).u64(*term).u64(*chain);
                }
            }
            Message::Compare { low, high } => drop(body.u64(*low).u64(*high)),
            Message::Continue { from } => drop(body.u64(*from)),
            Message::Cut { index, offset } => drop(body.u64(*index).u64(*offset)),
            Message::Offer(offer) => put_offer(&mut body, offer),
            Message::Fetch { position } => drop(body.u64(*position)),
            Message::Chunk(chunk) => drop(body.u64(chunk.position).raw(&chunk.bytes)),
            Message::Frames(frames) => {
                put_mark(&mut body, &frames.mark);
                for frame in &frames.frames {
                    body.sized(&frame.encode());
                }
            }
            Message::Ack(ack) => {
                body.u64(ack.synced).u64(ack.applied).u64(ack.applied_offset);
            }
            Message::Heartbeat(mark) => put_mark(&mut body, mark),
            Message::TakeOver | Message::Inquire | Message::Invited => {}
            Message::Yielded { index, why } => drop(body.u64(*index).text(why)),
            Message::Join(words) | Message::Report(words) => drop(body.text(words)),
            Message::Joined { node, database } => drop(body.u16(*node).raw(database)),
            Message::Elsewhere { address } | Message::Invite { address } => {
                body.text(address);
            }
            Message::Vote(candidacy) | Message::PreVote(candidacy) => candidacy.encode(&mut body),
            Message::Voted(verdict) => verdict.encode(&mut body),
            Message::Append(append) => append.encode(&mut body),
            Message::Appended(appended) => appended.encode(&mut body),
            Message::Succeed(succession) => succession.encode(&mut body),
            Message::Succeeded(may_lead) => drop(body.u16((*may_lead).into())),
            Message::Handover(handover) => handover.encode(&mut body),
            Message::Installed(vote) => vote.encode(&mut body),
            Message::Session(session) => session.encode(&mut body),
            Message::SessionBegins => {}
        }
        body.into_bytes()
    }

    /// Reads the body of a message.
    pub fn decode(kind: MessageKind, body: &[u8]) -> Result<Message, MessageError> {
        let mut body = BodyReader::new(kind, body);
        let message = match kind {
            MessageKind::Hello => Message::Hello(Hello::decode(&mut body)?),
            MessageKind::Refused => Message::Refused(PeerRefusal::decode(&mut body)?),
            MessageKind::Follow => {
                let (offset, count) = (body.u64("offset")?, body.u16("frames")?);
                let named = |_| {
                    let index = body.u64("frames")?;
                    Ok(FrameName { index, term: body.u64("frames")?, chain: body.u64("frames")? })
                };
                let known: Vec<FrameName> = (0..count).map(named).collect::<Result<_, _>>()?;
                let is_backwards = known.is_sorted_by(|next, before| next.index > before.index);
                if known.is_empty() || !is_backwards {
                    return Err(body.wrong("frames"));
                }
                Message::Follow(FollowFrom { offset, known })
            }
            MessageKind::Compare => {
                let (low, high) = (body.u64("low")?, body.u64("high")?);
                if low >= high {
                    return Err(body.wrong("high"));
                }
                Message::Compare { low, high }
            }
            MessageKind::Continue => Message::Continue { from: body.u64("from")? },
            MessageKind::Cut => {
                Message::Cut { index: body.u64("index")?, offset: body.u64("offset")? }
            }
            MessageKind::Offer => Message::Offer(take_offer(&mut body)?),
            MessageKind::Fetch => Message::Fetch { position: body.u64("position")? },
            MessageKind::Chunk => Message::Chunk(Chunk {
                position: body.u64("position")?,
                bytes: body.rest().to_vec(),
            }),
            MessageKind::Frames => Message::Frames(take_frames(&mut body)?),
            MessageKind::Ack => Message::Ack(Ack {
                synced: body.u64("synced")?,
                applied: body.u64("applied")?,
                applied_offset: body.u64("offset")?,
            }),
            MessageKind::Heartbeat => Message::Heartbeat(take_mark(&mut body)?),
            MessageKind::TakeOver => Message::TakeOver,
            MessageKind::Yielded => {
                Message::Yielded { index: body.u64("index")?, why: body.text("why")? }
            }
            MessageKind::Join => Message::Join(body.text("words")?),
            MessageKind::Joined => {
                Message::Joined { node: body.u16("node")?, database: body.array("database")? }
            }
            MessageKind::Elsewhere => Message::Elsewhere { address: body.text("address")? },
            MessageKind::Vote => Message::Vote(Candidacy::decode(&mut body)?),
            MessageKind::PreVote => Message::PreVote(Candidacy::decode(&mut body)?),
            MessageKind::Voted => Message::Voted(Verdict::decode(&mut body)?),
            MessageKind::Append => Message::Append(AppendFrames::decode(&mut body)?),
            MessageKind::Appended => Message::Appended(Appended::decode(&mut body)?),
            MessageKind::Succeed => Message::Succeed(Succession::decode(&mut body)?),
            MessageKind::Succeeded => Message::Succeeded(body.flag("may_lead")?),
            MessageKind::Handover => Message::Handover(Handover::decode(&mut body)?),
            MessageKind::Installed => Message::Installed(PeerVote::decode(&mut body)?),
            MessageKind::Inquire => Message::Inquire,
            MessageKind::Report => Message::Report(body.text("words")?),
            MessageKind::Invite => Message::Invite { address: body.text("address")? },
            MessageKind::Invited => Message::Invited,
            MessageKind::Session => Message::Session(PassedSession::decode(&mut body)?),
            MessageKind::SessionBegins => Message::SessionBegins,
        };
        body.end()?;
        Ok(message)
    }
}

fn put_mark(body: &mut BodyWriter, mark: &Heartbeat) {
    body.u64(mark.epoch).u64(mark.committed).u64(mark.committed_offset);
}

fn take_mark(body: &mut BodyReader<'_>) -> Result<Heartbeat, MessageError> {
    Ok(Heartbeat {
        epoch: body.u64("epoch")?,
        committed: body.u64("committed")?,
        committed_offset: body.u64("offset")?,
    })
}

fn take_frames(body: &mut BodyReader<'_>) -> Result<Frames, MessageError> {
    let mark = take_mark(body)?;
    let frames = take_frames_of(body)?;
    if frames.is_empty() { Err(body.wrong("frames")) } else { Ok(Frames { mark, frames }) }
}
