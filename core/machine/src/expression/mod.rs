//! Expressions: values of the context, the payload, the state and the time. A guard is one that is a condition.
//!
//! An expression is parsed once and evaluated straight over canonical JSON text, without building trees.
//! The language is a superset of the existing server's: what that accepts means the same here,
//! except trailing text (an error here) and backslashes in strings (escapes here). It grows by levels: what a
//! text of an older level means never changes.
//!
//! ```text
//! expression = or [ "?" expression ":" expression ]
//! or         = and { "||" and }
//! and        = not { "&&" not }
//! not        = "!" not | comparison
//! comparison = sum [ ( "==" | "!=" | "<" | "<=" | ">" | ">=" | "in" ) sum ]
//! sum        = product { ( "+" | "-" ) product }
//! product    = unary { ( "*" | "/" | "%" ) unary }
//! unary      = "-" unary | primary
//! primary    = "(" expression ")" | path | "state" | "now" | literal | call | list
//!            | "event" | "instance.id" | "instance.machine" | "instance.version" | "instance.created_at"
//! call       = function "(" expression { "," expression } ")"
//!            | ( "any" | "all" | "map" | "filter" ) "(" expression "," name "," expression ")"
//! list       = "[" [ expression { "," expression } ] "]"
//! path       = ( "ctx" | "payload" | name ) { "." name | "[" index "]" }
//! name       = one or more of letter, digit, "_", "."        index = digits | string
//! literal    = "true" | "false" | "null" | string | digits [ "." digits ] [ "e" [ "+" | "-" ] digits ]
//! ```
//!
//! - **`!`** applies to the whole comparison: `!ctx.a == 1` is `!(ctx.a == 1)`. Inside a comparison
//!   it needs parentheses. Comparisons don't chain: `1 < ctx.a < 5` is an error.
//! - **Paths.** A name is split at its dots and each part looks up a member, so `ctx.items.0` is a
//!   *member* `0`; an element is `ctx.items[0]`, and a member whose name is no name is
//!   `ctx["first-name"]`. What is not there is null. `ctx` alone is only allowed as an argument of
//!   a function and to the right of `in`; `payload` alone is a value, null when there is none.
//! - **Truth.** Null, false, 0, `""`, `[]` and `{}` are false, all else is true. `&&`, `||`, `!`
//!   and comparisons give true or false, never the operand.
//! - **Equality.** Values of different types differ; a list or an object equals nothing, not even
//!   itself. Two integers compare exactly; if a number is no integer, both are taken as 64-bit
//!   floats and are equal when they differ by less than 2^-52. `!=` is the negation of `==`.
//! - **Order.** Numbers compare with numbers, strings with strings (byte by byte); any other order
//!   comparison is false. Nothing is tolerated: what `==` takes for the same may still be less or greater.
//! - **`in`.** An element of a list (as `==` finds it), a part of a string, the key of an object;
//!   anything else is false. `contains(a, b)` is `b in a`.
//! - **Arithmetic** is for numbers; with anything else it gives null. Integers stay exact: a result
//!   outside the `i64`/`u64` range is null, `7 / 2` is 3.5 and `6 / 2` the integer 3, `%` has the
//!   sign of its left side. Division by zero, and a float result that is not finite, give null.
//! - **Lists.** `[a, b]` makes one. In `any(list, x, e)`, `all`, `map` and `filter` the name `x`, any that means nothing else,
//!   stands for each element in turn in `e`, and paths go on from it: `x.price`, `x[0]`.
//! - **Cost** is counted, in nodes that are evaluated and in bytes, never in time: `evaluation_steps_max`,
//!   `evaluation_bytes_max`. An event that takes more is refused with the reason `limit_exceeded`.
//! - **`now`** is the request's time in milliseconds; nothing in a guard reads a clock.
//! - **The payload** is not in `ctx` yet: it is merged after the guard has passed.
//!
//! The words, operators and functions are in [`language`](crate::language), each with what it gives.

mod budget;
mod call;
mod calls;
mod error;
mod evaluate;
mod explain;
pub(crate) mod functions;
mod guard;
mod lexer;
mod lists;
mod lookup;
mod numbers;
pub(crate) mod operators;
mod parser;
mod syntax;
mod texts;
mod times;
mod value;
pub(crate) mod words;

use rstmdb_types::error::reason;
use rstmdb_types::{Json, JsonRef, Result, TimestampMs};

pub(crate) use budget::Meter;
pub use budget::{Allowance, EvaluationBudget};
use evaluate::Evaluation;
pub use explain::{Explanation, SeenValue};
pub use guard::Guard;
pub(crate) use parser::Integers;

/// How deeply parentheses, `!`, unary `-`, `? :`, lists and function calls may nest in an expression.
///
/// Definitions are kept for ever, so this may grow but never shrink.
pub const GUARD_DEPTH_MAX: usize = 128;

