//! Every case that needs no server runs, on tiny sizes.
#![cfg(target_os = "linux")]

use std::process::Command;

#[test]
fn every_case_runs() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_rstmdb-benches"))
        .args(["micro", "memory", "durable", "reads", "footprint", "recovery", "--quick", "--dir"])
        .arg(folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| Case"));
    assert_eq!(rows.clone().count(), 37, "{text}");
    for row in rows {
        assert!(!row.contains("NaN") && !row.contains("inf"), "{row}");
    }
}
