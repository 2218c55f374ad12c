//! Where a database is: in this process, or on a server. Nobody else asks.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rstmdb_engine::Engine;
use rstmdb_types::*;

/// The two places.
#[derive(Clone, Debug)]
pub(crate) enum Backend {
    Embedded(Arc<Engine>),
    #[cfg(feature = "remote")]
    Remote(rstmdb_client::Client),
}

/// A result that is not there yet: of the log, or of a server. Wait for it with [`Pending::wait`],
/// or await it, on any executor.
///
/// Dropping it stops the waiting, not the write.
#[must_use = "a result is known only after waiting"]
#[derive(Debug)]
pub struct Pending<'a, T>(Place<'a, T>);

#[derive(Debug)]
enum Place<'a, T> {
    Embedded(rstmdb_engine::Pending<&'a Engine, T>),
    #[cfg(feature = "remote")]
    Remote(rstmdb_client::Pending<T>),
}

impl<T> Pending<'_, T> {
    /// Whether waiting would return at once. Asking does not get the write going: waiting, awaiting
    /// and dropping do.
    pub fn is_ready(&self) -> bool {
        match &self.0 {
            Place::Embedded(pending) => pending.is_ready(),
            #[cfg(feature = "remote")]
            Place::Remote(pending) => pending.is_ready(),
        }
    }

    /// Waits for the result.
    pub fn wait(self) -> Result<T> {
        match self.0 {
            Place::Embedded(pending) => pending.wait(),
            #[cfg(feature = "remote")]
            Place::Remote(pending) => pending.wait(),
        }
    }

    /// Waits until a request to a server is on its way: the number of those is bounded.
    pub(crate) fn handed_over(self) -> Self {
        #[cfg(feature = "remote")]
        if let Place::Remote(mut pending) = self.0 {
            pending.wait_until_sent();
            return Pending(Place::Remote(pending));
        }
        self
    }
}

impl<T: Unpin> Future for Pending<'_, T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        match &mut self.0 {
            Place::Embedded(pending) => Pin::new(pending).poll(context),
            #[cfg(feature = "remote")]
            Place::Remote(pending) => Pin::new(pending).poll(context),
        }
    }
}

macro_rules! operations {
    ($($(#[$doc:meta])* $kind:ident $variant:ident $name:ident($request:ident) -> $result:ident;)*) => {
        impl Backend {
            $(operations! { @method $kind $name $request $result })*
        }
    };
    (@method memory $name:ident $request:ident $result:ident) => {
        pub(crate) fn $name(&self, request: $request) -> Pending<'_, $result> {
            match self {
                Backend::Embedded(engine) => Pending(Place::Embedded(engine.$name(request))),
                #[cfg(feature = "remote")]
                Backend::Remote(client) => Pending(Place::Remote(client.submit(&request))),
            }
        }
    };
    (@method files $name:ident $request:ident $result:ident) => {
        /// For a thread; see [`Backend::beside`] for executors.
        pub(crate) fn $name(&self, request: $request) -> Result<$result> {
            match self {
                Backend::Embedded(engine) => engine.$name(request).wait(),
                #[cfg(feature = "remote")]
                Backend::Remote(client) => client.submit(&request).wait(),
            }
        }
    };
}

crate::operations::for_each_operation!(operations);

#[cfg(feature = "remote")]
mod marks {
    /// A request that can be sent to a server.
    pub(crate) trait Request: rstmdb_client::Call {}
    impl<R: rstmdb_client::Call> Request for R {}
}

#[cfg(not(feature = "remote"))]
mod marks {
    /// A request.
    pub(crate) trait Request: rstmdb_types::OperationRequest {}
    impl<R: rstmdb_types::OperationRequest> Request for R {}
}

impl Backend {
    /// Runs an operation on files beside the executor; a server needs no thread for it.
    pub(crate) async fn beside<R>(&self, request: R) -> Result<R::Result>
    where
        R: marks::Request + Send + 'static,
        R::Result: Send + 'static,
    {
        match self {
            Backend::Embedded(engine) => {
                let engine = engine.clone();
                crate::threads::unblock(move || engine.call(request).wait()).await
            }
            #[cfg(feature = "remote")]
            Backend::Remote(client) => client.submit(&request).await,
        }
    }

    /// Tells the part of the database in replication; one in this process has none.
    pub(crate) async fn replication_status(&self) -> Result<Json> {
        match self {
            Backend::Embedded(engine) => {
                // A closed one has nothing to tell.
                engine.ping(PingRequest {}).await.map(|_| standalone())
            }
            #[cfg(feature = "remote")]
            Backend::Remote(client) => client.replication_status().await,
        }
    }

    /// As [`Backend::replication_status`], for a thread.
    pub(crate) fn replication_status_blocking(&self) -> Result<Json> {
        match self {
            Backend::Embedded(engine) => engine.ping(PingRequest {}).wait().map(|_| standalone()),
            #[cfg(feature = "remote")]
            Backend::Remote(client) => client.replication_status().wait(),
        }
    }

    /// Waits until everything is settled and gives back what the database holds.
    pub(crate) fn close(&self) -> Result<()> {
        match self {
            Backend::Embedded(engine) => engine.close(),
            #[cfg(feature = "remote")]
            Backend::Remote(client) => {
                client.close_blocking();
                Ok(())
            }
        }
    }

    /// As [`Backend::close`], for executors.
    pub(crate) async fn close_beside(&self) -> Result<()> {
        match self {
            Backend::Embedded(engine) => {
                let engine = engine.clone();
                crate::threads::unblock(move || engine.close()).await
            }
            #[cfg(feature = "remote")]
            Backend::Remote(client) => {
                client.close().await;
                Ok(())
            }
        }
    }
}

fn standalone() -> Json {
    Json::from_canonical(r#"{"role":"standalone"}"#)
}
