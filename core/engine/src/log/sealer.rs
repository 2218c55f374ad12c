//! Sealing: what happens to the payload of a frame between memory and its file.
//!
//! Today nothing but a checksum that starts from the database's id. A [`Cipher`] may compress or
//! encrypt in between; it sets the flags by which a reader knows that it needs the same one. The
//! checksum covers what is stored, so damage is found without a key.

use std::borrow::Cow;
use std::sync::Arc;

use super::header::{FRAME_HEADER_BYTES, FrameHeader};

/// Changes the bytes of payloads on their way to a file, and back.
pub(crate) trait Cipher: Send + Sync {
    /// The flags of the frames it seals.
    fn flags(&self) -> u16;

    /// The bytes to store; the header is bound to them.
    fn seal(&self, header: &FrameHeader, plain: &[u8]) -> Vec<u8>;

    /// The bytes that were sealed under this header; `None` when these were not.
    fn open(&self, header: &FrameHeader, stored: &[u8]) -> Option<Vec<u8>>;
}

/// Seals the frames of one database.
#[derive(Clone)]
pub(crate) struct Sealer {
    /// Every checksum starts from here.
    seed: u32,
    /// The key that segments name; 0: none.
    key: u32,
    cipher: Option<Arc<dyn Cipher>>,
}

impl Sealer {
    /// Stores payloads as they are.
    pub(crate) fn plain(database: &[u8; 16]) -> Sealer {
        Sealer { seed: crc32c::crc32c(database), key: 0, cipher: None }
    }

    pub(crate) fn key(&self) -> u32 {
        self.key
    }

    pub(crate) fn checksum(&self, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(self.seed, bytes)
    }

    /// The flags whose frames it can open.
    pub(crate) fn flags(&self) -> u16 {
        self.cipher.as_ref().map_or(0, |cipher| cipher.flags())
    }

    /// Puts what is to be stored in the place of the payload behind the room for the header; returns
    /// the buffer as it was, if that made a difference.
    pub(crate) fn seal(&self, header: &mut FrameHeader, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
        let cipher = self.cipher.as_ref()?;
        header.flags |= cipher.flags();
        let plain = buffer.clone();
        let stored = cipher.seal(header, plain.get(FRAME_HEADER_BYTES..).unwrap_or_default());
        header.payload_bytes = stored.len() as u32;
        buffer.truncate(FRAME_HEADER_BYTES);
        buffer.extend_from_slice(&stored);
        Some(plain)
    }

    /// The plain payload; `None` when an intact frame can't be opened.
    pub(crate) fn open<'a>(&self, header: &FrameHeader, stored: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        match &self.cipher {
            Some(cipher) if header.flags & cipher.flags() != 0 => {
                cipher.open(header, stored).map(Cow::Owned)
            }
            _ => Some(Cow::Borrowed(stored)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Newer;
    use crate::log::frame::{ParsedFrame, parse, seal};
    use crate::log::header::COMPRESSED;
    use crate::log::tip::Tip;

    /// Keeps runs of one byte as a byte and their number.
    struct Runs;

    impl Cipher for Runs {
        fn flags(&self) -> u16 {
            COMPRESSED
        }

        fn seal(&self, _: &FrameHeader, plain: &[u8]) -> Vec<u8> {
            plain.chunk_by(|a, b| a == b).flat_map(|run| [run[0], run.len() as u8]).collect()
        }

        fn open(&self, _: &FrameHeader, stored: &[u8]) -> Option<Vec<u8>> {
            let runs = stored.chunks_exact(2);
            runs.remainder().is_empty().then(|| {
                runs.flat_map(|run| std::iter::repeat_n(run[0], usize::from(run[1]))).collect()
            })
        }
    }

    #[test]
    fn what_a_cipher_sealed_needs_it_to_be_read_and_is_no_damage_without() {
        let plain = Sealer::plain(&[7; 16]);
        let sealer = Sealer { cipher: Some(Arc::new(Runs)), ..plain.clone() };
        let payload = [3; 200];
        let mut header = Tip::START.data(1, &payload, 0);
        let mut buffer = [&[0; FRAME_HEADER_BYTES][..], &payload].concat();
        let kept = sealer.seal(&mut header, &mut buffer).unwrap();
        assert_eq!(kept[FRAME_HEADER_BYTES..], payload);
        assert_eq!(buffer.len(), FRAME_HEADER_BYTES + 2);
        seal(&mut buffer, &header, &sealer);
        let ParsedFrame::Frame { header: found, payload: opened, .. } = parse(&buffer, &sealer)
        else {
            panic!("no frame")
        };
        assert_eq!((found, &*opened), (header, &payload[..]));
        let newer = Newer::FrameFlags(COMPRESSED);
        assert_eq!(parse(&buffer, &plain), ParsedFrame::Newer { header, what: newer });
    }
}
