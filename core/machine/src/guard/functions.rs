//! The functions a guard may call.

macro_rules! functions {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $arguments:literal;)*) => {
        /// A function of the guard language.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Function {
            $($(#[$doc])* $variant,)*
        }

        impl Function {
            /// Every name, for suggestions.
            pub(super) const NAMES: &'static [&'static str] = &[$($name,)*];

            pub(super) fn named(name: &str) -> Option<Function> {
                match name {
                    $($name => Some(Function::$variant),)*
                    _ => None,
                }
            }

            /// How many arguments it takes.
            pub(super) fn arguments(self) -> usize {
                match self { $(Function::$variant => $arguments,)* }
            }
        }
    };
}

functions! {
    /// Characters of a string, elements of a list, members of an object.
    Size = "size", 1;
    /// Whether a string starts with another.
    StartsWith = "starts_with", 2;
    /// Whether a string ends with another.
    EndsWith = "ends_with", 2;
    /// `in` with its sides exchanged.
    Contains = "contains", 2;
    /// A string in lower case.
    Lower = "lower", 1;
    /// A string in upper case.
    Upper = "upper", 1;
    /// Whether a path leads anywhere; evaluated on the path itself, not on its value.
    Exists = "exists", 1;
}
