//! The functions a guard may call.

use std::borrow::Cow;

use super::value::{Value, contains};

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

impl Function {
    /// Applies the function to its arguments; one that it does not take is null.
    pub(super) fn apply<'a>(self, first: Value<'a>, second: Value<'a>) -> Value<'a> {
        let both = || Some((first.text()?, second.text()?));
        match self {
            Function::Size => size(&first),
            Function::StartsWith => {
                Value::Bool(both().is_some_and(|(text, part)| text.starts_with(part.as_ref())))
            }
            Function::EndsWith => {
                Value::Bool(both().is_some_and(|(text, part)| text.ends_with(part.as_ref())))
            }
            Function::Contains => Value::Bool(contains(&first, &second)),
            Function::Lower => first.text().map_or(Value::Null, |text| owned(text.to_lowercase())),
            Function::Upper => first.text().map_or(Value::Null, |text| owned(text.to_uppercase())),
            Function::Exists => Value::Bool(false),
        }
    }
}

fn size<'a>(value: &Value<'_>) -> Value<'a> {
    let count = match value {
        Value::Array(list) => list.elements().count(),
        Value::Object(object) => object.members().count(),
        other => match other.text() {
            Some(text) => text.chars().count(),
            None => return Value::Null,
        },
    };
    Value::Integer(count as i128)
}

fn owned<'a>(text: String) -> Value<'a> {
    Value::Text(Cow::Owned(text))
}
