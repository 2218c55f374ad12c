//! The functions a guard may call: what the parser works by and the reference lists.

macro_rules! functions {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal($($parameter:ident),+);)*) => {
        /// A function of the guard language.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Function {
            $($(#[doc = $doc])+ $variant,)*
        }

        impl Function {
            /// Every function.
            pub const ALL: &'static [Function] = &[$(Function::$variant,)*];

            /// As it is written.
            pub const fn name(self) -> &'static str {
                match self { $(Function::$variant => $name,)* }
            }

            /// What each argument is.
            pub const fn parameters(self) -> &'static [&'static str] {
                match self { $(Function::$variant => &[$(stringify!($parameter)),+],)* }
            }

            /// What it gives, in sentences: the documentation of the variant.
            pub const fn doc(self) -> &'static str {
                match self { $(Function::$variant => concat!($($doc),+).trim_ascii(),)* }
            }

            pub(super) fn named(name: &str) -> Option<Function> {
                match name {
                    $($name => Some(Function::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

functions! {
    /// How many characters a string has, elements a list, members an object; null for anything else.
    Size = "size"(value);
    /// Whether a string begins with another; false unless both are strings.
    StartsWith = "starts_with"(text, part);
    /// Whether a string ends with another; false unless both are strings.
    EndsWith = "ends_with"(text, part);
    /// `part in whole`, with its sides exchanged.
    Contains = "contains"(whole, part);
    /// The string in lower case; null unless it is a string.
    Lower = "lower"(text);
    /// The string in upper case; null unless it is a string.
    Upper = "upper"(text);
    /// Whether a path leads to something, if only to null. Any other argument is an error.
    Exists = "exists"(path);
}
