//! The syntax tree of an expression.
//!
//! Operators that may repeat (`&&`, `||`, `+ -`, `* / %`) hold all their operands in one node, so
//! the tree is only as deep as the text nests and `GUARD_DEPTH_MAX` bounds every recursion on it.

use std::ops::Range;

use regex_lite::Regex;

use super::functions::Function;

/// One expression.
#[derive(Debug)]
pub(super) enum Node {
    Literal(Literal),
    Path(Path),
    /// The name of the current state.
    State,
    /// The command's timestamp.
    Now,
    Not(Box<Node>),
    Negate(Box<Node>),
    /// True when all terms are.
    All(Vec<Term>),
    /// True when any term is.
    Any(Vec<Term>),
    Compare(Box<Comparison>),
    Chain(Box<ArithmeticChain>),
    Call(Function, Vec<Node>),
    /// A condition, what the value is where it holds, and what it is else.
    Choose(Box<[Node; 3]>),
    List(Vec<Node>),
    /// A function that evaluates its last argument for every element of a list.
    Each(Box<ForEach>),
    /// A path that begins at a name of an [`ForEach`].
    Variable(Box<Variable>),
    Matches(Box<Match>),
    /// What is known of the event and its instance.
    Fact(Fact),
}

/// `any`, `all`, `map` or `filter`.
#[derive(Debug)]
pub(super) struct ForEach {
    pub(super) function: Function,
    pub(super) list: Node,
    pub(super) body: Node,
}

/// A way to a value in an element of a list.
#[derive(Debug)]
pub(super) struct Variable {
    /// How many names were given further inside than this one.
    pub(super) depth: usize,
    pub(super) steps: Vec<PathStep>,
}

/// A pattern that a text is searched for.
#[derive(Debug)]
pub(super) struct Match {
    pub(super) text: Node,
    pub(super) pattern: Regex,
    /// How often each byte of a text may be looked at.
    pub(super) weight: usize,
}

impl Match {
    /// About how much the pattern takes: it is not told, but it was held to the most.
    fn pattern_bytes(&self) -> usize {
        self.weight.saturating_mul(64).min(PATTERN_BYTES_MAX)
    }
}

/// What is known of the event and its instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fact {
    Event,
    Id,
    Machine,
    Version,
    CreatedAt,
}

/// The most memory that a pattern may take.
pub(super) const PATTERN_BYTES_MAX: usize = 64 << 10;

/// What an allocation takes beside what is in it.
const ALLOCATION_BYTES: usize = 16;

impl Node {
    /// Gives back what lists have to spare; returns the memory that the rest takes beside this node.
    pub(super) fn settle(&mut self) -> usize {
        fn list<T>(items: &mut Vec<T>, settle: impl Fn(&mut T) -> usize) -> usize {
            items.shrink_to_fit();
            let held = items.len() * size_of::<T>() + ALLOCATION_BYTES;
            held + items.iter_mut().map(settle).sum::<usize>()
        }
        let boxed = |size: usize| size + ALLOCATION_BYTES;
        let step = |step: &mut PathStep| match step {
            PathStep::Member(key) => boxed(key.len()),
            PathStep::Index(_) => 0,
        };
        match self {
            Node::Literal(Literal::String(text)) => boxed(text.len()),
            Node::Literal(_) | Node::State | Node::Now | Node::Fact(_) => 0,
            Node::Path(path) => list(&mut path.steps, step),
            Node::Variable(variable) => {
                boxed(size_of::<Variable>()) + list(&mut variable.steps, step)
            }
            Node::Not(inner) | Node::Negate(inner) => boxed(size_of::<Node>()) + inner.settle(),
            Node::All(terms) | Node::Any(terms) => list(terms, |term| term.node.settle()),
            Node::Compare(comparison) => {
                let Comparison { left, right, .. } = &mut **comparison;
                boxed(size_of::<Comparison>()) + left.settle() + right.settle()
            }
            Node::Chain(chain) => {
                let ArithmeticChain { first, rest } = &mut **chain;
                let rest = list(rest, |(_, node)| node.settle());
                boxed(size_of::<ArithmeticChain>()) + first.settle() + rest
            }
            Node::Call(_, nodes) | Node::List(nodes) => list(nodes, Node::settle),
            Node::Choose(parts) => {
                boxed(size_of::<[Node; 3]>()) + parts.iter_mut().map(Node::settle).sum::<usize>()
            }
            Node::Each(each) => {
                boxed(size_of::<ForEach>()) + each.list.settle() + each.body.settle()
            }
            Node::Matches(found) => {
                boxed(size_of::<Match>()) + found.pattern_bytes() + found.text.settle()
            }
        }
    }
}

/// A constant.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    /// Always within the `i64`/`u64` range.
    Integer(i128),
    /// Always finite.
    Float(f64),
    /// The text between the quotes of its canonical JSON form, so that it compares with stored
    /// strings byte by byte.
    String(Box<str>),
}

/// Where a path starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    Ctx,
    Payload,
}

/// A way to a value in the context or the payload.
#[derive(Debug)]
pub(super) struct Path {
    pub(super) root: Root,
    pub(super) steps: Vec<PathStep>,
    /// Where it stands in the guard's text.
    pub(super) span: Range<usize>,
}

/// One step of a path.
#[derive(Debug)]
pub(super) enum PathStep {
    /// A member, by its key as canonical JSON has it: escaped and with the closing quote.
    Member(Box<str>),
    /// An element.
    Index(usize),
}

/// An operand of `&&` or `||`.
#[derive(Debug)]
pub(super) struct Term {
    pub(super) node: Node,
    /// Where it stands in the guard's text.
    pub(super) span: Range<usize>,
}

/// Two values compared.
#[derive(Debug)]
pub(super) struct Comparison {
    pub(super) operator: Comparator,
    pub(super) left: Node,
    pub(super) right: Node,
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
}

/// A sum or a product, evaluated from left to right.
#[derive(Debug)]
pub(super) struct ArithmeticChain {
    pub(super) first: Node,
    pub(super) rest: Vec<(Arithmetic, Node)>,
}

/// An arithmetic operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Arithmetic {
    /// Whether the operator is one of a sum rather than of a product.
    pub(super) fn is_sum(self) -> bool {
        matches!(self, Arithmetic::Add | Arithmetic::Subtract)
    }
}
