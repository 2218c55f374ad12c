//! Runs `rstmdb_fuzz::peer::messages` on generated input.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rstmdb_fuzz::peer::messages(data));
