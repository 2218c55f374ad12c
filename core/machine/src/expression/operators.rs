//! The operators of expressions, and how tightly they bind: what the parser works by and the reference lists.

use super::syntax::{Arithmetic, Comparator};

/// An operator of the expression language.
#[derive(Debug, PartialEq)]
pub struct Operator {
    /// As it is written.
    pub symbol: &'static str,
    /// How tightly it binds.
    pub binding: Binding,
    /// What it gives, in a sentence.
    pub doc: &'static str,
    pub(super) fixity: Fixity,
}

/// Where an operator stands, and what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fixity {
    /// Before its operand.
    Prefix(Prefix),
    /// Between its operands.
    Infix(Infix),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prefix {
    Not,
    Negate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Infix {
    Choose,
    Any,
    All,
    Compare(Comparator),
    Compute(Arithmetic),
}

const NOT: Fixity = Fixity::Prefix(Prefix::Not);
const NEGATE: Fixity = Fixity::Prefix(Prefix::Negate);
const CHOOSE: Fixity = Fixity::Infix(Infix::Choose);
const ANY: Fixity = Fixity::Infix(Infix::Any);
const ALL: Fixity = Fixity::Infix(Infix::All);

const fn compare(comparator: Comparator) -> Fixity {
    Fixity::Infix(Infix::Compare(comparator))
}

const fn compute(arithmetic: Arithmetic) -> Fixity {
    Fixity::Infix(Infix::Compute(arithmetic))
}

macro_rules! operators {
    ($($(#[doc = $level_doc:literal])+ $level:ident {
        $($(#[doc = $doc:literal])+ $symbol:literal => $fixity:expr;)+
    })+) => {
        /// How tightly operators bind, the loosest first: an operand takes in all operators that bind
        /// at least as tightly.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Binding {
            $($(#[doc = $level_doc])+ $level,)+
        }

        impl Binding {
            /// Every level, the loosest first.
            pub const ALL: &'static [Binding] = &[$(Binding::$level,)+];

            /// How operators of this level are read: the documentation of the variant.
            pub const fn doc(self) -> &'static str {
                match self { $(Binding::$level => concat!($($level_doc),+).trim_ascii(),)+ }
            }
        }

        /// Every operator, the loosest first.
        pub static OPERATORS: &[Operator] = &[$($(Operator {
            symbol: $symbol,
            binding: Binding::$level,
            doc: concat!($($doc),+).trim_ascii(),
            fixity: $fixity,
        },)+)+];
    };
}

operators! {
    /// Read from right to left: what stands behind `:` may be another one.
    Choice {
        /// `a ? b : c` is `b` when `a` counts as true and else `c`. Only one of them is looked at.
        "?" => CHOOSE;
    }
    /// Joined from left to right.
    Or {
        /// True when either side counts as true. The right side is not looked at when the left one does.
        "||" => ANY;
    }
    /// Joined from left to right.
    And {
        /// True when both sides count as true. The right side is not looked at when the left one does not.
        "&&" => ALL;
    }
    /// Stands before the whole comparison that follows it; within a comparison it needs parentheses.
    Not {
        /// True when what follows counts as false.
        "!" => NOT;
    }
    /// One in an expression: comparisons don't chain.
    Compare {
        /// Whether both are the same.
        "==" => compare(Comparator::Equal);
        /// Whether `==` is false.
        "!=" => compare(Comparator::NotEqual);
        /// Whether the left one is less: a smaller number, or a string that comes first, byte by byte.
        "<" => compare(Comparator::Less);
        /// Whether the left one is less or the same.
        "<=" => compare(Comparator::LessOrEqual);
        /// Whether the left one is greater.
        ">" => compare(Comparator::Greater);
        /// Whether the left one is greater or the same.
        ">=" => compare(Comparator::GreaterOrEqual);
        /// Whether the left one is an element of a list, a part of a string, or a key of an object.
        "in" => compare(Comparator::In);
    }
    /// Computed from left to right.
    Sum {
        /// The sum of two numbers.
        "+" => compute(Arithmetic::Add);
        /// The difference of two numbers.
        "-" => compute(Arithmetic::Subtract);
    }
    /// Computed from left to right.
    Product {
        /// The product of two numbers.
        "*" => compute(Arithmetic::Multiply);
        /// The quotient of two numbers; of integers an integer where it comes out even.
        "/" => compute(Arithmetic::Divide);
        /// The remainder of a division, with the sign of the left number.
        "%" => compute(Arithmetic::Remainder);
    }
    /// Stands before a value.
    Unary {
        /// The number with the other sign.
        "-" => NEGATE;
    }
}

impl Binding {
    /// The level of a right operand: what stands behind an operator of this level and is as loose is not
    /// its operand any more.
    pub(super) fn tighter(self) -> Binding {
        Binding::ALL.get(self as usize + 1).copied().unwrap_or(self)
    }
}

/// The operator that the text begins with: the longest, and of two that look alike the one between operands.
pub(super) fn leading(text: &str) -> Option<&'static Operator> {
    // The last of the longest is taken, so the table is read from its end.
    OPERATORS
        .iter()
        .rev()
        .filter(|operator| text.starts_with(operator.symbol))
        .max_by_key(|operator| operator.symbol.len())
}

/// The operator that is written as this word.
pub(super) fn named(word: &str) -> Option<&'static Operator> {
    OPERATORS.iter().find(|operator| operator.symbol == word)
}

/// What the symbol does before an operand, and how tightly it binds there.
pub(super) fn prefix(symbol: &str) -> Option<(Prefix, Binding)> {
    OPERATORS.iter().find_map(|operator| match operator.fixity {
        Fixity::Prefix(prefix) if operator.symbol == symbol => Some((prefix, operator.binding)),
        _ => None,
    })
}
