//! Broken invariants: never passed over.

use std::fmt;

/// Something that can't be was found. Whoever finds one stops the writing, live as in replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault(&'static str);

impl Fault {
    /// Reports one; where debug assertions are on, it panics, so that tests find it.
    pub(crate) fn new(what: &'static str) -> Fault {
        tracing::error!("an invariant is broken: {what}");
        #[cfg(all(debug_assertions, not(test)))]
        #[expect(clippy::panic, reason = "only where debug assertions are on")]
        {
            panic!("an invariant is broken: {what}");
        }
        #[cfg(not(all(debug_assertions, not(test))))]
        Fault(what)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}
