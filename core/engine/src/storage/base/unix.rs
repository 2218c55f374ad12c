//! Unix: files are opened relative to an open directory.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, Access, AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::Base;
use crate::storage::FileIdentity;

impl Base<'_> {
    /// Opens the directory, to be held.
    pub(in crate::storage) fn hold(root: &Path) -> io::Result<File> {
        open_directory(CWD, root)
    }

    fn at(&self, path: &str) -> (BorrowedFd<'_>, PathBuf) {
        match self.held {
            Some(held) if path.is_empty() => (held.as_fd(), ".".into()),
            Some(held) => (held.as_fd(), path.into()),
            None if path.is_empty() => (CWD, self.root.into()),
            None => (CWD, self.root.join(path)),
        }
    }

    fn open_with(&self, path: &str, flags: OFlags) -> io::Result<File> {
        let (base, path) = self.at(path);
        let flags = flags | OFlags::CLOEXEC;
        let opened = retry_on_intr(|| fs::openat(base, &path, flags, Mode::from_raw_mode(0o666)));
        Ok(File::from(opened?))
    }

    pub(in crate::storage) fn open(&self, path: &str) -> io::Result<File> {
        self.open_with(path, OFlags::RDWR)
    }

    pub(in crate::storage) fn open_to_read(&self, path: &str) -> io::Result<File> {
        self.open_with(path, OFlags::RDONLY)
    }

    pub(in crate::storage) fn create(&self, path: &str) -> io::Result<File> {
        self.open_with(path, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)
    }

    pub(in crate::storage) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let ((old, from), (new, to)) = (self.at(from), self.at(to));
        Ok(fs::renameat(old, &from, new, &to)?)
    }

    pub(in crate::storage) fn remove(&self, path: &str) -> io::Result<()> {
        let (base, path) = self.at(path);
        Ok(fs::unlinkat(base, &path, AtFlags::empty())?)
    }

    /// The names of what is in a directory and no directory itself.
    pub(in crate::storage) fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let (base, path) = self.at(directory);
        let opened = open_directory(base, &path)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&opened)? {
            let entry = entry?;
            let kind = match entry.file_type() {
                // Not every file system says it here.
                FileType::Unknown => kind_of(opened.as_fd(), entry.file_name())?,
                kind => kind,
            };
            // A name that is not UTF-8 is none of ours.
            if kind != FileType::Directory
                && let Ok(name) = entry.file_name().to_str()
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Creates a directory below the root, and its parents.
    pub(in crate::storage) fn create_dir(&self, directory: &str) -> io::Result<()> {
        let ends = directory.match_indices('/').map(|(at, _)| at).chain([directory.len()]);
        for part in ends.filter_map(|end| directory.get(..end)) {
            let (base, path) = self.at(part);
            match fs::mkdirat(base, &path, Mode::from_raw_mode(0o777)) {
                Err(Errno::EXIST) if self.is_directory(part)? => {}
                made => made?,
            }
        }
        Ok(())
    }

    fn is_directory(&self, path: &str) -> io::Result<bool> {
        let (base, path) = self.at(path);
        let found = fs::statat(base, &path, AtFlags::empty())?;
        Ok(FileType::from_raw_mode(found.st_mode) == FileType::Directory)
    }

    pub(in crate::storage) fn sync_dir(&self, directory: &str) -> io::Result<()> {
        let (base, path) = self.at(directory);
        match open_directory(base, &path)?.sync_all() {
            // Some network file systems have no sync for directories and say so with EINVAL: there a
            // name is as durable as the server makes it.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            synced => synced,
        }
    }

    /// Whether this user may create files in a directory, on this file system.
    pub(in crate::storage) fn check_writable(&self, directory: &str) -> io::Result<()> {
        let (base, path) = self.at(directory);
        let wanted = Access::WRITE_OK | Access::EXEC_OK;
        // Without flags: older kernels, and sandboxes that were made for them, know no other call.
        Ok(fs::accessat(base, &path, wanted, AtFlags::empty())?)
    }

    pub(in crate::storage) fn identity(&self, path: &str) -> io::Result<Option<FileIdentity>> {
        let (base, path) = self.at(path);
        Ok(Some(look(base, &path, AtFlags::empty())?.identity))
    }

    /// What an open file is known by.
    pub(in crate::storage) fn identity_of(file: &File) -> io::Result<Option<FileIdentity>> {
        Ok(Some(look_at(file)?.identity))
    }

    /// How long an open file is, in bytes.
    pub(in crate::storage) fn length_of(file: &File) -> io::Result<u64> {
        Ok(look_at(file)?.length)
    }

    /// Whether the system refused because too many files are open.
    pub(in crate::storage) fn is_out_of_files(error: &io::Error) -> bool {
        matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
    }
}

/// What is asked of a file.
struct Look {
    identity: FileIdentity,
    length: u64,
}

/// Asks for no time: whoever asks when a file was changed makes the next write to it a change of its inode, which
/// the file system's journal has to carry.
#[cfg(target_os = "linux")]
fn look(base: BorrowedFd<'_>, path: &Path, flags: AtFlags) -> io::Result<Look> {
    use rustix::fs::StatxFlags;
    match fs::statx(base, path, flags, StatxFlags::INO | StatxFlags::SIZE) {
        Ok(found) => {
            let device = fs::makedev(found.stx_dev_major, found.stx_dev_minor);
            let identity = FileIdentity { device, number: found.stx_ino };
            Ok(Look { identity, length: found.stx_size })
        }
        // Older kernels, and sandboxes that were made for them.
        Err(Errno::NOSYS | Errno::PERM) => look_whole(base, path, flags),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn look(base: BorrowedFd<'_>, path: &Path, flags: AtFlags) -> io::Result<Look> {
    look_whole(base, path, flags)
}

#[allow(clippy::unnecessary_cast, reason = "the types differ between systems")]
fn look_whole(base: BorrowedFd<'_>, path: &Path, flags: AtFlags) -> io::Result<Look> {
    let is_open = path.as_os_str().is_empty();
    let found = if is_open { fs::fstat(base)? } else { fs::statat(base, path, flags)? };
    let identity = FileIdentity { device: found.st_dev as u64, number: found.st_ino as u64 };
    Ok(Look { identity, length: u64::try_from(found.st_size).unwrap_or(0) })
}

fn look_at(file: &File) -> io::Result<Look> {
    #[cfg(target_os = "linux")]
    let flags = AtFlags::EMPTY_PATH;
    #[cfg(not(target_os = "linux"))]
    let flags = AtFlags::empty();
    look(file.as_fd(), Path::new(""), flags)
}

fn open_directory(base: BorrowedFd<'_>, path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = retry_on_intr(|| fs::openat(base, path, flags, Mode::empty()));
    Ok(File::from(opened?))
}

fn kind_of(directory: BorrowedFd<'_>, name: &std::ffi::CStr) -> io::Result<FileType> {
    let found = fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(found.st_mode))
}
