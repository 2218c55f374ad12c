//! Runs `rstmdb_server::fuzzing::requests` on generated input.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rstmdb_server::fuzzing::requests(data));
