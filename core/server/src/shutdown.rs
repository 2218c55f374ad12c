//! The word that the server is stopping, for everyone who must hear it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    Stopping,
    Stopped,
}

/// Shared by all parts of a server.
#[derive(Debug, Clone)]
pub struct Shutdown {
    flag: Arc<AtomicBool>,
    word: watch::Sender<Phase>,
}

impl Default for Shutdown {
    fn default() -> Shutdown {
        Shutdown { flag: Arc::default(), word: watch::Sender::new(Phase::Serving) }
    }
}

impl Shutdown {
    /// Tells everyone. Saying it again changes nothing.
    pub fn begin(&self) {
        self.flag.store(true, Ordering::Release);
        self.word.send_replace(Phase::Stopping);
    }

    /// Tells everyone that the database is closed.
    pub fn end(&self) {
        self.word.send_replace(Phase::Stopped);
    }

    /// Waits until it was said.
    pub fn begun(&self) -> impl Future<Output = ()> + Send + use<> {
        self.reached(Phase::Stopping)
    }

    /// Waits until the database is closed.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        self.reached(Phase::Stopped)
    }

    fn reached(&self, phase: Phase) -> impl Future<Output = ()> + Send + use<> {
        let mut word = self.word.subscribe();
        async move {
            // The sender lives as long as any part of the server.
            let _ = word.wait_for(|now| *now >= phase).await;
        }
    }

    /// Whether it was said, for a quick look.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.flag.clone()
    }
}
