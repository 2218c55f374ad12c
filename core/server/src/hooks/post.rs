//! A POST to an address.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Facts;
use super::answer::OutsideAnswer;
use crate::config::HttpUrl;

/// So much is read of an answer.
const ANSWER_BYTES_MAX: u64 = 4096;

/// Sends what is told as JSON; a status of 200 to 299 is good, and 409 forbids.
pub(super) async fn send(url: &HttpUrl, facts: &Facts) -> io::Result<OutsideAnswer> {
    let members = facts.iter().map(|(name, value)| (name.to_lowercase(), value.as_str().into()));
    let body = serde_json::Value::Object(members.collect()).to_string();
    let mut stream = TcpStream::connect(url.address()).await?;
    let request = format!(
        "POST {} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        url.path(),
        url.host(),
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, said) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.lines().next().unwrap_or_default().to_owned();
    let said = said.trim();
    let told = if said.is_empty() { status.clone() } else { format!("{status}: {said}") };
    Ok(match status.split(' ').nth(1).and_then(|code| code.parse().ok()) {
        Some(200..=299) => OutsideAnswer::Done,
        Some(409) => OutsideAnswer::Forbidden(told),
        _ => OutsideAnswer::Failed(told),
    })
}
