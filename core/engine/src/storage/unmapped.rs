//! Systems where nothing is written by way of a mapping.

use std::fs::File;
use std::io;
use std::ops::Range;

/// What there is none of.
#[derive(Debug)]
pub(super) enum Mapped {}

impl Mapped {
    pub(super) fn new(_file: &File, _range: Range<u64>) -> io::Result<Option<Mapped>> {
        Ok(None)
    }

    pub(super) fn write_at(&mut self, _data: &[u8], _offset: u64) -> io::Result<usize> {
        match *self {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_mapped_is_no_error() {
        let file = tempfile::tempfile().unwrap();
        assert!(Mapped::new(&file, 0..100).unwrap().is_none());
        // Nobody has one to call it on.
        let _ = Mapped::write_at;
    }
}
