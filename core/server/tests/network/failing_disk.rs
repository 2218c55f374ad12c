//! A data directory on a disk that fails or hangs when a test says so: a small library, preloaded into
//! the server, makes its calls do so.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rstmdb_testkit::process::Launch;
use rstmdb_testkit::wire::await_condition;
use tempfile::TempDir;

use crate::launch;

/// The library, compiled once.
fn library() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/shim/disk_faults.c");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let mine = folder.join(format!("disk-faults-{}.so", std::process::id()));
        let flags = ["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"];
        let output = Command::new("gcc").args(flags).arg(&mine).args([source, "-ldl"]).output();
        let output =
            output.unwrap_or_else(|error| panic!("gcc: {error}; install gcc and try again"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "gcc: {}\n{said}", output.status);
        // Another run may be using the library under its name.
        let library = folder.join("disk-faults.so");
        std::fs::rename(mine, &library).unwrap();
        library
    })
}

/// The directory, and the files that say what fails.
pub struct Disk {
    folder: TempDir,
}

impl Disk {
    /// An empty directory on a disk that works.
    pub fn new() -> Disk {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("flags")).unwrap();
        Disk { folder }
    }

    /// The program on it.
    pub fn launch(&self) -> Launch {
        // As the kernel names it, should the folder for temporary files be a link.
        let folder = self.folder.path().canonicalize().unwrap();
        launch(&folder.join("data"))
            .env("LD_PRELOAD", library().display())
            .env("DISK_FAULTS_DATA", folder.join("data").display())
            .env("DISK_FAULTS_FLAGS", folder.join("flags").display())
    }

    fn flag(&self, name: &str) -> PathBuf {
        self.folder.path().join("flags").join(name)
    }

    /// From now on the calls `write`, `sync`, `rename` or `remove` on paths that contain this meet
    /// `ENOSPC`, `EIO`, `half` (of a write, and then no more) or `hold`, which waits.
    pub fn set(&self, call: &str, effect: &str, path_part: &str) {
        // At once for who reads it.
        let new = self.flag("new");
        std::fs::write(&new, format!("{effect} {path_part}\n")).unwrap();
        std::fs::rename(new, self.flag(call)).unwrap();
    }

    /// These calls work again, and those that were held go on.
    pub fn clear(&self, call: &str) {
        std::fs::remove_file(self.flag(call)).unwrap();
        let _ = std::fs::remove_file(self.flag(&format!("{call}.held")));
    }

    /// Waits until the server waits in such a call.
    pub fn await_held(&self, call: &str) {
        let held = self.flag(&format!("{call}.held"));
        await_condition("the call is held", || held.exists());
    }
}
