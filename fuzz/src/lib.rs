//! The bodies of the fuzz targets, one module for each part of rstmdb.
//!
//! They are functions of bytes that panic when something is wrong, so that plain tests can replay
//! the corpus through them. Those for the files of a database need its private formats and are in
//! `rstmdb_engine::fuzzing`.

pub mod csv_import;
pub mod machine;
pub mod peer;
