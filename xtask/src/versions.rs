//! One version for everything that is released: the one of `Cargo.toml`.

use serde_json::Value;

use crate::Outcome;
use crate::tree::{self, TextFile};

/// The place of the version; everything else is compared with it.
const MANIFEST: &str = "Cargo.toml";
/// The page that says how things are installed, today and when they are published.
const INSTALL: &str = "docs/guide/install.md";
/// What fetches from a registry. Until it is published it would fetch something else, or nothing.
const FROM_REGISTRIES: [&str; 6] = [
    "pip install rstmdb",
    "npm install rstmdb",
    "cargo add rstmdb",
    "cargo install rstmdb",
    "go get github.com/rstmdb",
    "docker pull rstmdb",
];

/// Compares manifests, locks and documents with the version, and keeps what will be out of what is.
pub fn check() -> Outcome {
    let files = tree::text_files();
    let Some(version) = workspace_version(&files) else {
        return Err(vec![format!("{MANIFEST}: [workspace.package] has no version")]);
    };
    let mut found = Vec::new();
    let mut problems = Vec::new();
    for file in &files {
        match versions(file) {
            Ok(versions) => found.extend(versions),
            Err(problem) => problems.push(format!("{}: {problem}", file.path)),
        }
        problems.extend(from_registries(file));
    }
    problems.extend(differences(&found, version));
    if problems.is_empty() {
        Ok(format!("{} places say {version}", found.len()))
    } else {
        Err(problems)
    }
}

/// A place that names the version, and what it says.
#[derive(Debug, PartialEq)]
struct Named {
    place: String,
    version: String,
}

fn workspace_version(files: &[TextFile]) -> Option<&str> {
    let manifest = files.iter().find(|file| file.path == MANIFEST)?;
    let (_, section) = manifest.text.split_once("[workspace.package]\n")?;
    let line = section.lines().take_while(|line| !line.starts_with('[')).find_map(|line| {
        let (key, value) = line.split_once(" = ")?;
        (key == "version").then_some(value)
    })?;
    Some(line.trim_matches('"'))
}

/// Every version of ours that a file names.
fn versions(file: &TextFile) -> Result<Vec<Named>, String> {
    let name = file.path.rsplit('/').next().unwrap_or_default();
    let named = |what: &str, version: &str| Named {
        place: format!("{} ({what})", file.path),
        version: version.to_owned(),
    };
    let is_node = file.path.starts_with("node/");
    Ok(match name {
        _ if file.path == MANIFEST => {
            dependencies(&file.text).map(|(name, version)| named(name, version)).collect()
        }
        "Cargo.lock" => locked(&file.text).map(|(name, version)| named(name, version)).collect(),
        "package.json" if is_node => vec![named("version", json(&file.text, "/version")?.as_str())],
        "package-lock.json" if is_node => vec![
            named("version", &json(&file.text, "/version")?),
            named("packages", &json(&file.text, "/packages//version")?),
        ],
        "pyproject.toml" => {
            after(&file.text, "\nversion = \"", '"').map(|v| named("version", v)).collect()
        }
        _ if file.path.ends_with(".md") && !file.path.starts_with("docs/adr/") => {
            let shown = after(&file.text, "rstmdb is ready version=\"", '"');
            let wanted = after(&file.text, "find_package(rstmdb ", ' ');
            let shown = shown.map(|version| named("a log line", version));
            shown.chain(wanted.map(|line| named("find_package", line))).collect()
        }
        _ => Vec::new(),
    })
}

/// The dependencies of the workspace that are crates of this tree, with the version they ask for.
fn dependencies(manifest: &str) -> impl Iterator<Item = (&str, &str)> {
    manifest.lines().filter(|line| line.contains("path = \"")).filter_map(|line| {
        let (name, rest) = line.split_once(" = {")?;
        Some((name, after(rest, "version = \"", '"').next()?))
    })
}

/// The packages of this tree in a lock; the fuzz targets have no version.
fn locked(lock: &str) -> impl Iterator<Item = (&str, &str)> {
    let packages = lock.split("[[package]]\n").skip(1);
    let ours = packages.filter(|package| !package.contains("\nsource = "));
    let named = ours.filter_map(|package| {
        let name = after(package, "name = \"", '"').next()?;
        Some((name, after(package, "\nversion = \"", '"').next()?))
    });
    named.filter(|(name, _)| *name != "rstmdb-fuzz")
}

/// What stands behind each mark, up to the end.
fn after<'a>(text: &'a str, mark: &'a str, end: char) -> impl Iterator<Item = &'a str> {
    text.split(mark).skip(1).filter_map(move |rest| rest.split(end).next())
}

fn json(text: &str, pointer: &str) -> Result<String, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.map(str::to_owned).ok_or_else(|| format!("has no {pointer}"))
}

