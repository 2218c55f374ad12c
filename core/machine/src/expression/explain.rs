//! Says which term of a guard is false, and what the paths in it led to.

use std::fmt;
use std::ops::Range;

use serde_json::Value;

use super::budget::Meter;
use super::evaluate::{self, Evaluation};
use super::syntax::{Fact, Node, Path};
use super::words::GuardWord;
use super::{Scope, lookup};
use crate::warnings::shorten;

/// A seen value longer than this is cut: an error is no place for a whole context.
const VALUE_BYTES_MAX: usize = 1024;
/// How many values of a term are listed.
const VALUES_MAX: usize = 32;

/// Why a guard is false.
///
/// Its `Display` is a phrase for a message: `` `ctx.total > 100` is false (ctx.total = 40) ``.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The first operand of the outermost `&&` that is false; the whole guard if it has none.
    pub failed_term: String,
    /// What the paths in that term led to, in order of appearance; at most 32.
    pub values: Vec<SeenValue>,
}

/// What a path led to.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenValue {
    /// The path as the guard writes it; also `state` and `now`.
    pub path: String,
    /// The value, None where there is none. One of more than 1024 bytes of JSON is replaced by a
    /// string with the beginning of its text.
    pub value: Option<Value>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is false", shorten(&self.failed_term))?;
        for (i, seen) in self.values.iter().enumerate() {
            f.write_str(if i == 0 { " (" } else { ", " })?;
            let path = shorten(&seen.path);
            match &seen.value {
                Some(value) => write!(f, "{path} = {}", shorten(&value.to_string()))?,
                None => write!(f, "{path} is missing")?,
            }
        }
        f.write_str(if self.values.is_empty() { "" } else { ")" })
    }
}

pub(super) fn explain<'a, M: Meter>(
    text: &str,
    root: &'a Node,
    scope: &Scope<'a>,
    env: &Evaluation<'_, 'a, M>,
) -> Option<Explanation> {
    if evaluate::truth(root, env) {
        return None;
    }
    let (term, span) = failed_term(root, 0..text.len(), env);
    let mut values = Vec::new();
    collect(term, text, scope, &mut values);
    let failed_term = text.get(span).unwrap_or(text).trim().to_owned();
    Some(Explanation { failed_term, values })
}

/// Walks down the false operands of `&&`.
fn failed_term<'a, M: Meter>(
    node: &'a Node,
    span: Range<usize>,
    env: &Evaluation<'_, 'a, M>,
) -> (&'a Node, Range<usize>) {
    let Node::All(terms) = node else { return (node, span) };
    match terms.iter().find(|term| !evaluate::truth(&term.node, env)) {
        Some(term) => failed_term(&term.node, term.span.clone(), env),
        None => (node, span),
    }
}

/// Notes what every path below `node` leads to, each path once.
fn collect(node: &Node, text: &str, scope: &Scope<'_>, values: &mut Vec<SeenValue>) {
    match node {
        // What a name stands for changes from element to element.
        Node::Literal(_) | Node::Variable(_) => {}
        Node::Path(path) => see(name(path, text), values, || {
            lookup::find_json(path, scope).map(|text| seen_value(&text))
        }),
        Node::State => see("state", values, || Some(scope.state.into())),
        Node::Now => see("now", values, || Some(scope.now_ms.into())),
        Node::Fact(fact) => {
            let instance = &scope.instance;
            let (word, value) = match fact {
                Fact::Event => (GuardWord::Event, scope.event.into()),
                Fact::Id => (GuardWord::InstanceId, instance.id.into()),
                Fact::Machine => (GuardWord::InstanceMachine, instance.machine.into()),
                Fact::Version => (GuardWord::InstanceVersion, instance.version.into()),
                Fact::CreatedAt => (GuardWord::InstanceCreatedAt, instance.created_at_ms.into()),
            };
            see(word.name(), values, || Some(value));
        }
        Node::Not(inner) | Node::Negate(inner) => collect(inner, text, scope, values),
        Node::All(terms) | Node::Any(terms) => {
            terms.iter().for_each(|term| collect(&term.node, text, scope, values));
        }
        Node::Compare(comparison) => {
            collect(&comparison.left, text, scope, values);
            collect(&comparison.right, text, scope, values);
        }
        Node::Chain(chain) => {
            collect(&chain.first, text, scope, values);
            chain.rest.iter().for_each(|(_, node)| collect(node, text, scope, values));
        }
        Node::Call(_, nodes) | Node::List(nodes) => {
            nodes.iter().for_each(|node| collect(node, text, scope, values));
        }
        Node::Choose(nodes) => nodes.iter().for_each(|node| collect(node, text, scope, values)),
        Node::Each(each) => {
            collect(&each.list, text, scope, values);
            collect(&each.body, text, scope, values);
        }
        Node::Matches(found) => collect(&found.text, text, scope, values),
    }
}

fn name<'a>(path: &Path, text: &'a str) -> &'a str {
    text.get(path.span.clone()).unwrap_or("")
}

fn see(path: &str, values: &mut Vec<SeenValue>, value: impl FnOnce() -> Option<Value>) {
    if values.len() < VALUES_MAX && values.iter().all(|seen| seen.path != path) {
        values.push(SeenValue { path: path.to_owned(), value: value() });
    }
}

fn seen_value(text: &str) -> Value {
    if text.len() <= VALUE_BYTES_MAX {
        return serde_json::from_str(text).unwrap_or(Value::Null);
    }
    let end = (0..=VALUE_BYTES_MAX).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    Value::String(format!("{}… ({} bytes)", text.get(..end).unwrap_or(""), text.len()))
}
