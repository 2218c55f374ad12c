//! Chaos from outside: groups of servers, each on a machine of its own that is a network namespace, clients in several languages, and
//! faults of network, processes, disks, clocks and members, one every few seconds.
//!
//! What the clients were told is checked: the history of each instance has to have an order that explains it, watchers are shown
//! everything once and in order, batches are whole. `cargo xtask chaos` builds what it needs and calls it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg_attr(not(target_os = "linux"), allow(missing_docs))]

#[cfg(target_os = "linux")]
mod client;
#[cfg(target_os = "linux")]
mod faults;
#[cfg(target_os = "linux")]
mod group;
#[cfg(target_os = "linux")]
mod load;
#[cfg(target_os = "linux")]
mod node;
#[cfg(target_os = "linux")]
mod program;
#[cfg(target_os = "linux")]
mod registers;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod watched;
#[cfg(target_os = "linux")]
mod watching;
#[cfg(target_os = "linux")]
mod world;

fn main() -> std::process::ExitCode {
    #[cfg(target_os = "linux")]
    return program::main();
    #[cfg(not(target_os = "linux"))]
    {
        println!("chaos: skipped: it takes the network namespaces of Linux");
        std::process::ExitCode::SUCCESS
    }
}
