//! Databases in service, and what holds them: sessions outlive them.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rstmdb_engine::Engine;
use tokio::sync::watch;

/// A database while it is in service, and after that as long as anybody waits for it.
#[derive(Debug)]
pub(super) struct Service {
    pub engine: Arc<Engine>,
    pub number: u64,
    pub newest: Arc<AtomicU64>,
}

/// A caller's hold on a database. It is counted for each caller by itself: holds come and go with every
/// request, and cores would hand a count that all share to and fro.
#[derive(Debug, Clone)]
pub(super) struct Hold(Arc<Held>);

#[derive(Debug)]
struct Held {
    service: Arc<Service>,
}

impl Hold {
    pub(super) fn new(service: Arc<Service>) -> Hold {
        Hold(Arc::new(Held { service }))
    }

    /// Tells the database from others that were or will be in service.
    pub(super) fn number(&self) -> u64 {
        self.0.service.number
    }

    /// Whether another database has taken its place.
    pub(super) fn is_over(&self) -> bool {
        let service = &self.0.service;
        service.newest.load(Ordering::Acquire) > service.number
    }
}

impl Deref for Hold {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.0.service.engine
    }
}

/// What tells a caller of the database in service.
pub(super) type News = watch::Receiver<Option<Arc<Service>>>;
