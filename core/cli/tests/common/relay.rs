//! A relay between a client and a server, for connections that are not what they should be. It lives
//! as long as the test.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

const HEADER_BYTES: usize = 18;

/// Takes the word `extended` out of the hello: so both sides talk as they would with an older
/// version.
pub fn older(server: SocketAddr) -> SocketAddr {
    start(move |_, mut client| {
        let mut header = [0; HEADER_BYTES];
        client.read_exact(&mut header).unwrap();
        let length = u32::from_be_bytes(header[10..14].try_into().unwrap());
        let mut hello = vec![0; length as usize];
        client.read_exact(&mut hello).unwrap();
        let hello = String::from_utf8(hello).unwrap().replace("\"extended\"", "\"extender\"");
        // Without a checksum.
        header[6..8].copy_from_slice(&[0, 0]);
        let mut upstream = TcpStream::connect(server).unwrap();
        upstream.write_all(&header).unwrap();
        upstream.write_all(hello.as_bytes()).unwrap();
        join(client, upstream, u64::MAX);
    })
}

/// Cuts the first connections off after as many bytes of answers as `cuts` says, one after another.
pub fn cutting(server: SocketAddr, cuts: Vec<u64>) -> SocketAddr {
    start(move |number, client| {
        let upstream = TcpStream::connect(server).unwrap();
        join(client, upstream, cuts.get(number).copied().unwrap_or(u64::MAX));
    })
}

fn start(mut serve: impl FnMut(usize, TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for (number, client) in listener.incoming().enumerate() {
            serve(number, client.unwrap());
        }
    });
    address
}

/// Copies both ways, until one side ends or there were so many bytes of answers.
fn join(client: TcpStream, upstream: TcpStream, answer_bytes: u64) {
    let (requests, answers) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
    copy(requests, upstream, u64::MAX);
    copy(answers, client, answer_bytes);
}

fn copy(from: TcpStream, mut to: TcpStream, bytes_max: u64) {
    thread::spawn(move || {
        // A connection that ends is how every test ends.
        let _ = std::io::copy(&mut (&from).take(bytes_max), &mut to);
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}
