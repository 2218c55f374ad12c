//! The bodies of the fuzz targets, one module for each part of rstmdb.
//!
//! They are functions of bytes that panic when something is wrong, so that plain tests can replay
//! the corpus through them.

pub mod csv_import;
pub mod machine;
