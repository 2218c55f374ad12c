//! Small writes into prepared room of a file, by way of a mapping and without a write call to the file
//! system, which takes three times as long.
//!
//! What is in a shared mapping is in the page cache, as after a write: a killed process loses nothing of
//! it, every reader sees it, and a sync of the file makes it durable. But who stores into a page that the
//! file system can't give (the disk is full or gone, the file was cut) gets no error but a signal that
//! ends the process, and that is not ours to end. So nothing here touches the mapping. The bytes are put
//! into memory that no file system is behind, and the kernel is asked to read from there into the
//! mapping: what it can't place it says, and the caller writes as ever, and learns why.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;

use rustix::fs::{
    MemfdFlags, OFlags, SealFlags, fcntl_add_seals, fcntl_setfl, fstatfs, memfd_create,
};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Larger writes are better made as such.
const STAGE_BYTES: usize = 16 << 10;
/// Mappings begin at a multiple of it: no system has larger pages.
const PAGE_BYTES_MAX: u64 = 64 << 10;
/// What of ext2 to ext4 and of XFS `statfs` says. They write where room was prepared, and what is mapped
/// is what is read; others copy on each write, have caches of their own, or are not of this machine.
const FILE_SYSTEMS: [u64; 2] = [0xEF53, 0x5846_5342];

/// A part of a file that takes small writes.
#[derive(Debug)]
pub(super) struct Mapped {
    /// Where the bytes lie for the kernel: a file in memory, and its only mapping.
    stage_file: File,
    stage: Mapping,
    window: Mapping,
    /// Where in the file the window begins.
    start: u64,
}

impl Mapped {
    /// Maps a part of a file, where that is of use. Not all of it has to be there.
    pub(super) fn new(file: &File, range: Range<u64>) -> io::Result<Option<Mapped>> {
        #[allow(clippy::unnecessary_cast, reason = "the type differs between systems")]
        let kind = fstatfs(file)?.f_type as u64;
        if !FILE_SYSTEMS.contains(&kind) {
            return Ok(None);
        }
        let start = range.start - range.start % PAGE_BYTES_MAX;
        let Ok(length) = usize::try_from(range.end.saturating_sub(start)) else { return Ok(None) };
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let stage_file = File::from(memfd_create("rstmdb-stage", flags)?);
        // Where memory is short it is refused here, and nobody can take it away later.
        stage_file.write_all_at(&[0; STAGE_BYTES], 0)?;
        fcntl_add_seals(&stage_file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        // To note when it was read takes time, too.
        fcntl_setfl(&stage_file, OFlags::NOATIME)?;
        let stage = Mapping::new(&stage_file, 0, STAGE_BYTES)?;
        let window = Mapping::new(file, start, length)?;
        Ok(Some(Mapped { stage_file, stage, window, start }))
    }

    /// Writes some of the bytes, or none where that is not for a mapping. An error says only that it
    /// could not be done this way.
    pub(super) fn write_at(&mut self, data: &[u8], offset: u64) -> io::Result<usize> {
        let at = offset.checked_sub(self.start).and_then(|at| usize::try_from(at).ok());
        let at = at.filter(|at| {
            let end = at.checked_add(data.len());
            data.len() <= self.stage.length && end.is_some_and(|end| end <= self.window.length)
        });
        let Some(at) = at else { return Ok(0) };
        // SAFETY: the stage is as long as that, and `&mut self` is the only way to it. It is memory like
        // any other: its file has all its bytes for good.
        unsafe {
            self.stage
                .start
                .cast::<u8>()
                .copy_from_nonoverlapping(NonNull::from(data).cast(), data.len());
        }
        // SAFETY: these bytes are inside of the window, which stays mapped as long as `self`, and nobody
        // in this process has another way to them. They are only handed to the kernel, which checks each.
        let target = unsafe {
            std::slice::from_raw_parts_mut(
                self.window.start.cast::<u8>().add(at).as_ptr(),
                data.len(),
            )
        };
        self.stage_file.read_at(target, 0)
    }
}

/// A part of a file in the memory of this process.
#[derive(Debug)]
struct Mapping {
    start: NonNull<c_void>,
    length: usize,
}

// SAFETY: it is memory of the process, of no thread, and has one owner.
unsafe impl Send for Mapping {}

impl Mapping {
    fn new(file: &File, offset: u64, length: usize) -> io::Result<Mapping> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the system chooses a place where nothing is.
        let start = unsafe {
            mmap(std::ptr::null_mut(), length, protection, MapFlags::SHARED, file, offset)?
        };
        let start = NonNull::new(start).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Mapping { start, length })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped like that, and who owned it can't reach it any more.
        let unmapped = unsafe { munmap(self.start.as_ptr(), self.length) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}
