//! Where it ran, and the file that keeps the table.

use std::path::{Path, PathBuf};
use std::process::Command;

const BEGIN: &str = "<!-- measured: begin -->\n";
const END: &str = "<!-- measured: end -->";

/// The workspace's root when cargo started this, else the current directory.
pub fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    package
        .and_then(|folder| folder.parent().map(Path::to_owned))
        .unwrap_or_else(|| PathBuf::from("."))
}

/// The build directory.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Machine, system and versions, as Markdown.
pub fn conditions(directory: &Path) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = read("/proc/cpuinfo");
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or("?");
    let date = Command::new("date").args(["-u", "+%Y-%m-%d"]).output();
    let date = date.map_or_else(|_| String::new(), |out| string(out.stdout));
    let commit = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    let commit = commit.map_or_else(|_| String::new(), |out| string(out.stdout));
    format!(
        "Measured {date} at commit {commit} on {cores} cores ({}), Linux {}, file system {}, load \
         {load} at the start; SQLite {}.\n",
        cpu.map_or("unknown processor", |(_, name)| name),
        kernel.trim(),
        file_system(directory),
        rusqlite::version(),
    )
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn string(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

/// The type of the file system that holds a directory.
fn file_system(directory: &Path) -> String {
    let Ok(directory) = directory.canonicalize() else { return "unknown".to_owned() };
    let mounts = read("/proc/mounts");
    let fitting = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (point, kind) = (words.next()?, words.next()?);
        directory.starts_with(point).then_some((point.len(), kind))
    });
    // Of two on the same place the later one counts.
    fitting.max_by_key(|(length, _)| *length).map_or("unknown", |(_, kind)| kind).to_owned()
}

/// Replaces what is between the marks.
pub fn write(path: &Path, measured: &str) -> Result<(), String> {
    let old = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let parts = old.split_once(BEGIN).and_then(|(head, rest)| Some((head, rest.split_once(END)?)));
    let Some((head, (_, tail))) = parts else {
        return Err(format!("has no marks {} and {END}", BEGIN.trim()));
    };
    std::fs::write(path, format!("{head}{BEGIN}{measured}{END}{tail}"))
        .map_err(|error| error.to_string())
}
