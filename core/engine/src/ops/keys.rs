//! Idempotency keys: finding the answer to a request that was there before.

use rstmdb_types::error::reason;
use rstmdb_types::{Error, ErrorCode, Operation, OperationRequest, Result, Text};

use super::decision::Env;
use crate::log::KeyRef;
use crate::state::{KeyEntry, KeyTable, Owner};

/// The key of a request, and what tells the request from others with the same key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keyed {
    pub fingerprint: u64,
    pub global: bool,
}

impl Keyed {
    /// Of a request that has the key `key`; a request without one gets no fingerprint.
    pub(crate) fn new<R: OperationRequest>(key: Option<&Text>, request: &R) -> Keyed {
        let fingerprint = key.map_or(0, |_| fingerprint(R::OPERATION, request));
        Keyed { fingerprint, global: false }
    }

    /// As the log keeps it.
    pub(crate) fn key_ref(self, key: Option<&Text>) -> Option<KeyRef<'_>> {
        let Keyed { fingerprint, global } = self;
        key.map(|key| KeyRef { key, fingerprint, global })
    }

    /// Looks the request up: an error means that the key was for another one.
    pub(crate) fn find<'a>(
        self,
        table: &'a KeyTable,
        owner: Owner,
        key: &str,
        env: &Env<'_>,
    ) -> Result<Option<&'a KeyEntry>> {
        let Some(entry) = table.find(owner, key, env.key_now, env.bounds) else { return Ok(None) };
        if entry.fingerprint == self.fingerprint {
            return Ok(Some(entry));
        }
        Err(reused(entry, "another request"))
    }
}

/// A number that differs between requests that are not the same.
fn fingerprint<T: serde::Serialize>(operation: Operation, request: &T) -> u64 {
    let mut bytes = operation.wire_name().as_bytes().to_vec();
    bytes.push(0);
    // Requests are plain data: serialising one can't fail.
    let _ = serde_json::to_writer(&mut bytes, request);
    xxhash_rust::xxh3::xxh3_64(&bytes)
}

/// The refusal of a key that was used for something else.
fn reused(entry: &KeyEntry, what: &str) -> Error {
    let key = &entry.key;
    let message = format!("idempotency_key {key:?} was used for {what}; use a new key");
    Error::new(ErrorCode::Conflict, message)
        .with_reason(reason::IDEMPOTENCY_KEY_REUSED)
        .with("idempotency_key", key.as_str())
        .with("wal_offset", entry.offset)
}

/// A fingerprint matched but the answer is of another operation: only a hash collision could do it.
pub(crate) fn wrong_answer(entry: &KeyEntry) -> Error {
    reused(entry, "another operation")
}
