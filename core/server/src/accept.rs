//! Accepts the connections of a listener, whatever is spoken on them.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};

/// A pause after the system refused a connection, so that it can recover.
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections until `stop` is done; returns those that are open then. Who goes away without
/// taking them ends them.
///
/// Waits for `room` before each, while others wait in the listener's queue. `serve` may refuse a
/// connection, and else says what serves it.
pub(crate) async fn accept<R, S: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    stop: impl Future<Output = ()>,
    room: impl Fn() -> R,
    serve: impl Fn(TcpStream, SocketAddr, R::Output) -> Option<S>,
) -> JoinSet<()>
where
    R: Future,
{
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let next = async {
            let room = room().await;
            (room, listener.accept().await)
        };
        let (room, accepted) = tokio::select! {
            () = &mut stop => return connections,
            next = next => next,
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                report(ended);
                continue;
            }
        };
        match accepted {
            Ok((stream, address)) => {
                if let Some(serving) = serve(stream, address, room) {
                    connections.spawn(serving);
                }
            }
            Err(error) => {
                tracing::warn!("accepting a connection: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Waits until all connections have ended.
pub(crate) async fn ended(mut connections: JoinSet<()>) {
    while let Some(ended) = connections.join_next().await {
        report(ended);
    }
}

/// A connection that failed concerns no other, but somebody should know.
pub(crate) fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!("a connection failed inside the server: {error}");
    }
}
