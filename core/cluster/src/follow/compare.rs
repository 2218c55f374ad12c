//! Where two logs part.

use rstmdb_engine::replication::Replication;
use rstmdb_types::{Offset, Result};

use crate::peer::FrameName;

/// Frames that a replica names at once.
const KNOWN_MAX: u64 = 32;

/// What a source finds when a replica names frames of its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parting {
    /// The newest is here too.
    Same,
    /// Nothing behind this frame is here.
    Last { index: u64, offset: Offset },
    /// The last that is here too lies between these.
    Between { low: u64, high: u64 },
    /// It may be in what this log no longer has.
    Gone,
}

/// Compares frames that a replica named, newest first, with this log up to a frame. `high` is the first that is
/// known to be another one.
pub(super) fn compare(
    replication: Replication<'_>,
    known: &[FrameName],
    to: u64,
    mut high: Option<u64>,
) -> Result<Parting> {
    let first = replication.tip().first_kept;
    for named in known {
        if named.index + 1 < first {
            break;
        }
        let frame = if named.index <= to { replication.frame_at(named.index)? } else { None };
        let is_same = match &frame {
            Some(frame) => FrameName::of(frame) == *named,
            None => *named == FrameName::START,
        };
        if !is_same {
            high = Some(named.index);
            continue;
        }
        return Ok(match high {
            None => Parting::Same,
            Some(high) if high == named.index + 1 => {
                let next = frame.map_or(1, |frame| frame.first() + u64::from(frame.count()));
                Parting::Last { index: named.index, offset: next - 1 }
            }
            Some(high) => Parting::Between { low: named.index, high },
        });
    }
    Ok(match high {
        Some(high) if high > first => Parting::Between { low: first.saturating_sub(1), high },
        Some(_) if first <= 1 => Parting::Last { index: 0, offset: 0 },
        _ => Parting::Gone,
    })
}

/// Frames of this log between two, newest first, evenly over all.
pub(super) fn named_between(
    replication: Replication<'_>,
    low: u64,
    high: u64,
) -> Result<Vec<FrameName>> {
    let tip = replication.tip();
    let low = low.max(tip.first_kept.saturating_sub(1));
    let high = high.min(tip.index + 1);
    let lies_between = high.saturating_sub(low + 1);
    let count = lies_between.min(KNOWN_MAX);
    let mut known = Vec::new();
    for number in 0..count {
        let index = high - 1 - number * lies_between / count;
        known.extend(replication.frame_at(index)?.as_ref().map(FrameName::of));
    }
    if low == 0 {
        known.push(FrameName::START);
    }
    Ok(known)
}
