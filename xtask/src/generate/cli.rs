//! References of the programs, as the programs print them.

use std::process::Command;

use super::reference::with_links;
use crate::tidy::GENERATED_MARK;
use crate::tree;

/// The commands of `rstmdb-cli`.
pub fn reference() -> Result<String, String> {
    markdown("rstmdb-cli", "help-markdown")
}

/// The settings of the server.
pub fn configuration() -> Result<String, String> {
    markdown("rstmdb-server", "--print-config-reference")
}

/// The server's configuration file with every setting; it says itself that it is generated.
pub fn example_configuration() -> Result<String, String> {
    printed("rstmdb-server", "--print-example-config")
}

fn markdown(package: &str, argument: &str) -> Result<String, String> {
    let text = printed(package, argument)?;
    Ok(format!("<!-- {GENERATED_MARK} -->\n\n{}\n", with_links(text.trim())))
}

/// Builds a program if need be, and takes what it prints.
fn printed(package: &str, argument: &str) -> Result<String, String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["run", "--quiet", "--locked", "--package", package, "--", argument])
        .current_dir(tree::root())
        .output()
        .map_err(|error| format!("cargo run: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    String::from_utf8(output.stdout).map_err(|error| error.to_string())
}
