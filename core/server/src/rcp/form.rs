//! The form of an answer, and an answer that was written elsewhere.

use rstmdb_protocol::result::WireResult;
use rstmdb_protocol::{Dialect, ReadWish, WireCommand, WireMode, message};
use rstmdb_types::{Result, Text};

use crate::calls::{Call, Caller, Commit, CountedError, Events};

/// How the answer to a request is written.
#[derive(Debug, Clone)]
pub(crate) struct AnswerForm {
    pub id: Text,
    pub command: WireCommand,
    pub mode: WireMode,
    pub dialect: Dialect,
    /// How fresh what is read has to be, where that was said.
    pub wish: Option<ReadWish>,
}

impl AnswerForm {
    /// Appends the answer; returns what it failed with, if it did.
    pub(crate) fn write<T: WireResult + ?Sized>(
        &self,
        result: Result<&T>,
        out: &mut Vec<u8>,
    ) -> Option<CountedError> {
        let written = match result {
            Ok(result) => message::respond(out, self.mode, self.dialect, &self.id, result),
            Err(error) => {
                message::refuse(out, self.mode, &self.id, &error);
                Err(error)
            }
        };
        written.err().map(|error| CountedError::of(&error))
    }

    /// An answer that waits for nothing.
    pub(crate) fn known<T: WireResult + ?Sized>(&self, result: Result<&T>) -> WrittenAnswer {
        let mut bytes = Vec::new();
        let error = self.write(result, &mut bytes);
        WrittenAnswer { bytes, error, commit: None, watch: None }
    }

    /// Carries a call out; its answer waits for the commit.
    pub(crate) fn carry_out(&self, caller: &mut Caller, call: Call) -> WrittenAnswer {
        let call = Call { wish: self.wish, ..call };
        let (commit, written) = caller.submit_with(call, |outcome| self.known(outcome));
        WrittenAnswer { commit: Some(commit), ..written }
    }
}

/// The answer of a request that ran on another thread.
pub(crate) struct WrittenAnswer {
    pub bytes: Vec<u8>,
    pub error: Option<CountedError>,
    /// What the answer waits for.
    pub commit: Option<Commit>,
    /// The subscription that begins after the answer.
    pub watch: Option<Box<Events>>,
}
