//! The fields of bodies: little-endian integers, and texts and bytes with their length.

use super::kind::MessageKind;
use super::malformed::MessageError;

/// Appends fields to a body.
#[derive(Debug, Default)]
pub(super) struct BodyWriter {
    bytes: Vec<u8>,
}

impl BodyWriter {
    pub(super) fn u16(&mut self, value: u16) -> &mut BodyWriter {
        self.raw(&value.to_le_bytes())
    }

    pub(super) fn u32(&mut self, value: u32) -> &mut BodyWriter {
        self.raw(&value.to_le_bytes())
    }

    pub(super) fn u64(&mut self, value: u64) -> &mut BodyWriter {
        self.raw(&value.to_le_bytes())
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) -> &mut BodyWriter {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// A text of at most 65,535 bytes; a longer one loses its end.
    pub(super) fn text(&mut self, text: &str) -> &mut BodyWriter {
        let mut length = text.len().min(usize::from(u16::MAX));
        while !text.is_char_boundary(length) {
            length -= 1;
        }
        self.u16(length as u16).raw(text.get(..length).unwrap_or_default().as_bytes())
    }

    pub(super) fn sized(&mut self, bytes: &[u8]) -> &mut BodyWriter {
        self.u32(bytes.len() as u32).raw(bytes)
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Takes fields from the front of a body.
#[derive(Debug)]
pub(super) struct BodyReader<'a> {
    kind: MessageKind,
    rest: &'a [u8],
}

impl<'a> BodyReader<'a> {
    pub(super) fn new(kind: MessageKind, body: &'a [u8]) -> BodyReader<'a> {
        BodyReader { kind, rest: body }
    }

    /// That a field of this body makes no sense.
    pub(super) fn wrong(&self, field: &'static str) -> MessageError {
        MessageError::Body { kind: self.kind, field }
    }

    pub(super) fn raw(
        &mut self,
        length: usize,
        field: &'static str,
    ) -> Result<&'a [u8], MessageError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(|| self.wrong(field))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(
        &mut self,
        field: &'static str,
    ) -> Result<[u8; N], MessageError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.wrong(field))?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16, MessageError> {
        self.array(field).map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, MessageError> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, field: &'static str) -> Result<u64, MessageError> {
        self.array(field).map(u64::from_le_bytes)
    }

    pub(super) fn flag(&mut self, field: &'static str) -> Result<bool, MessageError> {
        match self.u16(field)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.wrong(field)),
        }
    }

    pub(super) fn text(&mut self, field: &'static str) -> Result<String, MessageError> {
        let length = self.u16(field)?.into();
        let bytes = self.raw(length, field)?.to_vec();
        String::from_utf8(bytes).map_err(|_| self.wrong(field))
    }

    pub(super) fn sized(&mut self, field: &'static str) -> Result<&'a [u8], MessageError> {
        let length = self.u32(field)? as usize;
        self.raw(length, field)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Nothing may be left.
    pub(super) fn end(self) -> Result<(), MessageError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.wrong("end")) }
    }
}
