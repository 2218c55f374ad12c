//! Answers and events on their way out, in order.
//!
//! An answer is written out when its request was evaluated and leaves when what it says is durable:
//! everything behind a gate that is still closed stays. A commit that fails turns its answer into an
//! error before anybody sees it.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use rstmdb_protocol::{WireCommand, WireMode, message};
use rstmdb_types::Text;
use tokio::io::AsyncWrite;

use super::form::AnswerForm;
use crate::calls::{Caller, Commit, CountedError};

/// What an empty buffer may keep.
const KEPT_BYTES: usize = 16 << 10;

/// An answer that waits for its commit, and what follows it.
struct Gate {
    commit: Commit,
    command: WireCommand,
    began: Instant,
    id: Text,
    mode: WireMode,
    /// Where the answer is, counted like `Outbox::written`.
    begin: u64,
    end: u64,
    error: Option<CountedError>,
}

/// The write side of a connection.
#[derive(Default)]
pub(crate) struct Outbox {
    buffer: Vec<u8>,
    /// Bytes at the front of the buffer that were sent.
    sent: usize,
    /// The position of the buffer's front in all that was ever written.
    base: u64,
    gates: VecDeque<Gate>,
    needs_flush: bool,
}

impl Outbox {
    /// Bytes that wait to be sent.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.buffer.len() - self.sent
    }

    /// Requests whose commit is not known.
    pub(crate) fn open_gates(&self) -> usize {
        self.gates.len()
    }

    /// Whether everything was sent.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting_bytes() == 0 && !self.needs_flush
    }

    /// The place to append messages that wait for nothing but what is before them.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Keeps the answer that was appended from `begin` on until `commit` came out well.
    pub(crate) fn hold(
        &mut self,
        begin: usize,
        mut commit: Commit,
        began: Instant,
        form: &AnswerForm,
        error: Option<CountedError>,
        caller: &mut Caller,
    ) {
        if self.gates.is_empty()
            && let Some(Ok(())) = commit.settled()
        {
            return caller.answered(form.command, began, error, Instant::now());
        }
        let (begin, end) = (self.base + begin as u64, self.base + self.buffer.len() as u64);
        self.gates.push_back(Gate {
            commit,
            command: form.command,
            began,
            id: form.id.clone(),
            mode: form.mode,
            begin,
            end,
            error,
        });
    }

    /// Opens the gates whose commits are known. With a context, asks to be woken for the next one.
    pub(crate) fn settle(
        &mut self,
        mut context: Option<&mut Context<'_>>,
        now: Instant,
        caller: &mut Caller,
    ) -> bool {
        let mut opened = false;
        while let Some(gate) = self.gates.front_mut() {
            let settled = match &mut context {
                None => gate.commit.settled(),
                Some(context) => match Pin::new(&mut gate.commit).poll(context) {
                    Poll::Ready(settled) => Some(settled),
                    Poll::Pending => None,
                },
            };
            let Some(settled) = settled else { break };
            let Some(mut gate) = self.gates.pop_front() else { break };
            opened = true;
            caller.count_wait(now - gate.began);
            if let Err(error) = settled {
                gate.error = Some(CountedError::of(&error));
                let mut answer = Vec::new();
                message::refuse(&mut answer, gate.mode, &gate.id, &error);
                self.replace(gate.begin, gate.end, &answer);
            }
            caller.answered(gate.command, gate.began, gate.error, now);
        }
        opened
    }

    /// Puts other bytes in the place of an answer.
    fn replace(&mut self, begin: u64, end: u64, answer: &[u8]) {
        let place = |at: u64| usize::try_from(at - self.base).unwrap_or(usize::MAX);
        let (from, to) = (place(begin), place(end).min(self.buffer.len()));
        self.buffer.splice(from..to, answer.iter().copied());
        let moved = |at: u64| at - end + begin + answer.len() as u64;
        for gate in &mut self.gates {
            gate.begin = moved(gate.begin);
            gate.end = moved(gate.end);
        }
    }

    /// How far the buffer may be sent.
    fn sendable(&self) -> usize {
        match self.gates.front() {
            Some(gate) => usize::try_from(gate.begin - self.base).unwrap_or(0),
            None => self.buffer.len(),
        }
    }

    /// Sends what may be sent; ready when all of that is with the system.
    pub(crate) fn poll_send<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let end = self.sendable();
        let mut bytes = 0;
        while self.sent < end {
            let chunk = self.buffer.get(self.sent..end).unwrap_or_default();
            match Pin::new(&mut *stream).poll_write(context, chunk) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => {
                    self.sent += written;
                    bytes += written;
                    self.needs_flush = true;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if bytes > 0 => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        self.forget_sent();
        if self.needs_flush {
            match Pin::new(&mut *stream).poll_flush(context) {
                Poll::Ready(flushed) => {
                    flushed?;
                    self.needs_flush = false;
                }
                // What was taken counts; the next turn asks again.
                Poll::Pending if bytes > 0 => {}
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(bytes))
    }

    fn forget_sent(&mut self) {
        if self.sent == self.buffer.len() {
            self.base += self.sent as u64;
            self.buffer.clear();
            self.buffer.shrink_to(KEPT_BYTES);
            self.sent = 0;
        } else if self.sent > KEPT_BYTES && self.sent > self.buffer.len() / 2 {
            self.base += self.sent as u64;
            self.buffer.drain(..self.sent);
            self.sent = 0;
        }
    }
}