/// How many operands and operators an expression may have; like the depth, it may only grow.
pub const GUARD_NODES_MAX: usize = 10_000;

/// What a byte of an expression counts each time that it is parsed.
const PARSED_WEIGHT: usize = 16;

/// What an expression can see.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The stored context, before the payload is merged into it.
    pub ctx: JsonRef<'a>,
    /// The event's payload.
    pub payload: Option<JsonRef<'a>>,
    /// The name of the current state.
    pub state: &'a str,
    /// The command's timestamp.
    pub now_ms: TimestampMs,
    /// The event's name.
    pub event: &'a str,
    /// What never changes of the instance.
    pub instance: InstanceFacts<'a>,
}

/// What never changes of an instance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InstanceFacts<'a> {
    /// Its id.
    pub id: &'a str,
    /// The name of its machine.
    pub machine: &'a str,
    /// The version of its machine.
    pub version: u32,
    /// When it was created.
    pub created_at_ms: TimestampMs,
}

impl Default for Scope<'_> {
    fn default() -> Self {
        Scope {
            ctx: JsonRef::Object("{}"),
            payload: None,
            state: "",
            now_ms: 0,
            event: "",
            instance: InstanceFacts::default(),
        }
    }
}

/// A parsed expression; the language is described in [the module](self).
#[derive(Debug)]
pub struct Expression {
    text: Box<str>,
    /// None where it would take more memory than there is for it: then it is parsed for each use.
    root: Option<Box<syntax::Node>>,
    level: u32,
}

impl Expression {
    /// Parses an expression; the whole text has to be one.
    ///
    /// # Errors
    ///
    /// `BAD_REQUEST` with reason `invalid_expression`, context `line` and `column` (both from 1, columns
    /// in characters) and a message that shows the place with a caret.
    pub fn parse(text: &str) -> Result<Expression> {
        let reason = reason::INVALID_EXPRESSION;
        Expression::parse_as(text, "expression", reason, Integers::Exact)
    }

    fn parse_as(
        text: &str,
        what: &str,
        reason: &'static str,
        integers: Integers,
    ) -> Result<Expression> {
        match parser::parse(text, integers) {
            Ok((root, level)) => {
                Ok(Expression { text: text.into(), root: Some(Box::new(root)), level })
            }
            Err(error) => Err(error.into_error(text, what, reason)),
        }
    }

    /// Parses the expression at `path` of a definition; errors name the path. What is parsed is kept as far as
    /// `room` bytes go.
    pub(crate) fn parse_at(
        text: &str,
        path: &str,
        reason: &'static str,
        integers: Integers,
        room: &mut usize,
    ) -> Result<Expression> {
        let what = format!("definition: {path}");
        let mut expression = Expression::parse_as(text, &what, reason, integers)
            .map_err(|error| error.with("path", path))?;
        let size = expression.root.as_mut().map_or(0, |root| root.settle());
        match room.checked_sub(size + size_of::<syntax::Node>()) {
            Some(left) => *room = left,
            None => expression.root = None,
        }
        Ok(expression)
    }

    /// Looks at what was parsed, now or before.
    fn look<T>(&self, look: impl FnOnce(&syntax::Node) -> T) -> T {
        match &self.root {
            Some(root) => look(root),
            // It was parsed before, so this can't fail; a condition that nobody knows does not hold.
            None => {
                let parsed = parser::parse(&self.text, Integers::OrFloats);
                let nothing = syntax::Node::Literal(syntax::Literal::Bool(false));
                look(&parsed.map_or(nothing, |(root, _)| root))
            }
        }
    }

    /// Whether it is kept parsed.
    #[cfg(test)]
    fn is_kept(&self) -> bool {
        self.root.is_some()
    }

    /// The expression as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The language level that it needs.
    pub fn level(&self) -> u32 {
        self.level
    }

    /// Whether its cost is counted: what level 1 may cost is bounded by its text.
    fn is_counted(&self) -> bool {
        self.level > 1
    }

    /// Whether it may be parsed once more, should it have to be.
    fn is_affordable(&self, budget: &EvaluationBudget) -> bool {
        self.root.is_some() || budget.make(self.text.len().saturating_mul(PARSED_WEIGHT))
    }

    /// Whether it counts as true; where the budget is exceeded the answer means nothing.
    pub(crate) fn holds(&self, scope: &Scope<'_>, budget: &EvaluationBudget) -> bool {
        self.is_affordable(budget)
            && self.look(|root| evaluate::truth(root, &Evaluation::new(scope, budget)))
    }

    /// What it comes to; where the budget is exceeded the answer means nothing.
    pub fn evaluate(&self, scope: &Scope<'_>, budget: &EvaluationBudget) -> Json {
        if !self.is_affordable(budget) {
            return Json::null();
        }
        self.look(|root| {
            let mut text = String::new();
            evaluate::value(root, &Evaluation::new(scope, budget)).write(&mut text);
            Json::from_canonical(&text)
        })
    }
}
