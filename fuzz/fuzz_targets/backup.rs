//! Runs `rstmdb_engine::fuzzing::backup` on generated input.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rstmdb_engine::fuzzing::backup(data));
