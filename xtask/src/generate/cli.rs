//! The reference of the command line, as the program prints it.

use std::process::Command;

use crate::tidy::GENERATED_MARK;
use crate::tree;

/// Builds `rstmdb-cli` if need be and asks it for its reference.
pub fn reference() -> Result<String, String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["run", "--quiet", "--locked", "--package", "rstmdb-cli", "--", "help-markdown"])
        .current_dir(tree::root())
        .output()
        .map_err(|error| format!("cargo run: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8(output.stdout).map_err(|error| error.to_string())?;
    Ok(format!("<!-- {GENERATED_MARK} -->\n\n{}\n", text.trim()))
}
