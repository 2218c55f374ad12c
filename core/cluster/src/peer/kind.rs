//! The types of messages, and how long each may be.

use std::fmt;

/// The most bytes that follow one header; a longer body continues in further pieces.
pub const PIECE_BYTES_MAX: usize = 8 << 20;
/// The most bytes of a message that tells something about the connection.
const TALK_BYTES_MAX: u64 = 64 << 10;
/// The most bytes of what goes before a checkpoint, with all members.
const HANDOVER_BYTES_MAX: u64 = 1 << 20;
/// The most bytes of frames: a frame of the log may have half a gibibyte, and more than one come together.
const FRAMES_BYTES_MAX: u64 = (512 << 20) + (1 << 20);

/// What came with level 2 of messages has this number or a higher one.
const FIRST_OF_LEVEL_2: u16 = 44;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $kind:ident = $number:literal, $name:literal, $max:expr;)*) => {
        /// What a message is. Numbers from 32 on are for nodes that agree by consensus, from 64 on for sessions that are passed on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        #[non_exhaustive]
        pub enum MessageKind {
            $($(#[doc = $doc])* $kind = $number,)*
        }

        impl MessageKind {
            /// All there are.
            pub const ALL: &[MessageKind] = &[$(MessageKind::$kind),*];

            /// The type of a number.
            pub const fn from_number(number: u16) -> Option<MessageKind> {
                match number {
                    $($number => Some(MessageKind::$kind),)*
                    _ => None,
                }
            }

            /// Its name in messages for people.
            pub const fn name(self) -> &'static str {
                match self {
                    $(MessageKind::$kind => $name,)*
                }
            }

            /// The level of messages from which on a node understands it.
            pub const fn level(self) -> u16 {
                if (self as u16) < FIRST_OF_LEVEL_2 { 1 } else { 2 }
            }

            /// The most bytes of all pieces of such a message.
            pub const fn bytes_max(self) -> u64 {
                match self {
                    $(MessageKind::$kind => $max,)*
                }
            }
        }
    };
}

kinds! {
    /// Who speaks, and what they understand: the first message of both sides.
    Hello = 1, "hello", TALK_BYTES_MAX;
    /// The connection is not wanted; it ends behind this.
    Refused = 2, "refused", TALK_BYTES_MAX;
    /// How far the log of a replica goes.
    Follow = 3, "follow", TALK_BYTES_MAX;
    /// The logs differ somewhere in between: tell more.
    Compare = 4, "compare", TALK_BYTES_MAX;
    /// The logs are the same so far: frames come next.
    Continue = 5, "continue", TALK_BYTES_MAX;
    /// The logs are the same up to a frame: what is behind it must go.
    Cut = 6, "cut", TALK_BYTES_MAX;
    /// The log does not reach back so far: a checkpoint can be had.
    Offer = 7, "offer", TALK_BYTES_MAX;
    /// The bytes of the checkpoint are wanted from a position on.
    Fetch = 8, "fetch", TALK_BYTES_MAX;
    /// Some bytes of the checkpoint.
    Chunk = 9, "chunk", PIECE_BYTES_MAX as u64;
    /// Frames of the log, in order.
    Frames = 10, "frames", FRAMES_BYTES_MAX;
    /// What a replica has of the log.
    Ack = 11, "ack", TALK_BYTES_MAX;
    /// What a source has, also when nothing new comes.
    Heartbeat = 12, "heartbeat", TALK_BYTES_MAX;
    /// A replica wants to take the writes over.
    TakeOver = 13, "take over", TALK_BYTES_MAX;
    /// The source takes no more writes, and this frame is the last; or why it goes on.
    Yielded = 14, "yielded", TALK_BYTES_MAX;
    /// A node wants to belong to the group, or tells where it is now.
    Join = 32, "join", TALK_BYTES_MAX;
    /// It belongs to the group.
    Joined = 33, "joined", TALK_BYTES_MAX;
    /// Another node takes such requests.
    Elsewhere = 34, "elsewhere", TALK_BYTES_MAX;
    /// A node wants to lead.
    Vote = 35, "vote", TALK_BYTES_MAX;
    /// A node asks whether it would be elected.
    PreVote = 36, "pre-vote", TALK_BYTES_MAX;
    /// What a node thinks of one that wants to lead.
    Voted = 37, "voted", TALK_BYTES_MAX;
    /// What who leads wants to have in the log, or that it still leads.
    Append = 38, "append", FRAMES_BYTES_MAX;
    /// What became of it.
    Appended = 39, "appended", TALK_BYTES_MAX;
    /// Leadership is handed over.
    Succeed = 40, "succeed", TALK_BYTES_MAX;
    /// Whether the node may lead next.
    Succeeded = 41, "succeeded", TALK_BYTES_MAX;
    /// A checkpoint in place of a log that is gone; a *fetch* asks for its bytes.
    Handover = 42, "handover", HANDOVER_BYTES_MAX;
    /// The checkpoint is in its place.
    Installed = 43, "installed", TALK_BYTES_MAX;
    /// A member wants to know how another one does.
    Inquire = 44, "inquiry", TALK_BYTES_MAX;
    /// How it does.
    Report = 45, "report", TALK_BYTES_MAX;
    /// A member invites a node that belongs to no group.
    Invite = 46, "invitation", TALK_BYTES_MAX;
    /// It asks to join there now.
    Invited = 47, "answer to an invitation", TALK_BYTES_MAX;
    /// A client's session is passed on: what the connection carries behind the answer is the client's.
    Session = 64, "session", TALK_BYTES_MAX;
    /// The session is served from here on.
    SessionBegins = 65, "session begins", TALK_BYTES_MAX;
}

impl fmt::Display for MessageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
