//! Directories with something mounted on them. That takes root: where it fails, the error says why and
//! the test skips itself by name.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shutdown_fs::run;

/// A directory with a mount; dropping it unmounts.
#[derive(Debug)]
pub struct Mounted {
    path: PathBuf,
}

impl Mounted {
    /// A file system in memory, of so many KiB.
    pub fn memory(path: &Path, size_kib: u64) -> Result<Mounted, String> {
        let size = format!("size={size_kib}k");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path))?;
        Ok(Mounted { path: path.to_owned() })
    }

    /// The directory itself, which nobody may write to any more, whoever it is.
    pub fn read_only(path: &Path) -> Result<Mounted, String> {
        run(Command::new("mount").arg("--bind").args([path, path]))?;
        let mounted = Mounted { path: path.to_owned() };
        run(Command::new("mount").args(["-o", "remount,bind,ro"]).arg(path))?;
        Ok(mounted)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Something may still have a file open: then it goes when that is closed.
        let _ = run(Command::new("umount").arg("--lazy").arg(&self.path));
    }
}
