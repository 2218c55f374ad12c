//! What `cargo metadata` says, read into the few members the checks need.

use std::process::Command;

use serde_json::Value;

/// Where crates.io packages come from; anything else needs a reason.
pub const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// A package of the workspace or one it depends on.
#[derive(Debug, Clone, Default)]
pub struct Package {
    pub name: String,
    pub version: String,
    pub licence: Option<String>,
    /// None for a package of the workspace.
    pub source: Option<String>,
    pub dependencies: Vec<Dependency>,
}

/// One line of a `[dependencies]` table.
#[derive(Debug, Clone, Default)]
pub struct Dependency {
    pub name: String,
    pub requirement: String,
    pub dev: bool,
    pub path: Option<String>,
    pub source: Option<String>,
}

/// The packages of the workspace alone.
pub fn workspace() -> Result<Vec<Package>, String> {
    packages(&["--no-deps", "--offline"])
}

/// All packages for all platforms, and how complete the list is.
///
/// Without a network, and with only this platform's packages downloaded, the list is this
/// platform's.
pub fn all() -> Result<(Vec<Package>, &'static str), String> {
    if let Ok(packages) = packages(&["--locked"]) {
        return Ok((packages, "all platforms"));
    }
    let host = host_triple()?;
    let packages = packages(&["--locked", "--offline", "--filter-platform", &host])?;
    Ok((packages, "this platform only: the others' packages could not be downloaded"))
}

fn host_triple() -> Result<String, String> {
    let output = Command::new("rustc").arg("-vV").output().map_err(|e| format!("rustc: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc -vV names no host".to_owned())
}

fn packages(arguments: &[&str]) -> Result<Vec<Package>, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1"])
        .args(arguments)
        .current_dir(crate::tree::root())
        .output()
        .map_err(|e| format!("cargo metadata: {e}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    let value: Value = serde_json::from_slice(&output.stdout)
        .map_err(|e| format!("cargo metadata printed something else: {e}"))?;
    Ok(parse(&value))
}

fn parse(value: &Value) -> Vec<Package> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    list(&value["packages"])
        .iter()
        .map(|package| Package {
            name: text(&package["name"]).unwrap_or_default(),
            version: text(&package["version"]).unwrap_or_default(),
            licence: text(&package["license"]),
            source: text(&package["source"]),
            dependencies: list(&package["dependencies"])
                .iter()
                .map(|dependency| Dependency {
                    name: text(&dependency["name"]).unwrap_or_default(),
                    requirement: text(&dependency["req"]).unwrap_or_default(),
                    dev: dependency["kind"] == "dev",
                    path: text(&dependency["path"]),
                    source: text(&dependency["source"]),
                })
                .collect(),
        })
        .collect()
}
