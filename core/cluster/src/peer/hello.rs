//! Who is at the other end, and whether the two understand each other.

use rstmdb_types::error::reason;

use super::fields::{BodyReader, BodyWriter};
use super::malformed::MessageError;

/// The numbers from one on to another, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The least.
    pub from: u16,
    /// The greatest.
    pub to: u16,
}

impl Range {
    fn meets(self, other: Range) -> bool {
        self.from <= other.to && other.from <= self.to
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.from == self.to {
            self.from.fmt(f)
        } else {
            write!(f, "{} to {}", self.from, self.to)
        }
    }
}

/// What a release understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Levels {
    /// Messages between nodes.
    pub peer: Range,
    /// Frames of the log.
    pub frame: Range,
    /// What a group works with: changes in frames, and messages that came later.
    pub effect: Range,
}

impl Levels {
    /// What this release understands.
    pub const HERE: Levels = Levels {
        peer: Range { from: 1, to: 2 },
        frame: Range { from: 2, to: 2 },
        effect: Range { from: 1, to: 3 },
    };

    fn foreign_to(&self, other: &Levels) -> Option<(&'static str, Range, Range)> {
        let pairs = [
            ("messages", self.peer, other.peer),
            ("frames", self.frame, other.frame),
            ("changes", self.effect, other.effect),
        ];
        pairs.into_iter().find(|(_, here, there)| !here.meets(*there))
    }
}

/// Who speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// What it understands.
    pub levels: Levels,
    /// The name of its group, or nothing.
    pub cluster: String,
    /// The id of its database; zeros: it has none yet.
    pub database: [u8; 16],
    /// Its number; 0: it belongs to no group.
    pub node: u16,
    /// Tells it apart from another one that was given the same number.
    pub uuid: [u8; 16],
    /// What people call it.
    pub name: String,
    /// Its release.
    pub release: String,
    /// The highest epoch that it heard of: a term, `number << 16 | node`.
    pub epoch: u64,
    /// Where clients reach it; empty: that is not known.
    pub address: String,
    /// Where writes are taken, as far as it knows; empty: that is not known.
    pub writes_at: String,
    /// The last frame of its log, where it says so.
    pub tip: Option<u64>,
}

/// A connection that is not wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerRefusal {
    /// A stable word for programs.
    pub reason: String,
    /// A sentence for people, with the way out.
    pub message: String,
    /// Whether another attempt may come to another end.
    pub retryable: bool,
}

impl PeerRefusal {
    /// A refusal that stays one until somebody changes something.
    pub fn new(reason: &str, message: impl Into<String>) -> PeerRefusal {
        PeerRefusal { reason: reason.to_owned(), message: message.into(), retryable: false }
    }

    /// A refusal of this moment.
    pub fn for_now(reason: &str, message: impl Into<String>) -> PeerRefusal {
        PeerRefusal { retryable: true, ..PeerRefusal::new(reason, message) }
    }

    pub(super) fn encode(&self, body: &mut BodyWriter) {
        body.u16(self.retryable.into()).text(&self.reason).text(&self.message);
    }

    pub(super) fn decode(body: &mut BodyReader<'_>) -> Result<PeerRefusal, MessageError> {
        let retryable = body.flag("retryable")?;
        Ok(PeerRefusal { retryable, reason: body.text("reason")?, message: body.text("message")? })
    }
}

impl Hello {
    /// Why this node can't have to do with another one; nothing when it can.
    pub fn refuses(&self, other: &Hello) -> Option<PeerRefusal> {
        if let Some((what, here, there)) = self.levels.foreign_to(&other.levels) {
            return Some(PeerRefusal::new(
                reason::UNSUPPORTED,
                format!(
                    "{} understands {what} of level {here}, {} those of level {there}: bring the older of {} and {} to \
                     the other's release",
                    self.name, other.name, self.release, other.release
                ),
            ));
        }
        if self.cluster != other.cluster {
            return Some(PeerRefusal::new(
                reason::INVALID_OPTION,
                format!(
                    "{} belongs to the group {:?}, {} to {:?}: connect it to a node of its own",
                    self.name, self.cluster, other.name, other.cluster
                ),
            ));
        }
        let has_none = [self.database, other.database].contains(&[0; 16]);
        if self.database != other.database && !has_none {
            return Some(PeerRefusal::new(
                reason::HISTORY_DIVERGED,
                format!(
                    "{} and {} hold different databases: follow another node, or begin with an empty directory",
                    self.name, other.name
                ),
            ));
        }
        if self.node != 0 && self.node == other.node && self.uuid != other.uuid {
            return Some(PeerRefusal::new(
                reason::INVALID_OPTION,
                format!(
                    "{} and {} are both node {}: give one of them another number",
                    self.name, other.name, self.node
                ),
            ));
        }
        None
    }

    pub(super) fn encode(&self, body: &mut BodyWriter) {
        let Levels { peer, frame, effect } = self.levels;
        for range in [peer, frame, effect] {
            body.u16(range.from).u16(range.to);
        }
        body.raw(&self.database).u16(self.node).raw(&self.uuid).u64(self.epoch);
        body.text(&self.cluster).text(&self.name).text(&self.release);
        body.text(&self.address).text(&self.writes_at);
        if let Some(tip) = self.tip {
            body.u64(tip);
        }
    }

    pub(super) fn decode(body: &mut BodyReader<'_>) -> Result<Hello, MessageError> {
        let mut range = || {
            let range = Range { from: body.u16("levels")?, to: body.u16("levels")? };
            if range.from <= range.to { Ok(range) } else { Err(body.wrong("levels")) }
        };
        let levels = Levels { peer: range()?, frame: range()?, effect: range()? };
        let hello = Hello {
            levels,
            database: body.array("database")?,
            node: body.u16("node")?,
            uuid: body.array("uuid")?,
            epoch: body.u64("epoch")?,
            cluster: body.text("cluster")?,
            name: body.text("name")?,
            release: body.text("release")?,
            address: body.text("address")?,
            writes_at: body.text("writes_at")?,
            tip: if body.is_empty() { None } else { Some(body.u64("tip")?) },
        };
        // A later release may say more.
        body.rest();
        Ok(hello)
    }
}
