//! Evaluates a syntax tree. Recursion is as deep as the tree, which the parser bounds.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::Scope;
use super::budget::{Meter, Uncounted};
use super::functions::Function;
use super::lookup;
use super::syntax::{
    ArithmeticChain, Comparator, Comparison, Fact, ForEach, Match, Node, Path, Variable,
};
use super::value::{Value, compute, contains, equal, negate, order};

/// What an expression is evaluated in.
pub(super) struct Evaluation<'e, 'a, M> {
    scope: &'e Scope<'a>,
    pub(super) meter: &'e M,
    /// The innermost element that has a name.
    named: Option<&'e Named<'e, 'a>>,
}

/// An element that has a name.
struct Named<'e, 'a> {
    value: &'e Value<'a>,
    outer: Option<&'e Named<'e, 'a>>,
}

impl<'e, 'a, M: Meter> Evaluation<'e, 'a, M> {
    pub(super) fn new(scope: &'e Scope<'a>, meter: &'e M) -> Evaluation<'e, 'a, M> {
        Evaluation { scope, meter, named: None }
    }

    /// Evaluates something where this element has a name.
    fn with<T>(&self, value: &Value<'a>, evaluate: impl FnOnce(&Evaluation<'_, 'a, M>) -> T) -> T {
        let named = Named { value, outer: self.named };
        evaluate(&Evaluation { scope: self.scope, meter: self.meter, named: Some(&named) })
    }
}

impl<'e, 'a> Evaluation<'e, 'a, Uncounted> {
    /// For what is of level 1.
    pub(super) fn uncounted(scope: &'e Scope<'a>) -> Evaluation<'e, 'a, Uncounted> {
        Evaluation::new(scope, &Uncounted)
    }
}

/// Whether the expression counts as true.
pub(super) fn truth<'a, M: Meter>(node: &'a Node, env: &Evaluation<'_, 'a, M>) -> bool {
    if !env.meter.steps(1) {
        return false;
    }
    match node {
        Node::All(terms) => terms.iter().all(|term| truth(&term.node, env)),
        Node::Any(terms) => terms.iter().any(|term| truth(&term.node, env)),
        Node::Not(inner) => !truth(inner, env),
        Node::Path(path) if M::COUNTS => find(path, env).is_some_and(|value| value.is_true()),
        Node::Path(path) => lookup::is_true(path, env.scope),
        Node::Compare(comparison) => compare(comparison, env),
        Node::Call(Function::Exists, arguments) => exists(arguments, env),
        Node::Choose(parts) => {
            let [condition, then, otherwise] = &**parts;
            truth(if truth(condition, env) { then } else { otherwise }, env)
        }
        other => value(other, env).is_true(),
    }
}

/// The value of the expression.
pub(super) fn value<'a, M: Meter>(node: &'a Node, env: &Evaluation<'_, 'a, M>) -> Value<'a> {
    if !env.meter.steps(1) {
        return Value::Null;
    }
    match node {
        Node::Literal(literal) => literal.into(),
        Node::Path(path) => find(path, env).unwrap_or(Value::Null),
        Node::State => Value::Text(Cow::Borrowed(env.scope.state)),
        Node::Now => Value::Integer(env.scope.now_ms.into()),
        Node::Fact(fact) => known(*fact, env.scope),
        Node::Negate(inner) => negate(&value(inner, env)),
        Node::Chain(chain) => arithmetic(chain, env),
        Node::Call(Function::Exists, _)
        | Node::Not(_)
        | Node::All(_)
        | Node::Any(_)
        | Node::Compare(_) => Value::Bool(truth(node, env)),
        Node::Call(function, arguments) => call(*function, arguments, env),
        Node::Choose(parts) => {
            let [condition, then, otherwise] = &**parts;
            value(if truth(condition, env) { then } else { otherwise }, env)
        }
        Node::List(nodes) => {
            super::lists::made(nodes.iter().map(|node| value(node, env)), env.meter)
        }
        Node::Each(one) => each(one, env),
        Node::Variable(variable) => named(variable, env).unwrap_or(Value::Null),
        Node::Matches(one) => Value::Bool(matches(one, env)),
    }
}

/// What a path leads to; the search is counted, found or not.
fn find<'a, M: Meter>(path: &Path, env: &Evaluation<'_, 'a, M>) -> Option<Value<'a>> {
    if !M::COUNTS {
        return lookup::find(path, env.scope);
    }
    let (found, bytes) = lookup::find_counted(path, env.scope);
    if env.meter.look_at(bytes) { found } else { None }
}

