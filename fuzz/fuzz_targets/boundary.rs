//! Requests and options as a foreign language hands them over: the first byte chooses the operation, 0 the options.
#![no_main]

use rstmdb_bridge::Database;
use rstmdb_bridge::types::{ErrorKind, Operation};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((chosen, request)) = data.split_first() else { return };
    let Some(operation) = usize::from(*chosen).checked_sub(1) else {
        if let Ok(options) = std::str::from_utf8(request) {
            // Refused before anything is connected to, or opened in memory.
            for url in ["mem:", "rstmdb://"] {
                drop(Database::open(url, options));
            }
        }
        return;
    };
    let database = Database::open("mem:", "").expect("memory can be opened");
    let operation = Operation::ALL[operation % Operation::ALL.len()];
    match database.start_json(operation, request).wait() {
        Ok(text) => assert!(text.starts_with(['{', '[']), "{text}"),
        // A panic is caught, and is this kind: it must not hide here.
        Err(error) => assert_ne!(error.kind(), ErrorKind::Internal, "{error:?}"),
    }
    if let Ok((_, watch)) = database.watch_start_json(operation, request).wait() {
        watch.end();
    }
    database.close().expect("memory can be closed");
});
