//! The published Python client against this server, as its users drive it.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use rstmdb_testkit::server::Certificates;

use crate::launch;

/// The package; a later one is another test.
const PACKAGE: &str = "rstmdb==0.2.1";

/// The interpreter of an environment that has the package; made once, then no network is needed.
fn interpreter() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-client-0.2.1");
        let python = folder.join("bin").join("python");
        // Written last, so that half an environment is made anew.
        let complete = folder.join("complete");
        if !complete.exists() {
            let _ = std::fs::remove_dir_all(&folder);
            must_run(Command::new("python3").args(["-m", "venv"]).arg(&folder));
            let install =
                ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE];
            must_run(Command::new(&python).args(install));
            std::fs::write(complete, PACKAGE).unwrap();
        }
        python
    })
}

/// Runs a step of the installation; what is missing is named.
fn must_run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?}: {error}; install python3 with its venv module and try again")
    });
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
}

fn client(scenario: &str, address: std::net::SocketAddr, options: &[String]) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/python_client/client.py");
    let mut command = Command::new(interpreter());
    command.arg(script).arg(scenario);
    command.args([&address.ip().to_string(), &address.port().to_string()]).args(options);
    command
}

/// Runs a scenario to its end; returns the parts it printed.
fn run(scenario: &str, address: std::net::SocketAddr, options: &[String]) -> Vec<String> {
    let output = client(scenario, address, options).output().unwrap();
    let (said, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{scenario}: {}\n{said}{errors}", output.status);
    said.lines().map(str::to_owned).collect()
}

#[test]
fn the_published_client_works_as_before() {
    let directory = tempfile::tempdir().unwrap();
    let server = launch(directory.path()).start();
    let parts = run("plain", server.address(), &[]);
    assert_eq!(parts, ["machines", "instances", "batches", "storage", "many", "watches"]);
    server.await_idle();
    server.stop();
}

#[test]
fn the_published_client_authenticates() {
    let directory = tempfile::tempdir().unwrap();
    let server = launch(directory.path())
        .set("auth.required", true)
        .env(
            "RSTMDB_AUTH_TOKEN_HASH",
            "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b",
        )
        .start();
    assert_eq!(run("token", server.address(), &["token=secret".to_owned()]), ["token"]);
    server.stop();
}

#[test]
fn the_published_client_speaks_tls_on_both_sides() {
    let directory = tempfile::tempdir().unwrap();
    let certificates = Certificates::create(directory.path());
    let server = launch(&directory.path().join("data"))
        .set("tls.enabled", true)
        .set("tls.cert_path", certificates.server_cert.display())
        .set("tls.key_path", certificates.server_key.display())
        .set("tls.require_client_cert", true)
        .set("tls.client_ca_path", certificates.ca.display())
        .start();
    let option = |name: &str, path: &Path| format!("{name}={}", path.display());
    let options = [
        option("ca", &certificates.ca),
        option("cert", &certificates.client_cert),
        option("key", &certificates.client_key),
    ];
    assert_eq!(run("tls", server.address(), &options), ["tls"]);
    server.stop();
}

#[test]
fn the_published_client_notices_that_the_server_stops() {
    let directory = tempfile::tempdir().unwrap();
    let server = launch(directory.path()).start();
    let mut watching = client("restart", server.address(), &[])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(watching.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "connected\n");
    server.stop();
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "restart\n");
    assert!(watching.wait().unwrap().success());
}
