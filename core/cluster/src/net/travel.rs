//! Messages as they come out at the other end, for who delivers them without sockets: they go through their bytes.

use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};

use super::convert;
use crate::peer::{Decoder, Message, MessageError};
use crate::raft::TypeConfig;

/// Why a message did not come out as it was.
#[derive(Debug)]
pub enum TravelError {
    /// Its bytes are none.
    Malformed(MessageError),
    /// It is another one.
    Other(Option<Message>),
}

fn through_bytes(message: &Message) -> Result<Message, TravelError> {
    let bytes = message.encode(0, 1);
    let read = Decoder::default().read(&mut &*bytes).map_err(TravelError::Malformed)?;
    read.map(|envelope| envelope.message).ok_or(TravelError::Other(None))
}

/// Entries on their way.
pub fn append(
    request: AppendEntriesRequest<TypeConfig>,
) -> Result<AppendEntriesRequest<TypeConfig>, TravelError> {
    match through_bytes(&Message::Append(convert::append_out(request)))? {
        Message::Append(append) => Ok(convert::append_in(append)),
        other => Err(TravelError::Other(Some(other))),
    }
}

/// What became of them.
pub fn appended(
    response: &AppendEntriesResponse<TypeConfig>,
) -> Result<AppendEntriesResponse<TypeConfig>, TravelError> {
    match through_bytes(&Message::Appended(convert::appended_out(response)))? {
        Message::Appended(appended) => Ok(convert::appended_in(appended)),
        other => Err(TravelError::Other(Some(other))),
    }
}

/// A candidate on its way; with the votes before votes, if `is_before`.
pub fn candidacy(
    request: &VoteRequest<TypeConfig>,
    is_before: bool,
) -> Result<VoteRequest<TypeConfig>, TravelError> {
    let candidacy = convert::candidacy_out(request);
    let message = if is_before { Message::PreVote(candidacy) } else { Message::Vote(candidacy) };
    match through_bytes(&message)? {
        Message::PreVote(candidacy) if is_before => Ok(convert::candidacy_in(candidacy)),
        Message::Vote(candidacy) if !is_before => Ok(convert::candidacy_in(candidacy)),
        other => Err(TravelError::Other(Some(other))),
    }
}

/// What a node thinks of it.
pub fn verdict(
    response: &VoteResponse<TypeConfig>,
) -> Result<VoteResponse<TypeConfig>, TravelError> {
    match through_bytes(&Message::Voted(convert::verdict_out(response)))? {
        Message::Voted(verdict) => Ok(convert::verdict_in(verdict)),
        other => Err(TravelError::Other(Some(other))),
    }
}
