//! How fresh a read has to be: members of a request beside its parameters, in the extended dialect alone.

use rstmdb_types::Offset;

use crate::write::Object;

macro_rules! modes {
    ($($(#[doc = $doc:literal])+ $([$attribute:meta])? $mode:ident = $name:literal;)*) => {
        /// How fresh a read has to be.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
        pub enum ReadMode {
            $($(#[doc = $doc])+ $(#[$attribute])? $mode,)*
        }

        impl ReadMode {
            /// Every mode, the strictest first.
            pub const ALL: &'static [ReadMode] = &[$(ReadMode::$mode,)*];

            /// The name on the wire and in URLs, such as `session`.
            pub const fn name(self) -> &'static str {
                match self { $(ReadMode::$mode => $name,)* }
            }
        }
    };
}

modes! {
    /// It sees every change that was acknowledged before it was asked. The default, and never said on the wire.
    [default] Linearizable = "linearizable";
    /// As `linearizable` while clocks run at about the same rate, and without a round trip.
    Lease = "lease";
    /// It sees what this client has written and seen.
    Session = "session";
    /// It is at most so long behind as the request says.
    Bounded = "bounded";
    /// It may be as old as it is.
    Any = "any";
}

impl ReadMode {
    /// Finds a mode by its name.
    pub fn from_name(name: &str) -> Option<ReadMode> {
        ReadMode::ALL.iter().copied().find(|mode| mode.name() == name)
    }

    /// Whether a node that is behind the leader may answer.
    pub fn may_be_behind(self) -> bool {
        matches!(self, ReadMode::Session | ReadMode::Bounded | ReadMode::Any)
    }
}

/// What a request says of its reading.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadWish {
    /// How fresh.
    pub mode: ReadMode,
    /// The highest offset that the client has seen: who answers must have come as far. For `session`.
    pub min_offset: Option<Offset>,
    /// The most that who answers may be behind. For `bounded`.
    pub max_lag_ms: Option<u64>,
}

impl ReadWish {
    /// Appends the members.
    pub(crate) fn put(&self, object: &mut Object<'_>) {
        object.text("read", self.mode.name());
        if let Some(offset) = self.min_offset {
            object.unsigned("min_offset", offset);
        }
        if let Some(lag) = self.max_lag_ms {
            object.unsigned("max_lag_ms", lag);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_modes() {
        for mode in ReadMode::ALL {
            assert_eq!(ReadMode::from_name(mode.name()), Some(*mode));
        }
        assert_eq!(ReadMode::default(), ReadMode::Linearizable);
        assert_eq!(ReadMode::from_name("Any"), None);
    }
}
