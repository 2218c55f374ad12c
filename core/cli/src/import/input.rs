//! Where the rows come from: a file, a pipe, or standard input.

use std::fs::File;
use std::io::{self, BufReader, Seek};
use std::path::Path;

use rstmdb::Result;

use crate::error;

/// How a file is read.
type Reader = BufReader<Box<dyn io::Read>>;

/// What holds a log.
#[derive(Debug)]
pub(super) struct LogInput {
    /// As it was given; `-` is standard input.
    path: String,
    bytes: u64,
    /// What came through a pipe that is read twice.
    copy: Option<File>,
}

impl LogInput {
    /// Looks at what `path` names. What can be read only once is copied if it `is_read_twice`.
    pub(super) fn open(path: &str, is_read_twice: bool) -> Result<LogInput> {
        let failed = |problem| error::file(path, &problem);
        let mut input = LogInput { path: path.to_owned(), bytes: 0, copy: None };
        let is_file = if path == "-" {
            false
        } else {
            let about = std::fs::metadata(path).map_err(failed)?;
            if about.is_dir() {
                return Err(failed(io::ErrorKind::IsADirectory.into()));
            }
            input.bytes = about.len();
            about.is_file()
        };
        if is_read_twice && !is_file {
            let mut copy = tempfile::tempfile().map_err(failed)?;
            input.bytes = io::copy(&mut input.read()?, &mut copy).map_err(failed)?;
            input.copy = Some(copy);
        }
        Ok(input)
    }

    /// The bytes there are, as far as that is known.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads from the beginning.
    pub(super) fn read(&self) -> Result<Reader> {
        let failed = |problem| error::file(&self.path, &problem);
        let source: Box<dyn io::Read> = match &self.copy {
            Some(copy) => {
                let mut copy = copy.try_clone().map_err(failed)?;
                copy.rewind().map_err(failed)?;
                Box::new(copy)
            }
            None if self.path == "-" => Box::new(io::stdin()),
            None => Box::new(File::open(&self.path).map_err(failed)?),
        };
        Ok(BufReader::with_capacity(64 << 10, source))
    }

    /// The name without folders, as it stands in event ids.
    pub(super) fn name(&self) -> &str {
        /// Longer ones would not fit into an event id.
        const NAME_BYTES_MAX: usize = 255;
        let name = Path::new(&self.path).file_name().and_then(|name| name.to_str());
        let name = name.unwrap_or(&self.path);
        name.get(..name.floor_char_boundary(NAME_BYTES_MAX)).unwrap_or(name)
    }
}
