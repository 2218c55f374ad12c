//! A server that does nothing: for each frame one fixed frame, as the limit of what this machine's
//! network and scheduler allow.
//!
//! It has the shape of a real one: a task for each connection on tokio's threads, all buffered
//! frames read at once and answered in one write.

use std::io::Write;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::rcp;

/// Serves until the process is killed; prints the address first.
pub fn serve(kind: &str) {
    let answer = match kind {
        "apply" => rcp::answer(7),
        "get" => rcp::got(7),
        other => panic!("--null-server apply|get, not {other}"),
    };
    let listener = std::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    println!("{}", listener.local_addr().unwrap());
    std::io::stdout().flush().unwrap();
    serve_on(listener, answer);
}

/// Answers every frame with the same one, for ever.
pub fn serve_on(listener: std::net::TcpListener, answer: Vec<u8>) {
    let answer: &'static [u8] = Vec::leak(answer);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_io().build().unwrap();
    runtime.block_on(async move {
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::spawn(echo(stream, answer));
        }
    });
}

async fn echo(mut stream: TcpStream, answer: &[u8]) {
    let (mut received, mut out) = (Vec::with_capacity(64 << 10), Vec::new());
    while stream.read_buf(&mut received).await.is_ok_and(|count| count > 0) {
        let mut at = 0;
        while let Ok(Some((_, end))) = rcp::first_frame(&received[at..]) {
            at += end;
            out.extend_from_slice(answer);
        }
        received.drain(..at);
        if stream.write_all(&out).await.is_err() {
            return;
        }
        out.clear();
    }
}
