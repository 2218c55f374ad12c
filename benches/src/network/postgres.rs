//! PostgreSQL: one statement that updates under a guard and inserts a row of history.
//!
//! The statement is prepared once for each connection and commits by itself; with more in flight
//! they are pipelined. The load knows the states, so no `SELECT` comes before.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::workload::{EVENT, STATES, context, id};

pub const USER: &str = "bench";

const SCHEMA: &str = "
    CREATE TABLE instances (id text PRIMARY KEY, state text NOT NULL, ctx jsonb NOT NULL,
        updated_at timestamptz NOT NULL DEFAULT now()) WITH (fillfactor = 50);
    CREATE TABLE history (number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        id text NOT NULL, event text NOT NULL, from_state text NOT NULL, to_state text NOT NULL,
        payload jsonb NOT NULL, at timestamptz NOT NULL DEFAULT now());";

const APPLY: &str = "
    WITH moved AS (
        UPDATE instances SET state = $2::text, ctx = ctx || $3::jsonb, updated_at = now()
        WHERE id = $1 AND state = $4::text
            AND (ctx->'total')::int >= 0 AND (ctx->'paid')::boolean
        RETURNING id)
    INSERT INTO history (id, event, from_state, to_state, payload)
        SELECT id, $5::text, $4::text, $2::text, $3::jsonb FROM moved
        RETURNING number";

const ROWS_AT_ONCE: usize = 500;

/// Counts transactions; each must have inserted one row.
#[derive(Debug, Clone, Default)]
pub struct Scanner;

impl Scanner {
    pub fn scan(&mut self, bytes: &[u8], answers: &mut usize) -> Result<usize, String> {
        let (mut at, mut used) = (0, 0);
        while let Some((kind, body, length)) = message(&bytes[at..]) {
            match kind {
                b'E' => return Err(body.escape_ascii().to_string()),
                b'C' if body != b"INSERT 0 1\0" => return Err(body.escape_ascii().to_string()),
                b'Z' => *answers += 1,
                _ => {}
            }
            at += length;
            used = at;
        }
        Ok(used)
    }
}

/// The first whole message: its kind, its body, its length.
fn message(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let head = bytes.get(..5)?;
    let length = 1 + u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    Some((head[0], bytes.get(5..length)?, length))
}

fn put(out: &mut Vec<u8>, kind: u8, body: &[u8]) {
    out.push(kind);
    out.extend_from_slice(&u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    out.extend_from_slice(body);
}

/// Bind, execute and sync for one transition of an instance that is in the state `from`.
pub fn apply(i: usize, from: usize, payload: &str) -> Vec<u8> {
    let (id, to) = (id(i), STATES[(from + 1) % STATES.len()]);
    let values = [&*id, to, payload, STATES[from], EVENT];
    // Unnamed portal, statement `a`; all in text.
    let mut body = b"\0a\0\0\0".to_vec();
    body.extend_from_slice(&u16::try_from(values.len()).unwrap().to_be_bytes());
    for value in values {
        body.extend_from_slice(&u32::try_from(value.len()).unwrap().to_be_bytes());
        body.extend_from_slice(value.as_bytes());
    }
    body.extend_from_slice(b"\0\0");
    let mut out = Vec::new();
    put(&mut out, b'B', &body);
    put(&mut out, b'E', b"\0\0\0\0\0");
    put(&mut out, b'S', b"");
    out
}

/// A session that is logged in.
pub fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let body = format!("\0\x03\0\0user\0{USER}\0database\0postgres\0\0");
    let mut startup = u32::try_from(body.len() + 4).unwrap_or_default().to_be_bytes().to_vec();
    startup.extend_from_slice(body.as_bytes());
    stream.write_all(&startup)?;
    until_ready(&mut stream)?;
    Ok(stream)
}

/// Prepares the transition.
pub fn prepare(stream: &mut TcpStream) {
    let mut out = Vec::new();
    put(&mut out, b'P', format!("a\0{APPLY}\0\0\0").as_bytes());
    put(&mut out, b'S', b"");
    stream.write_all(&out).unwrap();
    until_ready(stream).unwrap();
}

/// Makes the tables and fills them.
pub fn fill(stream: &mut TcpStream, count: usize) {
    query(stream, SCHEMA);
    for first in (0..count).step_by(ROWS_AT_ONCE) {
        let rows: Vec<String> = (first..count.min(first + ROWS_AT_ONCE))
            .map(|i| format!("('{}', '{}', '{}')", id(i), STATES[0], context(i)))
            .collect();
        let rows = rows.join(",");
        query(stream, &format!("INSERT INTO instances (id, state, ctx) VALUES {rows}"));
    }
    query(stream, "VACUUM ANALYZE instances");
}

fn query(stream: &mut TcpStream, text: &str) {
    let mut out = Vec::new();
    put(&mut out, b'Q', format!("{text}\0").as_bytes());
    stream.write_all(&out).unwrap();
    until_ready(stream).unwrap();
}

fn until_ready(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut received = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece)?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        received.extend_from_slice(&piece[..count]);
        let mut at = 0;
        while let Some((kind, body, length)) = message(&received[at..]) {
            match kind {
                b'E' => return Err(std::io::Error::other(body.escape_ascii().to_string())),
                b'Z' => return Ok(()),
                _ => at += length,
            }
        }
    }
}