fn known<'a>(fact: Fact, scope: &Scope<'a>) -> Value<'a> {
    let instance = &scope.instance;
    match fact {
        Fact::Event => Value::Text(Cow::Borrowed(scope.event)),
        Fact::Id => Value::Text(Cow::Borrowed(instance.id)),
        Fact::Machine => Value::Text(Cow::Borrowed(instance.machine)),
        Fact::Version => Value::Integer(instance.version.into()),
        Fact::CreatedAt => Value::Integer(instance.created_at_ms.into()),
    }
}

fn exists<'a, M: Meter>(arguments: &'a [Node], env: &Evaluation<'_, 'a, M>) -> bool {
    match arguments.first() {
        Some(Node::Path(path)) => find(path, env).is_some(),
        Some(Node::Variable(variable)) => named(variable, env).is_some(),
        _ => false,
    }
}

fn compare<'a, M: Meter>(comparison: &'a Comparison, env: &Evaluation<'_, 'a, M>) -> bool {
    let left = value(&comparison.left, env);
    let right = value(&comparison.right, env);
    if M::COUNTS && !env.meter.look_at(left.weight().saturating_add(right.weight())) {
        return false;
    }
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

fn arithmetic<'a, M: Meter>(chain: &'a ArithmeticChain, env: &Evaluation<'_, 'a, M>) -> Value<'a> {
    chain.rest.iter().fold(value(&chain.first, env), |left, (operator, right)| {
        compute(*operator, &left, &value(right, env))
    })
}

/// What the name stands for, or is found in it; None where there is nothing.
fn named<'a, M: Meter>(variable: &Variable, env: &Evaluation<'_, 'a, M>) -> Option<Value<'a>> {
    let mut named = env.named;
    for _ in 0..variable.depth {
        named = named?.outer;
    }
    let value = named?.value;
    let found = lookup::find_in(value, &variable.steps);
    // What was made is copied, and what is stored only looked at.
    let bytes = match value {
        Value::Text(Cow::Owned(_)) => value.weight(),
        _ => value.weight() / 16,
    };
    found.filter(|_| env.meter.make(bytes))
}

/// Evaluates an expression for the elements of a list.
fn each<'a, M: Meter>(each: &'a ForEach, env: &Evaluation<'_, 'a, M>) -> Value<'a> {
    let list = value(&each.list, env);
    let items = list.items().filter(|_| env.meter.look_at(list.weight()));
    let gives_list = matches!(each.function, Function::Map | Function::Filter);
    let Some(mut items) = items else {
        return if gives_list { Value::Null } else { Value::Bool(false) };
    };
    let holds = |item: &Value<'a>| env.with(item, |inner| truth(&each.body, inner));
    match each.function {
        Function::Any => Value::Bool(items.any(|item| holds(&item))),
        Function::All => Value::Bool(items.all(|item| holds(&item))),
        Function::Filter => super::lists::made(items.filter(holds), env.meter),
        _ => {
            let values = items.map(|item| env.with(&item, |inner| value(&each.body, inner)));
            super::lists::made(values, env.meter)
        }
    }
}

fn matches<'a, M: Meter>(found: &'a Match, env: &Evaluation<'_, 'a, M>) -> bool {
    let text = value(&found.text, env);
    let Some(text) = text.text() else { return false };
    let bytes = text.len().saturating_add(1).saturating_mul(found.weight);
    env.meter.make(bytes) && found.pattern.is_match(&text)
}

/// The value of a call.
fn call<'a, M: Meter>(
    function: Function,
    arguments: &'a [Node],
    env: &Evaluation<'_, 'a, M>,
) -> Value<'a> {
    let mut values = arguments.iter().map(|argument| value(argument, env));
    if function == Function::Coalesce {
        return values.find(|value| !matches!(value, Value::Null)).unwrap_or(Value::Null);
    }
    if function.level() == 1 {
        let first = values.next().unwrap_or(Value::Null);
        let second = values.next().unwrap_or(Value::Null);
        if M::COUNTS && !env.meter.make(first.weight().saturating_add(second.weight())) {
            return Value::Null;
        }
        return function.first_level(first, second);
    }
    let values: Vec<_> = values.collect();
    let weights = values.iter().map(Value::weight).fold(0, usize::saturating_add);
    match env.meter.look_at(weights) {
        true => function.later_level(&values, env.meter),
        false => Value::Null,
    }
}
