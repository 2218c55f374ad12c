//! Evaluates a guard's syntax tree. Recursion is as deep as the tree, which the parser bounds.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::Scope;
use super::functions::Function;
use super::lookup;
use super::syntax::{ArithmeticChain, Comparator, Comparison, Node};
use super::value::{Value, compute, contains, equal, negate, order};

/// Whether the expression counts as true.
pub(super) fn truth<'a>(node: &'a Node, scope: &Scope<'a>) -> bool {
    match node {
        Node::All(terms) => terms.iter().all(|term| truth(&term.node, scope)),
        Node::Any(terms) => terms.iter().any(|term| truth(&term.node, scope)),
        Node::Not(inner) => !truth(inner, scope),
        Node::Path(path) => lookup::is_true(path, scope),
        Node::Compare(comparison) => compare(comparison, scope),
        Node::Call(Function::Exists, arguments) => match arguments.first() {
            Some(Node::Path(path)) => lookup::find(path, scope).is_some(),
            _ => false,
        },
        other => value(other, scope).is_true(),
    }
}

/// The value of the expression.
pub(super) fn value<'a>(node: &'a Node, scope: &Scope<'a>) -> Value<'a> {
    match node {
        Node::Literal(literal) => literal.into(),
        Node::Path(path) => lookup::find(path, scope).unwrap_or(Value::Null),
        Node::State => Value::Text(Cow::Borrowed(scope.state)),
        Node::Now => Value::Integer(scope.now_ms.into()),
        Node::Negate(inner) => negate(&value(inner, scope)),
        Node::Chain(chain) => arithmetic(chain, scope),
        Node::Call(Function::Exists, _)
        | Node::Not(_)
        | Node::All(_)
        | Node::Any(_)
        | Node::Compare(_) => Value::Bool(truth(node, scope)),
        Node::Call(function, arguments) => {
            let mut values = arguments.iter().map(|argument| value(argument, scope));
            let first = values.next().unwrap_or(Value::Null);
            function.apply(first, values.next().unwrap_or(Value::Null))
        }
    }
}

fn compare<'a>(comparison: &'a Comparison, scope: &Scope<'a>) -> bool {
    let left = value(&comparison.left, scope);
    let right = value(&comparison.right, scope);
    match comparison.operator {
        Comparator::Equal => equal(&left, &right),
        Comparator::NotEqual => !equal(&left, &right),
        Comparator::In => contains(&right, &left),
        Comparator::Less => order(&left, &right) == Some(Ordering::Less),
        Comparator::LessOrEqual => order(&left, &right).is_some_and(Ordering::is_le),
        Comparator::Greater => order(&left, &right) == Some(Ordering::Greater),
        Comparator::GreaterOrEqual => order(&left, &right).is_some_and(Ordering::is_ge),
    }
}

fn arithmetic<'a>(chain: &'a ArithmeticChain, scope: &Scope<'a>) -> Value<'a> {
    chain.rest.iter().fold(value(&chain.first, scope), |left, (operator, right)| {
        compute(*operator, &left, &value(right, scope))
    })
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