/// What says another version; two numbers, as in `1.2`, are a line of releases.
fn differences(found: &[Named], version: &str) -> Vec<String> {
    let is_meant = |said: &str| {
        let is_line = said.matches('.').count() == 1;
        said == version || (is_line && version.starts_with(&format!("{said}.")))
    };
    let other = found.iter().filter(|named| !is_meant(&named.version));
    other
        .map(|Named { place, version: said }| {
            format!("{place} says {said}, {MANIFEST} says {version}")
        })
        .collect()
}

/// Lines that fetch from a registry, on another page than the one that says when they will work.
fn from_registries(file: &TextFile) -> Vec<String> {
    let is_read = file.path.ends_with(".md") || file.path.starts_with("examples/");
    if !is_read || file.path == INSTALL {
        return Vec::new();
    }
    let mut problems = Vec::new();
    for (line, text) in (1..).zip(file.text.lines()) {
        if let Some(command) = FROM_REGISTRIES.iter().find(|command| text.contains(*command)) {
            let path = &file.path;
            problems.push(format!("{path}:{line}: `{command}` works when it is published; {INSTALL} says what works today"));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> TextFile {
        TextFile { path: path.into(), text: text.into() }
    }

    fn found(path: &str, text: &str) -> Vec<String> {
        versions(&file(path, text)).unwrap().into_iter().map(|named| named.version).collect()
    }

    #[test]
    fn the_version_is_that_of_the_workspace() {
        let manifest = "[a]\nversion = \"9.9.9\"\n[workspace.package]\nversion = \"1.2.3\"\n[b]\n";
        assert_eq!(workspace_version(&[file("Cargo.toml", manifest)]), Some("1.2.3"));
        assert_eq!(workspace_version(&[file("Cargo.toml", "[workspace.package]\n[b]\n")]), None);
    }

    #[test]
    fn every_place_of_the_version_is_found() {
        let dependencies = "a = { path = \"core/a\", version = \"1.0.0\" }\nb = { version = \"7\" }\nc = { path = \"c\" }\n";
        assert_eq!(found("Cargo.toml", dependencies), ["1.0.0"]);
        let lock = "version = 4\n\n[[package]]\nname = \"rstmdb\"\nversion = \"1.0.0\"\n\n[[package]]\nname = \"x\"\nversion = \"2.0.0\"\nsource = \"registry\"\n\n[[package]]\nname = \"rstmdb-fuzz\"\nversion = \"0.0.0\"\n";
        assert_eq!(found("Cargo.lock", lock), ["1.0.0"]);
        assert_eq!(found("fuzz/Cargo.lock", lock), ["1.0.0"]);
        assert_eq!(found("node/npm/linux/package.json", r#"{"version":"1.0.0"}"#), ["1.0.0"]);
        assert_eq!(found("tests/x/package.json", r#"{"version":"3.0.0"}"#), Vec::<String>::new());
        let lock = r#"{"version":"1.0.0","packages":{"":{"version":"1.0.1"},"node_modules/a":{"version":"5"}}}"#;
        assert_eq!(found("node/package-lock.json", lock), ["1.0.0", "1.0.1"]);
        assert_eq!(found("python/pyproject.toml", "[p]\nversion = \"1.0.0\"\n"), ["1.0.0"]);
        assert_eq!(
            found("python/pyproject.toml", "[p]\ndynamic = [\"version\"]\n"),
            Vec::<String>::new()
        );
        let page = "INFO rstmdb is ready version=\"1.0.0\" x\nfind_package(rstmdb 1.0 REQUIRED)\n";
        assert_eq!(found("docs/a.md", page), ["1.0.0", "1.0"]);
    }

    #[test]
    fn what_differs_is_named() {
        let named = |version: &str| Named { place: "a".into(), version: version.into() };
        assert!(differences(&[named("1.2.3"), named("1.2")], "1.2.3").is_empty());
        for other in ["1.2.0", "1.1", "1", "1.2.3.4", ""] {
            let expected = format!("a says {other}, Cargo.toml says 1.2.3");
            assert_eq!(differences(&[named(other)], "1.2.3"), [expected]);
        }
    }

    #[test]
    fn a_registry_stands_on_one_page() {
        let text = "# A\npip install rstmdb\n";
        assert_eq!(from_registries(&file("python/README.md", text)).len(), 1);
        assert_eq!(from_registries(&file("examples/python/a.py", text)).len(), 1);
        assert!(from_registries(&file(INSTALL, text)).is_empty());
        assert!(from_registries(&file("Makefile", text)).is_empty());
        assert!(from_registries(&file("a.md", "pip install target/rstmdb-*.whl\n")).is_empty());
    }
}
