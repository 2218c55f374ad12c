//! Redis: a hash for each instance, and the transition as a Lua script.
//!
//! The context's members are fields of the hash, which is faster than JSON in a script. It keeps no
//! history and answers with the new state alone.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::workload::{EVENT, STATES, id};

/// One array of bulk strings, as commands are sent.
pub fn command(words: &[&str]) -> Vec<u8> {
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        text.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    text.into_bytes()
}

/// The script that takes an instance and an event, checks, moves and merges.
pub fn script() -> String {
    let moves: Vec<String> = (0..STATES.len())
        .map(|i| format!("['{}/{EVENT}']='{}'", STATES[i], STATES[(i + 1) % STATES.len()]))
        .collect();
    format!(
        "local held = redis.call('HMGET', KEYS[1], 'state', 'total', 'paid')
         if not held[1] then return redis.error_reply('INSTANCE_NOT_FOUND') end
         local to = ({{{}}})[held[1] .. '/' .. ARGV[1]]
         if not to then return redis.error_reply('INVALID_TRANSITION') end
         if tonumber(held[2]) < 0 or held[3] ~= 'true' then
             return redis.error_reply('GUARD_FAILED')
         end
         redis.call('HSET', KEYS[1], 'state', to, ARGV[2], ARGV[3])
         return to",
        moves.join(",")
    )
}

pub fn create(i: usize) -> Vec<u8> {
    let (customer, total) = (format!("c-{i:07}"), (1000 + i % 9000).to_string());
    let (n, note) = ((100 + i % 900).to_string(), "-".repeat(40));
    let words =
        ["HSET", &*id(i), "state", STATES[0], "customer", &customer, "n", &n, "note", &note];
    command(&[&words[..], &["paid", "true", "total", &total]].concat())
}

pub fn apply(sha: &str, i: usize, n: usize) -> Vec<u8> {
    command(&["EVALSHA", sha, "1", &id(i), EVENT, "n", &n.to_string()])
}

/// Loads the script; returns its name.
pub fn load_script(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(&command(&["SCRIPT", "LOAD", &script()])).unwrap();
    let mut answer = Vec::new();
    let mut answers = 0;
    while answers == 0 {
        let mut piece = [0; 256];
        let count = stream.read(&mut piece).unwrap();
        assert!(count > 0, "redis closed the connection");
        answer.extend_from_slice(&piece[..count]);
        scan(&answer, &mut answers).unwrap();
    }
    let text = String::from_utf8(answer).unwrap();
    text.split("\r\n").nth(1).unwrap().to_owned()
}

/// Counts simple strings, integers and bulk strings.
pub fn scan(bytes: &[u8], answers: &mut usize) -> Result<usize, String> {
    let mut at = 0;
    while let Some(line) = memchr::memchr(b'\n', &bytes[at..]) {
        let text = &bytes[at..at + line];
        let mut end = at + line + 1;
        match text.first() {
            Some(b'+' | b':') => {}
            Some(b'$') => {
                let digits = text[1..].strip_suffix(b"\r").unwrap_or_default();
                let length = std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok());
                let length: usize = length.ok_or_else(|| text.escape_ascii().to_string())?;
                end += length + 2;
            }
            _ => return Err(text.escape_ascii().to_string()),
        }
        if end > bytes.len() {
            break;
        }
        *answers += 1;
        at = end;
    }
    Ok(at)
}
