//! The library's words, and those that travel.

use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use openraft::vote::leader_id_std::CommittedLeaderId;

use crate::peer::{AppendFrames, Appended, Candidacy, EntryName, PeerVote, Succession, Verdict};
use crate::raft::{Entry, LogId, TypeConfig, Vote};

pub(super) fn vote_out(vote: &Vote) -> PeerVote {
    let (term, node) = (vote.leader_id.term, vote.leader_id.voted_for);
    PeerVote { term, node, is_elected: vote.committed }
}

pub(super) fn vote_in(vote: PeerVote) -> Vote {
    match vote.is_elected {
        true => Vote::new_committed(vote.term, vote.node),
        false => Vote::new(vote.term, vote.node),
    }
}

pub(super) fn entry_out(id: &LogId) -> EntryName {
    EntryName { term: id.leader_id.term, index: id.index }
}

pub(super) fn entry_in(name: EntryName) -> LogId {
    LogId::new(CommittedLeaderId::new(name.term), name.index)
}

pub(super) fn candidacy_out(request: &VoteRequest<TypeConfig>) -> Candidacy {
    Candidacy {
        vote: vote_out(&request.vote),
        last: request.last_log_id.as_ref().map(entry_out),
        is_handed_over: request.leadership_transfer,
    }
}

pub(super) fn candidacy_in(candidacy: Candidacy) -> VoteRequest<TypeConfig> {
    VoteRequest {
        vote: vote_in(candidacy.vote),
        last_log_id: candidacy.last.map(entry_in),
        leadership_transfer: candidacy.is_handed_over,
    }
}

pub(super) fn verdict_out(response: &VoteResponse<TypeConfig>) -> Verdict {
    Verdict {
        vote: vote_out(&response.vote),
        is_granted: response.vote_granted,
        last: response.last_log_id.as_ref().map(entry_out),
    }
}

pub(super) fn verdict_in(verdict: Verdict) -> VoteResponse<TypeConfig> {
    let last = verdict.last.map(entry_in);
    VoteResponse::new(vote_in(verdict.vote), last, verdict.is_granted)
}

pub(super) fn append_out(request: AppendEntriesRequest<TypeConfig>) -> AppendFrames {
    AppendFrames {
        vote: vote_out(&request.vote),
        before: request.prev_log_id.as_ref().map(entry_out),
        committed: request.leader_commit.as_ref().map(entry_out),
        frames: request.entries.into_iter().map(Entry::into_frame).collect(),
    }
}

pub(super) fn append_in(append: AppendFrames) -> AppendEntriesRequest<TypeConfig> {
    AppendEntriesRequest {
        vote: vote_in(append.vote),
        prev_log_id: append.before.map(entry_in),
        leader_commit: append.committed.map(entry_in),
        entries: append.frames.into_iter().map(Entry::of_frame).collect(),
    }
}

pub(super) fn appended_out(response: &AppendEntriesResponse<TypeConfig>) -> Appended {
    match response {
        AppendEntriesResponse::Success => Appended::All,
        AppendEntriesResponse::PartialSuccess(last) => Appended::UpTo(last.as_ref().map(entry_out)),
        AppendEntriesResponse::Conflict => Appended::Conflict,
        AppendEntriesResponse::HigherVote(vote) => Appended::Outvoted(vote_out(vote)),
    }
}

pub(super) fn appended_in(appended: Appended) -> AppendEntriesResponse<TypeConfig> {
    match appended {
        Appended::All => AppendEntriesResponse::Success,
        Appended::UpTo(last) => AppendEntriesResponse::PartialSuccess(last.map(entry_in)),
        Appended::Conflict => AppendEntriesResponse::Conflict,
        Appended::Outvoted(vote) => AppendEntriesResponse::HigherVote(vote_in(vote)),
    }
}

pub(super) fn succession_out(request: &TransferLeaderRequest<TypeConfig>) -> Succession {
    Succession {
        vote: vote_out(request.from_leader()),
        to: *request.to_node_id(),
        last: request.last_log_id().map(entry_out),
    }
}

pub(super) fn succession_in(succession: Succession) -> TransferLeaderRequest<TypeConfig> {
    let last = succession.last.map(entry_in);
    TransferLeaderRequest::new(vote_in(succession.vote), succession.to, last)
}
