//! Runs `rstmdb_fuzz::machine::expression` on generated input.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rstmdb_fuzz::machine::expression(data));
