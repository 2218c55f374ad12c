//! Messages out of bytes, as they arrive.

use super::header::{Checksum, HEADER_BYTES, Header};
use super::kind::PIECE_BYTES_MAX;
use super::malformed::MessageError;
use super::message::Message;

/// A message with what its header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The group of nodes that it is for.
    pub group: u16,
    /// Its number on its connection.
    pub request: u32,
    /// What it says.
    pub message: Message,
}

/// Puts messages together. It keeps what has arrived of one, and reserves nothing for what is only announced. After an
/// error nothing more can be read: where the next message begins is not known.
#[derive(Debug, Default)]
pub struct Decoder {
    head: Vec<u8>,
    /// The header of the piece that arrives.
    piece: Option<(Header, Checksum)>,
    /// The pieces so far.
    body: Vec<u8>,
    /// Where the piece that arrives begins in them.
    begin: usize,
    /// The header of the piece before, which said that more follows.
    before: Option<Header>,
    /// The most bytes that pieces come to, where that is less than a type's own limit.
    bytes_max: Option<u64>,
}

impl Decoder {
    /// One that refuses messages of more bytes than this.
    pub fn limited(bytes_max: u64) -> Decoder {
        Decoder { bytes_max: Some(bytes_max), ..Decoder::default() }
    }

    /// Messages of so many bytes are taken from now on.
    pub fn allow(&mut self, bytes_max: u64) {
        self.bytes_max = Some(bytes_max);
    }

    /// Whether half of a message has arrived.
    pub fn is_amid(&self) -> bool {
        !self.head.is_empty() || self.piece.is_some() || self.before.is_some()
    }

    /// How many bytes of it.
    pub fn bytes(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// Takes bytes from the front, until a message is whole or no more are left.
    pub fn read(&mut self, bytes: &mut &[u8]) -> Result<Option<Envelope>, MessageError> {
        loop {
            let (header, checksum) = match self.piece {
                Some(piece) => piece,
                None => {
                    take(&mut self.head, HEADER_BYTES, bytes);
                    let Some(head) = self.head.first_chunk() else { return Ok(None) };
                    let piece = Header::decode(head)?;
                    self.check(&piece.0)?;
                    self.head.clear();
                    self.begin = self.body.len();
                    *self.piece.insert(piece)
                }
            };
            take(&mut self.body, self.begin + header.length as usize, bytes);
            let piece = self.body.get(self.begin..).unwrap_or_default();
            if piece.len() < header.length as usize {
                return Ok(None);
            }
            if !checksum.fits(piece) {
                return Err(MessageError::Checksum);
            }
            self.piece = None;
            if header.more {
                self.before = Some(header);
                continue;
            }
            self.before = None;
            let message = Message::decode(header.kind, &self.body)?;
            self.forget();
            return Ok(Some(Envelope { group: header.group, request: header.request, message }));
        }
    }

    /// Room for the next one; what a large one took is given back.
    fn forget(&mut self) {
        self.body.clear();
        self.body.shrink_to(64 << 10);
    }

    fn check(&self, header: &Header) -> Result<(), MessageError> {
        let kind = header.kind;
        let goes_on = self.before.is_none_or(|before| {
            (before.kind, before.group, before.request) == (kind, header.group, header.request)
        });
        // A piece that is not the last one is full, so that many small ones cost nobody time.
        if !goes_on || (header.more && header.length as usize != PIECE_BYTES_MAX) {
            return Err(MessageError::Piece { kind });
        }
        let bytes = self.body.len() as u64 + u64::from(header.length);
        let max = self.bytes_max.map_or(kind.bytes_max(), |max| max.min(kind.bytes_max()));
        if bytes > max || (header.more && bytes >= max) {
            return Err(MessageError::TooLong { kind, bytes, max });
        }
        Ok(())
    }
}

/// Moves bytes over until so many are there.
fn take(into: &mut Vec<u8>, length: usize, bytes: &mut &[u8]) {
    let lacks = length.saturating_sub(into.len()).min(bytes.len());
    let (taken, rest) = bytes.split_at(lacks);
    into.extend_from_slice(taken);
    *bytes = rest;
}
