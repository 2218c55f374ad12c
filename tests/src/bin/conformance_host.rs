//! Servers on request for conformance runners, until standard input ends.
//!
//! Prints `{"listening": "127.0.0.1:PORT"}`; `tests/conformance/SPEC.md` says what to send there.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{Read, Write};
use std::net::TcpListener;

fn main() {
    let root = tempfile::tempdir().expect("a directory for databases");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().unwrap();
    println!("{}", serde_json::json!({"listening": address.to_string()}));
    std::io::stdout().flush().unwrap();
    let path = root.path().to_owned();
    std::thread::spawn(move || rstmdb_testkit::host::serve(listener, &path));
    let mut rest = Vec::new();
    // An error is an end too.
    let _ = std::io::stdin().read_to_end(&mut rest);
    // Nobody is left to be told that something could not be removed.
    let _ = root.close();
}
