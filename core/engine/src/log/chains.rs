//! Where the effects of an instance are, remembered between the pages of its history.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use rstmdb_types::{Offset, Text};

/// Chains remembered, and offsets in all of them.
const CHAINS_MAX: usize = 64;
const OFFSETS_MAX: usize = 1 << 20;

/// The offsets of an instance's effects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    /// The effect before the first of these, 0 for none.
    pub before: Offset,
    /// Oldest first.
    pub offsets: Vec<Offset>,
}

/// The chains used last, one for each instance.
///
/// A committed effect never changes, and neither does the one before it: what is remembered of a chain
/// stays true however it goes on.
#[derive(Debug, Default)]
pub(crate) struct Chains {
    recent: Mutex<VecDeque<(Text, Arc<Chain>)>>,
}

impl Chains {
    pub(crate) fn get(&self, id: &str) -> Option<Arc<Chain>> {
        let mut recent = self.recent.lock();
        let at = recent.iter().position(|(known, _)| known == id)?;
        let entry = recent.remove(at)?;
        let chain = entry.1.clone();
        recent.push_back(entry);
        Some(chain)
    }

    /// Remembers a chain in the place of what was known of the instance.
    pub(crate) fn put(&self, id: &str, chain: Arc<Chain>) {
        let mut recent = self.recent.lock();
        recent.retain(|(known, _)| known != id);
        if chain.offsets.len() > OFFSETS_MAX {
            return;
        }
        recent.push_back((id.into(), chain));
        let mut offsets: usize = recent.iter().map(|(_, chain)| chain.offsets.len()).sum();
        while recent.len() > CHAINS_MAX || offsets > OFFSETS_MAX {
            let Some((_, oldest)) = recent.pop_front() else { break };
            offsets -= oldest.offsets.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(count: usize) -> Arc<Chain> {
        Arc::new(Chain { before: 0, offsets: (1..=count as Offset).collect() })
    }

    #[test]
    fn the_chains_used_last_are_kept() {
        let chains = Chains::default();
        for number in 0..CHAINS_MAX {
            chains.put(&number.to_string(), chain(1));
        }
        assert!(chains.get("0").is_some());
        chains.put("new", chain(1));
        assert!(chains.get("0").is_some() && chains.get("new").is_some());
        assert!(chains.get("1").is_none());
        chains.put("large", chain(OFFSETS_MAX - 1));
        assert!(chains.get("large").is_some() && chains.get("new").is_some());
        assert!(chains.get("2").is_none());
        chains.put("new", chain(OFFSETS_MAX + 1));
        assert!(chains.get("new").is_none());
    }
}
