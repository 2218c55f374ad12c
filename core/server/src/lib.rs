//! The rstmdb server: RCP over TCP and TLS, metrics and health over HTTP, and its configuration.
#![deny(missing_docs)]

pub mod auth;
pub mod config;
pub mod logging;
pub mod tls;
