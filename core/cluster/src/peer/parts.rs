//! What messages of several types have in them.

use rstmdb_engine::replication::{Installed, LogFrame};

use super::fields::{BodyReader, BodyWriter};
use super::malformed::MessageError;

/// A checkpoint that can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// Where the log goes on behind it.
    pub at: Installed,
    /// Its size.
    pub bytes: u64,
}

/// The frames go on from each other, so that nothing is in between.
pub(super) fn take_frames_of(body: &mut BodyReader<'_>) -> Result<Vec<LogFrame>, MessageError> {
    let mut frames: Vec<LogFrame> = Vec::new();
    while !body.is_empty() {
        let frame = body.sized("frames")?;
        let frame = LogFrame::decode(frame).map_err(|_| body.wrong("frames"))?;
        if frames.last().is_some_and(|before| before.index() + 1 != frame.index()) {
            return Err(body.wrong("indexes"));
        }
        frames.push(frame);
    }
    Ok(frames)
}

pub(super) fn put_offer(body: &mut BodyWriter, offer: &Offer) {
    let Installed { database, offset, index, term, chain, next, boundary, at_ms, until } = offer.at;
    body.raw(&database);
    for value in [offset, index, term, chain, next, boundary, at_ms as u64, until, offer.bytes] {
        body.u64(value);
    }
}

pub(super) fn take_offer(body: &mut BodyReader<'_>) -> Result<Offer, MessageError> {
    let at = Installed {
        database: body.array("database")?,
        offset: body.u64("offset")?,
        index: body.u64("index")?,
        term: body.u64("term")?,
        chain: body.u64("chain")?,
        next: body.u64("next")?,
        boundary: body.u64("boundary")?,
        at_ms: body.u64("time")? as i64,
        until: body.u64("until")?,
    };
    let bytes = body.u64("bytes")?;
    // Numbers that later ones are counted from stay far below the end.
    let numbers = [at.offset, at.index, at.next, at.boundary, at.until, bytes];
    if numbers.iter().any(|number| *number > i64::MAX as u64) {
        return Err(body.wrong("numbers"));
    }
    if at.until < at.index || at.boundary > at.offset || at.next == 0 {
        return Err(body.wrong("place"));
    }
    Ok(Offer { at, bytes })
}
