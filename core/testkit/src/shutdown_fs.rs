//! A real file system whose power is cut.
//!
//! An ext4 image is mounted through a loop device; [`ShutdownFs::cut`] shuts the file system down
//! without flushing its log, as if the machine lost power, and mounts it again, which replays the
//! journal. What the kernel had not been made to write is gone, really. It needs root, loop devices and
//! mkfs.ext4: where they are missing, [`ShutdownFs::create`] says why and the test skips itself.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use tempfile::TempDir;

/// `_IOR('X', 125, __u32)`: shut the file system down.
const EXT4_IOC_SHUTDOWN: u32 = 0x8004_587D;
/// Do not write the log out first.
const EXT4_GOING_FLAGS_NOLOGFLUSH: u32 = 2;

/// A mounted image; dropping it unmounts and removes it.
#[derive(Debug)]
pub struct ShutdownFs {
    directory: TempDir,
    is_mounted: bool,
}

impl ShutdownFs {
    /// Makes an image of so many MiB and mounts it, or says why that is not possible here.
    pub fn create(size_mib: u64) -> Result<Self, String> {
        let directory = TempDir::new().map_err(|error| error.to_string())?;
        let mut fs = Self { directory, is_mounted: false };
        std::fs::create_dir(fs.path()).map_err(|error| error.to_string())?;
        let image = std::fs::File::create(fs.image()).map_err(|error| error.to_string())?;
        image.set_len(size_mib << 20).map_err(|error| error.to_string())?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(fs.image()))?;
        fs.mount()?;
        // Better to learn now than at the first cut that the kernel does not know the call.
        fs.cut()?;
        Ok(fs)
    }

    /// Where the file system is mounted.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("mounted")
    }

    fn image(&self) -> PathBuf {
        self.directory.path().join("image")
    }

    fn mount(&mut self) -> Result<(), String> {
        // A long commit interval, so that nothing gets to the disk just because time passed.
        let options = "loop,commit=300";
        run(Command::new("mount").args(["-o", options]).arg(self.image()).arg(self.path()))?;
        self.is_mounted = true;
        Ok(())
    }

    /// Cuts the power: from here on nothing gets to the disk and every sync fails. Files may be open.
    pub fn power_off(&self) -> Result<(), String> {
        shut_down(&self.path())
    }

    /// Unmounts and mounts again, which replays the journal. All files must have been closed.
    pub fn power_on(&mut self) -> Result<(), String> {
        self.unmount()?;
        self.mount()
    }

    /// Cuts the power and comes back. All files must have been closed.
    pub fn cut(&mut self) -> Result<(), String> {
        self.power_off()?;
        self.power_on()
    }

    fn unmount(&mut self) -> Result<(), String> {
        run(Command::new("umount").arg(self.path()))?;
        self.is_mounted = false;
        Ok(())
    }
}

impl Drop for ShutdownFs {
    fn drop(&mut self) {
        if self.is_mounted && self.unmount().is_err() {
            // Something still has a file open: leave when it is closed.
            let _ = run(Command::new("umount").arg("--lazy").arg(self.path()));
        }
    }
}

/// The call is one ioctl, and this crate has no unsafe code: an interpreter makes it.
fn shut_down(path: &Path) -> Result<(), String> {
    let python = format!(
        "import fcntl, os, struct, sys\n\
         fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), {EXT4_IOC_SHUTDOWN}, \
         struct.pack('I', {EXT4_GOING_FLAGS_NOLOGFLUSH}))"
    );
    let perl = format!(
        "opendir(my $d, $ARGV[0]) or die $!; my $f = pack('I', {EXT4_GOING_FLAGS_NOLOGFLUSH}); \
         ioctl($d, {EXT4_IOC_SHUTDOWN}, $f) or die $!"
    );
    run(Command::new("python3").args(["-c", &python]).arg(path)).or_else(|first| {
        run(Command::new("perl").args(["-e", &perl]).arg(path))
            .map_err(|second| format!("{first}; {second}"))
    })
}

pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    // A child that is not yet what it will be holds all files of this process: one at a time, or
    // another's disk is busy.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let program = command.get_program().to_string_lossy().into_owned();
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("{program}: {}, {}", output.status, said.trim()))
        }
        Err(error) => Err(format!("{program}: {error}")),
    }
}
