//! The files of the repository: what git tracks or would track, or a plain walk where git can't say.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A text file with its path relative to the root, `/` between the parts.
#[derive(Debug)]
pub struct TextFile {
    pub path: String,
    pub text: String,
}

/// The root of the repository.
pub fn root() -> PathBuf {
    // Set by `cargo run`; the compiled-in path serves a binary that is called directly.
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().expect("xtask is a folder of the repository").to_path_buf()
}

/// All text files, sorted by path; binary files are left out.
pub fn text_files() -> Vec<TextFile> {
    let root = root();
    let mut paths = tracked(&root).unwrap_or_else(|| walk(&root));
    paths.sort();
    paths.dedup();
    paths
        .into_iter()
        .filter_map(|path| {
            let bytes = std::fs::read(root.join(&path)).ok()?;
            let text = String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))?;
            Some(TextFile { path, text })
        })
        .collect()
}

/// Tracked files, and new ones that are not ignored: they are tracked soon.
fn tracked(root: &Path) -> Option<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    let paths: Vec<String> =
        text.split('\0').filter(|p| !p.is_empty()).map(str::to_owned).collect();
    (!paths.is_empty()).then_some(paths)
}

/// For a tree without git, such as an unpacked archive.
fn walk(root: &Path) -> Vec<String> {
    const SKIPPED: &[&str] = &["target", ".git", "demo-data", "data", "node_modules"];
    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root.join(&folder)).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && !SKIPPED.contains(&name.as_str()) => {
                    folders.push(path);
                }
                Ok(kind) if kind.is_file() => found.push(path),
                _ => {}
            }
        }
    }
    found
}
