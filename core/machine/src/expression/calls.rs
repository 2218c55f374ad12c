//! Checks a call that was read: how many arguments it has, and those that must be written out.

use rstmdb_types::json::unescape;

use super::error::{ParseResult, SyntaxError};
use super::functions::Function;
use super::syntax::{Literal, Match, Node, PATTERN_BYTES_MAX};
use super::times;
use crate::warnings::shorten;

/// The node of a call, whose name stands at byte `at` and its arguments at `places`.
pub(super) fn checked(
    function: Function,
    arguments: Vec<Node>,
    at: usize,
    places: &[usize],
) -> ParseResult<Node> {
    let name = function.name();
    let (found, parameters) = (arguments.len(), function.parameters().len());
    let fits = found == parameters || found > parameters && function.further().is_some();
    if !fits {
        let takes = match (parameters, function.further()) {
            (1, None) => "1 argument".to_owned(),
            (1, Some(_)) => "1 argument or more".to_owned(),
            (count, _) => format!("{count} arguments"),
        };
        let message = format!("function {name} takes {takes}, found {found}");
        return Err(SyntaxError::new(at, message));
    }
    let written = arguments.iter().map(written).collect::<Vec<_>>();
    let place = |index: usize| places.get(index).copied().unwrap_or(at);
    match (function, written.as_slice()) {
        (Function::Exists, _)
            if !matches!(arguments.first(), Some(Node::Path(_) | Node::Variable(_))) =>
        {
            let message = "function exists takes a path, like exists(ctx.coupon)";
            Err(SyntaxError::new(at, message))
        }
        (Function::Time, [Some(text)]) if times::time(text).is_none() => {
            let message =
                format!("{:?} is no time; write it like \"2026-01-01T00:00:00Z\"", shorten(text));
            Err(SyntaxError::new(place(0), message))
        }
        (Function::Duration, [Some(text)]) if times::duration(text).is_none() => {
            let message = format!(
                "{:?} is no duration; write it like \"1d2h30m5s250ms\", the largest unit first, or \"PT5M\"",
                shorten(text)
            );
            Err(SyntaxError::new(place(0), message))
        }
        (Function::Matches, [_, pattern]) => {
            let Some(pattern) = pattern else {
                let message = "the pattern of matches stands in quotes, like matches(ctx.zip, \"^[0-9]{5}$\")";
                return Err(SyntaxError::new(place(1), message));
            };
            pattern_of(pattern, arguments).map_err(|message| SyntaxError::new(place(1), message))
        }
        _ => Ok(Node::Call(function, arguments)),
    }
}

/// The text of an argument that is a string in quotes.
fn written(node: &Node) -> Option<String> {
    match node {
        Node::Literal(Literal::String(raw)) => Some(unescape(raw).into_owned()),
        _ => None,
    }
}

fn pattern_of(pattern: &str, arguments: Vec<Node>) -> Result<Node, String> {
    let built = regex_lite::RegexBuilder::new(pattern)
        .size_limit(PATTERN_BYTES_MAX)
        .nest_limit(64)
        .build()
        .map_err(|error| format!("the pattern can't be read: {error}"))?;
    let Some(text) = arguments.into_iter().next() else { return Err("no text".to_owned()) };
    Ok(Node::Matches(Box::new(Match { text, pattern: built, weight: weight(pattern) })))
}

/// About how many parts a pattern has, what it repeats counted as often.
fn weight(pattern: &str) -> usize {
    let numbers = pattern.split(|c: char| !c.is_ascii_digit()).filter(|_| pattern.contains('{'));
    let repeats = numbers.filter_map(|number| number.parse::<usize>().ok()).filter(|n| *n > 0);
    let repeats = repeats.fold(1, usize::saturating_mul);
    pattern.len().max(1).saturating_mul(repeats).min(PATTERN_BYTES_MAX / 32)
}
