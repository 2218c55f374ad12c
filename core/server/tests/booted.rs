//! The unit under a systemd that was booted for it, in a container of systemd's own.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;

const SCENARIO: &str = include_str!("booted/scenario.sh");

/// Runs the scenario when systemd is up, and switches off.
const PROBE: &str = "
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=/bin/bash /scenario.sh
ExecStopPost=/bin/systemctl --force poweroff
TimeoutStartSec=120
StandardOutput=file:/said
StandardError=file:/said
";

/// A root with nothing of this machine but its programs.
fn make_root(root: &Path) {
    let make = |name: &str| std::fs::create_dir_all(root.join(name)).unwrap();
    ["usr", "var", "run", "tmp", "proc", "sys", "dev", "root", "etc/systemd/system"]
        .into_iter()
        .for_each(make);
    for link in ["bin", "sbin", "lib", "lib64"] {
        symlink(Path::new("usr").join(link), root.join(link)).unwrap();
    }
    let put = |name: &str, text: &str| std::fs::write(root.join(name), text).unwrap();
    let users =
        "root:x:0:0:root:/root:/bin/sh\nrstmdb:x:7401:7401::/nonexistent:/usr/sbin/nologin\n";
    put("etc/passwd", users);
    put("etc/group", "root:x:0:\nrstmdb:x:7401:\nsystemd-journal:x:999:\n");
    put("etc/os-release", "ID=test\n");
    put("etc/machine-id", "");
    put("etc/systemd/system/probe.service", PROBE);
    put("scenario.sh", SCENARIO);
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/systemd/rstmdb.service");
    std::fs::copy(unit, root.join("etc/systemd/system/rstmdb.service")).unwrap();
    make("programs");
    std::fs::copy(env!("CARGO_BIN_EXE_rstmdb"), root.join("programs/rstmdb")).unwrap();
}

/// What the scenario said; an error when this machine can't boot a container. What hangs is a failure anywhere.
fn boot(program: &[&str], seconds_max: u32) -> Result<BTreeMap<String, String>, String> {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    make_root(root);
    let mut nspawn = Command::new("timeout");
    nspawn.args(["--kill-after=10", &seconds_max.to_string()]).args(program);
    nspawn.arg("--directory").arg(root).args(["--bind-ro=/usr", "--register=no", "--keep-unit"]);
    nspawn.arg(format!("--bind-ro={}:/usr/local/bin", root.join("programs").display()));
    nspawn.args(["--console=pipe", "--private-network", "--boot", "systemd.unit=probe.service"]);
    let output = nspawn.output().map_err(|error| format!("systemd-nspawn: {error}"))?;
    let said = std::fs::read_to_string(root.join("said"));
    let why = String::from_utf8_lossy(&output.stderr);
    // `timeout` ends with 124 when it ended what it ran, and with the signal, or 137, when it had to kill.
    let hung = matches!(output.status.code(), None | Some(124 | 137));
    assert!(!hung, "the boot hung, {}: {}\n{said:?}", output.status, why.trim());
    let said = said.map_err(|_| format!("systemd-nspawn can't boot here: {}", why.trim()))?;
    println!("{said}");
    assert!(said.contains("done: 0"), "the scenario did not come to its end:\n{said}");
    let facts = said.lines().filter_map(|line| line.split_once(": "));
    Ok(facts.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// Whether this runs in a container; some of those can boot another one.
fn is_container() -> bool {
    let said = Command::new("systemd-detect-virt").arg("--container").output();
    said.map_or(true, |said| String::from_utf8_lossy(&said.stdout).trim() != "none")
}

#[test]
fn a_boot_that_hangs_is_a_failure_anywhere() {
    for script in ["exec sleep 600", "exit 137"] {
        let hung = std::panic::catch_unwind(|| boot(&["sh", "-c", script], 1));
        let message = hung.expect_err(script).downcast::<String>().unwrap();
        assert!(message.contains("the boot hung"), "{script}: {message}");
    }
}

#[test]
fn a_boot_that_fails_says_why() {
    let why = boot(&["sh", "-c", "echo no cgroups >&2; exit 1"], 60).unwrap_err();
    assert!(why.contains("no cgroups"), "{why}");
}

#[test]
fn the_unit_does_under_systemd_what_the_guide_says() {
    // The scenario itself is given two minutes.
    let said = match boot(&["systemd-nspawn"], 300) {
        Ok(said) => said,
        Err(why) => {
            let why = format!(
                "the unit was not booted: {why}; it takes root and systemd-nspawn (Debian: apt-get install systemd systemd-container)"
            );
            // Only root could mend it, and in a container often nobody.
            let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
            assert!(std::env::var_os("CI").is_none() || !is_root || is_container(), "{why}");
            return eprintln!("{why}");
        }
    };
    for (name, expected) in [
        ("start", "0"),
        ("state", "active"),
        ("status", "serving 127.0.0.1:7401"),
        ("data", "rstmdb 700"),
        ("socket", "rstmdb 600"),
        ("reload", "0"),
        ("refused-reload", "1"),
        ("state-after-refusal", "active"),
        ("tokens-beside-the-file", "0"),
        ("restart", "0"),
        ("wrong-start", "1"),
        ("wrong-state", "failed 2 restarts 0"),
        ("no-file", "failed 3 restarts 0"),
        ("killed", "active restarts 1"),
        ("stopped", "inactive 0"),
    ] {
        assert_eq!(said.get(name).map(String::as_str), Some(expected), "{name}: {said:#?}");
    }
    let errors: u32 = said["errors-in-the-journal"].parse().unwrap();
    assert!(errors >= 2, "the journal knows which lines are errors: {said:#?}");
}
