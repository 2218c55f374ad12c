//! The paths of a data directory where nothing can be opened relative to a directory that is held: they
//! begin at its name.
//!
//! Windows moves or deletes no directory in which a file is open, and the lock file is, so the name
//! leads to the same directory as long as a database is open.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::Base;
use crate::storage::FileIdentity;

impl Base<'_> {
    /// Directories are not opened here.
    pub(in crate::storage) fn hold(_root: &Path) -> io::Result<File> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn at(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.to_owned() } else { self.root.join(path) }
    }

    pub(in crate::storage) fn open(&self, path: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(self.at(path))
    }

    pub(in crate::storage) fn open_to_read(&self, path: &str) -> io::Result<File> {
        File::open(self.at(path))
    }

    pub(in crate::storage) fn create(&self, path: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).open(self.at(path))
    }

    pub(in crate::storage) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.at(from), self.at(to))
    }

    pub(in crate::storage) fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.at(path))
    }

    /// The names of what is in a directory and no directory itself.
    pub(in crate::storage) fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.at(directory))? {
            let entry = entry?;
            // A name that is not UTF-8 is none of ours.
            if !entry.file_type()?.is_dir()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Creates a directory below the root, and its parents.
    pub(in crate::storage) fn create_dir(&self, directory: &str) -> io::Result<()> {
        fs::create_dir_all(self.at(directory))
    }

    /// Windows cannot sync a directory; NTFS journals names itself, in order.
    pub(in crate::storage) fn sync_dir(&self, directory: &str) -> io::Result<()> {
        fs::metadata(self.at(directory)).map(drop)
    }

    /// The attribute of a directory says nothing about files in it: whoever writes learns it.
    pub(in crate::storage) fn check_writable(&self, directory: &str) -> io::Result<()> {
        fs::metadata(self.at(directory)).map(drop)
    }

    pub(in crate::storage) fn identity(&self, path: &str) -> io::Result<Option<FileIdentity>> {
        fs::metadata(self.at(path)).map(|_| None)
    }

    /// Nothing tells files from each other here.
    pub(in crate::storage) fn identity_of(_file: &File) -> io::Result<Option<FileIdentity>> {
        Ok(None)
    }

    /// How long an open file is, in bytes.
    pub(in crate::storage) fn length_of(file: &File) -> io::Result<u64> {
        Ok(file.metadata()?.len())
    }

    /// Whether the system refused because too many files are open.
    pub(in crate::storage) fn is_out_of_files(error: &io::Error) -> bool {
        const TOO_MANY_OPEN_FILES: i32 = 4;
        error.raw_os_error() == Some(TOO_MANY_OPEN_FILES)
    }
}
