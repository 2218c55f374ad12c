//! The functions an expression may call: what the parser works by and the reference lists.

macro_rules! functions {
    ($($level:literal {
        $($(#[doc = $doc:literal])+ $variant:ident = $name:literal($($parameter:ident),+ $(; $further:ident)?);)*
    })*) => {
        /// A function of the expression language.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Function {
            $($($(#[doc = $doc])+ $variant,)*)*
        }

        impl Function {
            /// Every function.
            pub const ALL: &'static [Function] = &[$($(Function::$variant,)*)*];

            /// As it is written.
            pub const fn name(self) -> &'static str {
                match self { $($(Function::$variant => $name,)*)* }
            }

            /// What each argument is.
            pub const fn parameters(self) -> &'static [&'static str] {
                match self { $($(Function::$variant => &[$(stringify!($parameter)),+],)*)* }
            }

            /// What further arguments are, of which there may be any number.
            pub const fn further(self) -> Option<&'static str> {
                match self { $($(Function::$variant => {
                    let further: &[&str] = &[$(stringify!($further))?];
                    further.first().copied()
                })*)* }
            }

            /// What it gives, in sentences: the documentation of the variant.
            pub const fn doc(self) -> &'static str {
                match self { $($(Function::$variant => concat!($($doc),+).trim_ascii(),)*)* }
            }

            /// The language level that it came with.
            pub const fn level(self) -> u32 {
                match self { $($(Function::$variant => $level,)*)* }
            }

            pub(super) fn named(name: &str) -> Option<Function> {
                match name {
                    $($($name => Some(Function::$variant),)*)*
                    _ => None,
                }
            }
        }
    };
}

functions! {
    1 {
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
    2 {
        /// Whether the condition holds for an element of the list; in it the name stands for the element. False
        /// unless it is a list.
        Any = "any"(list, name, condition);
        /// Whether the condition holds for every element of the list, as it does for an empty one. False unless it is a list.
        All = "all"(list, name, condition);
        /// The list of what the expression gives for each element; null unless it is a list.
        Map = "map"(list, name, expression);
        /// The list of the elements for which the condition holds; null unless it is a list.
        Filter = "filter"(list, name, condition);
        /// The sum of a list of numbers, 0 of an empty one; null for anything else.
        Sum = "sum"(list);
        /// The element with this index, from 0, or from -1 at the end; null where there is none.
        At = "at"(list, index);
        /// The first element; null where there is none.
        First = "first"(list);
        /// The last element; null where there is none.
        Last = "last"(list);
        /// The list with the value behind it; null unless it is a list.
        Append = "append"(list, value);
        /// The list without the elements that equal the value; null unless it is a list.
        Without = "without"(list, value);
        /// The list in ascending order, of numbers or of strings; null for anything else.
        Sort = "sort"(list);
        /// The names of an object's members, sorted byte by byte; null unless it is an object.
        Keys = "keys"(object);
        /// The member of an object with this name, or the element of a list with this index; null where there is none.
        Get = "get"(value, key);
        /// The first of the values that is not null, else null. Those behind it are not looked at.
        Coalesce = "coalesce"(value; values);
        /// One string of strings, numbers and booleans, or one list of lists; null for anything else.
        Concat = "concat"(value; values);
        /// The elements of the list, strings, numbers and booleans, as one string with the separator between them;
        /// null for anything else.
        Join = "join"(list, separator);
        /// The parts of a string between the separators, its characters when the separator is empty; null unless both
        /// are strings.
        Split = "split"(text, separator);
        /// The string with each `part` in it replaced, nothing when that is empty; null unless all are strings.
        Replace = "replace"(text, part, by);
        /// The string without blanks at its ends; null unless it is a string.
        Trim = "trim"(text);
        /// The characters of a string from `start`, counted from 0, to before `end`, as far as there are any; null unless
        /// it is a string and both are integers of at least 0.
        Substring = "substring"(text, start, end);
        /// Whether the pattern, a regular expression in quotes, is found in the string; false unless it is a string.
        /// `^` and `$` make it fit the whole. It takes linear time, so there are no back-references, and classes such
        /// as `\d` and `\w` are ASCII.
        Matches = "matches"(text, pattern);
        /// The least of numbers, or of the numbers of one list; null for anything else.
        Min = "min"(value; values);
        /// The greatest of numbers, or of the numbers of one list; null for anything else.
        Max = "max"(value; values);
        /// The number without its sign; null unless it is a number.
        Abs = "abs"(number);
        /// The greatest integer that is not greater; null unless it is a number.
        Floor = "floor"(number);
        /// The least integer that is not less; null unless it is a number.
        Ceil = "ceil"(number);
        /// The nearest integer, from the middle the one farther from 0; null unless it is a number.
        Round = "round"(number);
        /// The number without its fraction, of a string the number in it, 1 and 0 of booleans; null for anything else
        /// and for what does not fit 64 bits.
        Int = "int"(value);
        /// The number as a 64-bit float, of a string the number in it, 1.0 and 0.0 of booleans; null for anything else.
        Float = "float"(value);
        /// A string as it is; numbers, booleans, lists and objects as JSON; null of null.
        String = "string"(value);
        /// Whether the value counts as true.
        Bool = "bool"(value);
        /// `"null"`, `"boolean"`, `"number"`, `"string"`, `"list"` or `"object"`.
        Type = "type"(value);
        /// The milliseconds since 1970 in UTC of a time of RFC 3339 such as `"2026-01-01T00:00:00Z"`; null for anything
        /// else. In quotes it has to be one.
        Time = "time"(text);
        /// The time of these milliseconds as `"2026-01-01T00:00:00.000Z"`; null unless it is an integer that falls into
        /// the years 0 to 9999.
        Iso = "iso"(milliseconds);
        /// The milliseconds of a duration such as `"1d2h30m5s250ms"` or `"PT5M"`; null for anything else. In quotes it has
        /// to be one. There are weeks (`w`), and neither months nor years.
        Duration = "duration"(text);
    }
}

impl Function {
    /// Whether its second argument is a name that its third one may use.
    pub(super) fn binds(self) -> bool {
        matches!(self, Function::Any | Function::All | Function::Map | Function::Filter)
    }
}
