//! The words of guards that stand for something: what the parser works by and the reference lists.

macro_rules! words {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal;)*) => {
        /// A word of the guard language that stands for a value.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum GuardWord {
            $($(#[doc = $doc])+ $variant,)*
        }

        impl GuardWord {
            /// Every word.
            pub const ALL: &'static [GuardWord] = &[$(GuardWord::$variant,)*];

            /// As it is written.
            pub const fn name(self) -> &'static str {
                match self { $(GuardWord::$variant => $name,)* }
            }

            /// What it stands for: the documentation of the variant.
            pub const fn doc(self) -> &'static str {
                match self { $(GuardWord::$variant => concat!($($doc),+).trim_ascii(),)* }
            }

            pub(super) fn named(name: &str) -> Option<GuardWord> {
                match name {
                    $($name => Some(GuardWord::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

words! {
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
