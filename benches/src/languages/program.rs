//! Programs of other languages: how they are built, run and read.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rstmdb::{Json, JsonRef};

use crate::report;

/// A language with a program of its own.
#[derive(Debug)]
pub struct Language {
    pub name: &'static str,
    /// Where its Makefile is.
    pub folder: &'static str,
}

/// Builds a language's program as it is released; says why, and `false`, when there is none.
pub fn build(language: &Language) -> bool {
    let Language { name, folder } = language;
    let makefile = report::root().join(folder).join("Makefile");
    let makefile = std::fs::read_to_string(makefile).unwrap_or_default();
    if !["bench-build:", "bench-run:"]
        .iter()
        .all(|target| makefile.lines().any(|line| line.starts_with(target)))
    {
        eprintln!("missing: {name}; {folder}/Makefile has no targets bench-build and bench-run");
        return false;
    }
    let status = make(language, "bench-build").stdout(Stdio::null()).status();
    let built = status.is_ok_and(|status| status.success());
    if !built {
        eprintln!("missing: {name}; its program does not build (make -C {folder} bench-build)");
    }
    built
}

/// Runs a language's program once, in an empty folder; what it printed.
pub fn measure(
    language: &Language,
    seconds: Duration,
    folder: &Path,
    url: Option<&str>,
) -> Vec<(String, f64)> {
    let mut command = make(language, "bench-run");
    command
        .env("RSTMDB_BENCH_SECONDS", seconds.as_secs_f64().to_string())
        .env("RSTMDB_BENCH_DIR", folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    match url {
        Some(url) => command.env("RSTMDB_URL", url),
        None => command.env_remove("RSTMDB_URL"),
    };
    let output = command.spawn().and_then(|child| child.wait_with_output());
    match output {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout);
            text.lines().filter_map(|line| figure(language.name, line)).collect()
        }
        other => {
            eprintln!("{}: its program failed: {:?}", language.name, other.map(|o| o.status));
            Vec::new()
        }
    }
}

fn make(language: &Language, target: &str) -> Command {
    let mut command = Command::new("make");
    // The folder may be given relative to the root.
    let target_dir = report::root().canonicalize().unwrap_or_default().join(report::target());
    command
        .args(["--silent", "--no-print-directory", "-C", language.folder, target])
        .current_dir(report::root())
        .env("CARGO_TARGET_DIR", target_dir)
        .env("RSTMDB_LANGUAGE", language.name);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let is_cargos = ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|head| name.starts_with(head));
        if is_cargos || ["MAKEFLAGS", "MFLAGS", "MAKELEVEL"].contains(&&*name) {
            command.env_remove(&*name);
        }
    }
    command
}

/// The name and the value of a line; `None` for lines of others.
///
/// Python's programs may name the variant: `mem_apply_python_sync`.
fn figure(language: &str, line: &str) -> Option<(String, f64)> {
    let line = Json::parse(line).ok()?;
    let Some(JsonRef::Number(value)) = line.root().get("value") else { return None };
    let Some(JsonRef::String(name)) = line.root().get("name") else { return None };
    for variant in ["python_sync", "python_async"] {
        if let Some(name) = name.strip_suffix(variant) {
            let name = name.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            let ours = variant.replace('_', "-") == language;
            return ours.then(|| Some((name.to_owned(), value.parse().ok()?)))?;
        }
    }
    Some((name.to_owned(), value.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_figures() {
        let line = r#"{"name": "mem_apply", "value": 12.5, "unit": "ops/s"}"#;
        assert_eq!(figure("c", line), Some(("mem_apply".to_owned(), 12.5)));
        let line = r#"{"name": "mem_apply_64_python_async", "value": 3, "unit": "ops/s"}"#;
        assert_eq!(figure("python-async", line), Some(("mem_apply_64".to_owned(), 3.0)));
        assert_eq!(figure("python-sync", line), None);
        for line in ["", "hello", r#"{"name": "mem_apply"}"#, r#"{"value": 1}"#] {
            assert_eq!(figure("c", line), None, "{line}");
        }
    }
}
