//! Guards: conditions on the context, the payload, the state and the time.
//!
//! A guard is parsed once and evaluated straight over canonical JSON text, without building trees.
//! The language is a superset of the existing server's: what that accepts means the same here,
//! except trailing text (an error here) and backslashes in strings (escapes here).
//!
//! ```text
//! or         = and { "||" and }
//! and        = not { "&&" not }
//! not        = "!" not | comparison
//! comparison = sum [ ( "==" | "!=" | "<" | "<=" | ">" | ">=" | "in" ) sum ]
//! sum        = product { ( "+" | "-" ) product }
//! product    = unary { ( "*" | "/" | "%" ) unary }
//! unary      = "-" unary | primary
//! primary    = "(" or ")" | path | "state" | "now" | literal | function "(" or { "," or } ")"
//! path       = ( "ctx" | "payload" ) { "." name | "[" index "]" }
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
//! - **`now`** is the request's time in milliseconds; nothing in a guard reads a clock.
//! - **The payload** is not in `ctx` yet: it is merged after the guard has passed.
//!
//! The words, operators and functions are in [`language`](crate::language), each with what it gives.

mod error;
mod evaluate;
mod explain;
pub(crate) mod functions;
mod lexer;
mod lookup;
pub(crate) mod operators;
mod parser;
mod syntax;
mod value;
pub(crate) mod words;

use rstmdb_types::{JsonRef, Result, TimestampMs};

pub use explain::{Explanation, SeenValue};
pub(crate) use parser::Integers;

/// How deeply parentheses, `!`, unary `-` and function calls may nest in a guard.
///
/// Definitions are kept for ever, so this may grow but never shrink.
pub const GUARD_DEPTH_MAX: usize = 128;

/// How many operands and operators a guard may have; like the depth, it may only grow.
pub const GUARD_NODES_MAX: usize = 10_000;

/// A parsed guard; the language is described in [the module](self).
///
/// ```
/// use rstmdb_machine::{Guard, Scope};
/// use rstmdb_types::Json;
/// let guard = Guard::parse("ctx.total >= 100 && ctx.paid")?;
/// let ctx = Json::parse(r#"{"total":40,"paid":true}"#).unwrap();
/// let scope = Scope { ctx: ctx.root(), payload: None, state: "created", now_ms: 0 };
/// assert!(!guard.evaluate(&scope));
/// let why = guard.explain(&scope).unwrap();
/// assert_eq!(why.to_string(), "`ctx.total >= 100` is false (ctx.total = 40)");
/// # Ok::<(), rstmdb_types::Error>(())
/// ```
#[derive(Debug)]
pub struct Guard {
    text: Box<str>,
    /// None where it would take more memory than there is for it: then it is parsed for each use.
    root: Option<Box<syntax::Node>>,
}

/// What a guard can see.
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
}

impl Guard {
    /// Parses a guard; the whole text has to be one expression.
    ///
    /// # Errors
    ///
    /// `BAD_REQUEST` with reason `invalid_guard`, context `line` and `column` (both from 1, columns
    /// in characters) and a message that shows the place with a caret.
    pub fn parse(text: &str) -> Result<Guard> {
        Guard::parse_as(text, "guard", Integers::Exact)
    }

    /// Parses the guard at `path` of a definition; errors name the path. What is parsed is kept as far as
    /// `room` bytes go.
    pub(crate) fn parse_at(
        text: &str,
        path: &str,
        integers: Integers,
        room: &mut usize,
    ) -> Result<Guard> {
        let what = format!("definition: {path}");
        let mut guard =
            Guard::parse_as(text, &what, integers).map_err(|error| error.with("path", path))?;
        let size = guard.root.as_mut().map_or(0, |root| root.settle());
        match room.checked_sub(size + size_of::<syntax::Node>()) {
            Some(left) => *room = left,
            None => guard.root = None,
        }
        Ok(guard)
    }

    fn parse_as(text: &str, what: &str, integers: Integers) -> Result<Guard> {
        match parser::parse(text, integers) {
            Ok(root) => Ok(Guard { text: text.into(), root: Some(Box::new(root)) }),
            Err(error) => Err(error.into_error(text, what)),
        }
    }

    /// Looks at what was parsed, now or before.
    fn look<T>(&self, look: impl FnOnce(&syntax::Node) -> T) -> T {
        match &self.root {
            Some(root) => look(root),
            // It was parsed before, so this can't fail; a condition that nobody knows does not hold.
            None => look(
                &parser::parse(&self.text, Integers::OrFloats)
                    .unwrap_or(syntax::Node::Literal(syntax::Literal::Bool(false))),
            ),
        }
    }

    /// Whether it is kept parsed.
    #[cfg(test)]
    pub(crate) fn is_kept(&self) -> bool {
        self.root.is_some()
    }

    /// The guard as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the guard passes. Allocates only where a function makes a new string or a string
    /// with escapes is looked into, and for guards of a definition that has more of them than it keeps
    /// parsed.
    pub fn evaluate(&self, scope: &Scope<'_>) -> bool {
        self.look(|root| evaluate::truth(root, scope))
    }

    /// Why the guard does not pass; None when it does.
    pub fn explain(&self, scope: &Scope<'_>) -> Option<Explanation> {
        self.look(|root| explain::explain(&self.text, root, scope))
    }
}
