//! Runs `rstmdb_fuzz::csv_import::csv_import` on generated input.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rstmdb_fuzz::csv_import::csv_import(data));
