//! The words of expressions that stand for something: what the parser works by and the reference lists.

macro_rules! words {
    ($($level:literal {
        $($(#[doc = $doc:literal])+ $variant:ident = $name:literal;)*
    })*) => {
        /// A word of the expression language that stands for a value.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum GuardWord {
            $($($(#[doc = $doc])+ $variant,)*)*
        }

        impl GuardWord {
            /// Every word.
            pub const ALL: &'static [GuardWord] = &[$($(GuardWord::$variant,)*)*];

            /// As it is written.
            pub const fn name(self) -> &'static str {
                match self { $($(GuardWord::$variant => $name,)*)* }
            }

            /// What it stands for: the documentation of the variant.
            pub const fn doc(self) -> &'static str {
                match self { $($(GuardWord::$variant => concat!($($doc),+).trim_ascii(),)*)* }
            }

            /// The language level that it came with.
            pub const fn level(self) -> u32 {
                match self { $($(GuardWord::$variant => $level,)*)* }
            }
        }
    };
}

words! {
    1 {
        /// The instance's context as it is stored, before the payload is merged into it. A member of it is meant:
        /// alone it may only be an argument of a function, or stand to the right of `in`.
        Ctx = "ctx";
        /// The payload of the event, or a member of it; null when the event has none.
        Payload = "payload";
        /// The name of the state that the instance is in, a string.
        State = "state";
        /// When the request was taken, in milliseconds since 1970 in UTC, an integer. It is stamped once and nothing
        /// else in a guard tells time.
        Now = "now";
        /// The boolean.
        True = "true";
        /// The boolean.
        False = "false";
        /// What a path gives that leads nowhere, and arithmetic without a result.
        Null = "null";
    }
    2 {
        /// The name of the event, a string.
        Event = "event";
        /// The instance's id, a string.
        InstanceId = "instance.id";
        /// The name of the instance's machine, a string.
        InstanceMachine = "instance.machine";
        /// The version of the instance's machine, an integer.
        InstanceVersion = "instance.version";
        /// When the instance was created, in milliseconds since 1970 in UTC, an integer.
        InstanceCreatedAt = "instance.created_at";
    }
}

impl GuardWord {
    /// The word that is written so.
    pub(super) fn named(name: &str) -> Option<GuardWord> {
        GuardWord::ALL.iter().copied().find(|word| word.name() == name)
    }

    /// Whether a word begins so, up to its dot.
    pub(super) fn begins(first: &str) -> bool {
        GuardWord::ALL.iter().any(|word| word.name().split('.').next() == Some(first))
    }
}
