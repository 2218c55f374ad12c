//! What members of a group say to each other to agree on one log, and what a node says that wants to be one.

use rstmdb_engine::replication::{GroupMembers, LogFrame};

use super::fields::{BodyReader, BodyWriter};
use super::malformed::MessageError;
use super::parts::{Offer, put_offer, take_frames_of, take_offer};

/// A vote: the term, who it is for, and whether most gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerVote {
    /// The term.
    pub term: u64,
    /// Who it is for.
    pub node: u64,
    /// Whether most gave it.
    pub is_elected: bool,
}

/// An entry of the log; they are counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryName {
    /// The term of who proposed it.
    pub term: u64,
    /// Its number.
    pub index: u64,
}

/// A node that wants to lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidacy {
    /// What it votes.
    pub vote: PeerVote,
    /// The end of its log.
    pub last: Option<EntryName>,
    /// Whether the one that leads asked it to.
    pub is_handed_over: bool,
}

/// What a node thinks of one that wants to lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// What it votes itself.
    pub vote: PeerVote,
    /// Whether it agrees.
    pub is_granted: bool,
    /// The end of its log.
    pub last: Option<EntryName>,
}

/// What who leads wants to have in a log, or that it still leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendFrames {
    /// What it was elected by.
    pub vote: PeerVote,
    /// The entry before the first frame.
    pub before: Option<EntryName>,
    /// The last entry that is committed.
    pub committed: Option<EntryName>,
    /// None: it only says that it leads.
    pub frames: Vec<LogFrame>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// All is on the disk.
    All,
    /// As much is on the disk.
    UpTo(Option<EntryName>),
    /// The entry before is another one.
    Conflict,
    /// Somebody else was elected.
    Outvoted(PeerVote),
}

/// Leadership is handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Succession {
    /// Who leads still.
    pub vote: PeerVote,
    /// Who is to lead next.
    pub to: u64,
    /// What it must have.
    pub last: Option<EntryName>,
}

/// A checkpoint in place of a log that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handover {
    /// Who leads.
    pub vote: PeerVote,
    /// The last entry that goes with it.
    pub last: EntryName,
    /// Who belongs to the group.
    pub members: GroupMembers,
    /// The checkpoint.
    pub offer: Offer,
}

impl PeerVote {
    pub(super) fn encode(&self, body: &mut BodyWriter) {
        body.u64(self.term).u64(self.node).u16(self.is_elected.into());
    }

    pub(super) fn decode(body: &mut BodyReader<'_>) -> Result<PeerVote, MessageError> {
        Ok(PeerVote {
            term: body.u64("term")?,
            node: body.u64("node")?,
            is_elected: body.flag("elected")?,
        })
    }
}

impl EntryName {
    fn encode(&self, body: &mut BodyWriter) {
        body.u64(self.term).u64(self.index);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<EntryName, MessageError> {
        let entry = EntryName { term: body.u64("term")?, index: body.u64("entry")? };
        // Frames are counted from the next number on.
        if entry.index > i64::MAX as u64 { Err(body.wrong("entry")) } else { Ok(entry) }
    }

    fn encode_any(entry: Option<EntryName>, body: &mut BodyWriter) {
        body.u16(entry.is_some().into());
        if let Some(entry) = entry {
            entry.encode(body);
        }
    }

    fn decode_any(body: &mut BodyReader<'_>) -> Result<Option<EntryName>, MessageError> {
        match body.flag("entry")? {
            true => EntryName::decode(body).map(Some),
            false => Ok(None),
        }
    }
}

impl Candidacy {
    pub(super) fn encode(&self, body: &mut BodyWriter) {
        self.vote.encode(body);
        EntryName::encode_any(self.last, body);
        body.u16(self.is_handed_over.into());
    }

    pub(super) fn decode(body: &mut BodyReader<'_>) -> Result<Candidacy, MessageError> {
        Ok(Candidacy {
            vote: PeerVote::decode(body)?,
            last: EntryName::decode_any(body)?,
            is_handed_over: body.flag("handed_over")?,
        })
    }
}

impl Verdict {
    pub(super) fn encode(&self, body: &mut BodyWriter) {
        self.vote.encode(body);
        body.u16(self.is_granted.into());
        EntryName::encode_any(self.last, body);
    }

    pub(super) fn decode(body: &mut BodyReader<'_>) -> Result<Verdict, MessageError> {
        Ok(Verdict {
            vote: PeerVote::decode(body)?,
            is_granted: body.flag("granted")?,
            last: EntryName::decode_any(body)?,
        })
    }
}

impl AppendFrames {
    pub(super) fn encode(&self, body: &mut BodyWriter) {
        self.vote.encode(body);
        EntryName::encode_any(self.before, body);
        EntryName::encode_any(self.committed, body);
        for frame in &self.frames {
            body.sized(&frame.encode());
        }
    }

    pub(super) fn decode(body: &mut BodyReader<'_>) -> Result<AppendFrames, MessageError> {
        let vote = PeerVote::decode(body)?;
        let before = EntryName::decode_any(body)?;
        let committed = EntryName::decode_any(body)?;
        let frames = take_frames_of(body)?;
        // Entry n is frame n + 1.
        let next = before.map_or(1, |before| before.index + 2);
        if frames.first().is_some_and(|first| first.index() != next) {
            return Err(body.wrong("indexes"));
        }
        Ok(AppendFrames { vote, before, committed, frames })
    }
}

impl Appended {
    pub(super) fn encode(&self, body: &mut BodyWriter) {
        match self {
            Appended::All => drop(body.u16(0)),
            Appended::UpTo(entry) => EntryName::encode_any(*entry, body.u16(1)),
            Appended::Conflict => drop(body.u16(2)),
            Appended::Outvoted(vote) => vote.encode(body.u16(3)),
        }
    }

    pub(super) fn decode(body: &mut BodyReader<'_>) -> Result<Appended, MessageError> {
        Ok(match body.u16("outcome")? {
            0 => Appended::All,
            1 => Appended::UpTo(EntryName::decode_any(body)?),
            2 => Appended::Conflict,
            3 => Appended::Outvoted(PeerVote::decode(body)?),
            _ => return Err(body.wrong("outcome")),
        })
    }
}

impl Succession {
    pub(super) fn encode(&self, body: &mut BodyWriter) {
        self.vote.encode(body);
        EntryName::encode_any(self.last, body.u64(self.to));
    }

    pub(super) fn decode(body: &mut BodyReader<'_>) -> Result<Succession, MessageError> {
        let vote = PeerVote::decode(body)?;
        Ok(Succession { vote, to: body.u64("to")?, last: EntryName::decode_any(body)? })
    }
}

impl Handover {
    pub(super) fn encode(&self, body: &mut BodyWriter) {
        self.vote.encode(body);
        self.last.encode(body);
        body.u64(self.members.index).u64(self.members.term);
        body.sized(self.members.words.as_bytes());
        put_offer(body, &self.offer);
    }

    pub(super) fn decode(body: &mut BodyReader<'_>) -> Result<Handover, MessageError> {
        let (vote, last) = (PeerVote::decode(body)?, EntryName::decode(body)?);
        let (index, term) = (body.u64("members")?, body.u64("members")?);
        let words = body.sized("members")?.to_vec();
        let words = String::from_utf8(words).map_err(|_| body.wrong("members"))?;
        let offer = take_offer(body)?;
        if offer.at.until != last.index + 1 {
            return Err(body.wrong("last"));
        }
        Ok(Handover { vote, last, members: GroupMembers { index, term, words }, offer })
    }
}
