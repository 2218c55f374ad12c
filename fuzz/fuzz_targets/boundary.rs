//! Requests and options as a foreign language hands them over: the first byte chooses the operation, 0 the options.
#![no_main]

use rstmdb_bridge::Database;
use rstmdb_bridge::types::Operation;

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
    let answer = database.start_json(operation, request).wait();
    assert!(answer.is_ok_and(|text| text.starts_with(['{', '['])) || operation.can_fail() || !request.is_empty());
    if let Ok((_, watch)) = database.watch_start_json(operation, request).wait() {
        watch.end();
    }
    database.close().expect("memory can be closed");
});
