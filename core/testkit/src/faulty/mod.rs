//! A disk that tears, lies, fills up and loses power, the same way every time for the same seed.
//!
//! It keeps what the running machine sees apart from what is durable: a write or a change of length is
//! pending until a sync of that file, a created, renamed or removed name until `sync_dir` of its
//! directory. A crash keeps what was synced and, of the rest, what its variant says. Nothing here reads
//! a clock or a random source, so as long as its caller makes the same calls in the same order, a run
//! is repeated by its seed.
//!
//! ```
//! use rstmdb_engine::storage::Storage;
//! use rstmdb_testkit::faulty::{Call, Crash, Effect, Fault, FaultyStorage};
//!
//! let storage = FaultyStorage::new(7);
//! storage.inject(Fault::new(Call::Sync, Effect::DropPending).path("log").nth(2));
//! let file = storage.create("log").unwrap();
//! file.write_all_at(b"synced", 0).unwrap();
//! file.sync_data().unwrap();
//! storage.sync_dir("").unwrap();
//! file.write_all_at(b" and lost", 6).unwrap();
//! assert!(file.sync_data().is_err());
//! assert!(file.sync_data().is_ok(), "the kernel forgot that it failed");
//!
//! let image = storage.image(); // cheap: crash the same moment in many ways
//! for crash in Crash::variants(1, 50) {
//!     let after = image.crash(crash); // a fresh machine, unlocked
//!     assert_eq!(after.contents("log").unwrap(), b"synced");
//! }
//! ```

mod bytes;
mod crash;
mod disk;
mod faults;
mod inspect;
mod machine;
mod rng;

pub use bytes::SECTOR_BYTES;
pub use crash::{Crash, KeepBytes, KeepNames};
pub use faults::{Call, Effect, Fault, is_power_off};
pub use inspect::DiskImage;
pub use machine::{FaultyStorage, When};
pub use rng::Rng;
