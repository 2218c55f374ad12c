//! Turns an expression's text into its syntax tree, or says where and why it can't.
//!
//! Operator precedence parsing: depth is counted wherever the text nests, so hostile input ends in
//! an error long before the stack does.

use std::ops::Range;

use super::error::{ParseResult, SyntaxError};
use super::functions::Function;
use super::lexer::{Lexer, Token, is_name};
use super::operators::{self, Binding, Fixity, Infix, Prefix};
use super::syntax::{
    Arithmetic, ArithmeticChain, Comparator, Comparison, Fact, ForEach, Literal, Node, Path,
    PathStep, Root, Term, Variable,
};
use super::value::literal;
use super::words::GuardWord;
use super::{GUARD_DEPTH_MAX, GUARD_NODES_MAX, calls};
use crate::warnings::shorten;
use rstmdb_types::fault::TOO_LARGE_INTEGER;
use rstmdb_types::names::nearest;

/// The language level of all that the first one did not have.
const LATER: u32 = 2;

/// Which integers a guard may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Integers {
    /// Those of 64 bits.
    Exact,
    /// All: those that do not fit become floats, as in guards that were stored before this was refused.
    OrFloats,
}

/// Parses a whole expression; tells the language level that it needs.
pub(super) fn parse(text: &str, integers: Integers) -> ParseResult<(Node, u32)> {
    let mut parser = Parser {
        text,
        integers,
        lexer: Lexer::new(text),
        token: Token::End,
        start: 0,
        end: 0,
        nodes: 0,
        names: Vec::new(),
        level: 1,
    };
    parser.advance()?;
    let node = parser.expression(Binding::Choice, 0)?;
    match parser.token {
        Token::End => Ok((node, parser.level)),
        _ => Err(parser.trailing()),
    }
}

struct Parser<'a> {
    text: &'a str,
    integers: Integers,
    lexer: Lexer<'a>,
    /// The token to look at next.
    token: Token<'a>,
    /// Where it starts.
    start: usize,
    /// Where the one before it ended.
    end: usize,
    nodes: usize,
    /// The names that stand for elements here, the outermost first.
    names: Vec<&'a str>,
    /// The language level that what was read needs.
    level: u32,
}

impl<'a> Parser<'a> {
    /// Takes the current token and reads the one after it.
    fn advance(&mut self) -> ParseResult<Token<'a>> {
        self.end = self.lexer.position();
        let (token, start) = self.lexer.next()?;
        self.start = start;
        Ok(std::mem::replace(&mut self.token, token))
    }

    fn error<T>(&self, message: impl Into<String>) -> ParseResult<T> {
        Err(SyntaxError::new(self.start, message))
    }

    /// An expression of operators that bind at least as tightly as `least`.
    fn expression(&mut self, least: Binding, depth: usize) -> ParseResult<Node> {
        let start = self.start;
        let mut left = self.prefix(least, depth)?;
        let mut compared = false;
        loop {
            let left_span = start..self.end;
            let (operator, infix) = match self.token {
                Token::Operator(operator) => match operator.fixity {
                    Fixity::Infix(infix) => (operator, infix),
                    Fixity::Prefix(_) => return Ok(left),
                },
                _ => return Ok(left),
            };
            let binding = operator.binding;
            if binding < least {
                return Ok(left);
            }
            if binding == Binding::Compare && compared {
                return self.error("comparisons don't chain; join two of them with `&&`");
            }
            compared = binding == Binding::Compare;
            self.count()?;
            self.advance()?;
            if infix == Infix::Choose {
                return self.choice(left, depth + 1);
            }
            let right_start = self.start;
            let right = match infix {
                Infix::Compare(Comparator::In) => self.whole_or(binding.tighter(), depth)?,
                _ => self.expression(binding.tighter(), depth)?,
            };
            left = match infix {
                Infix::Any | Infix::All | Infix::Choose => {
                    let left = Term { node: left, span: left_span };
                    join(infix, left, Term { node: right, span: right_start..self.end })
                }
                Infix::Compute(operator) => chain(operator, left, right),
                Infix::Compare(operator) => {
                    Node::Compare(Box::new(Comparison { operator, left, right }))
                }
            };
        }
    }

    /// The rest of a choice, from behind its `?` on.
    fn choice(&mut self, condition: Node, depth: usize) -> ParseResult<Node> {
        self.level = LATER;
        let then = self.expression(Binding::Choice, depth)?;
        if self.token != Token::Colon {
            return self.error(format!(
                "expected `:` and the value for when the condition fails, found {}",
                self.found()
            ));
        }
        self.advance()?;
        let otherwise = self.expression(Binding::Choice, depth)?;
        Ok(Node::Choose(Box::new([condition, then, otherwise])))
    }

    /// An operand, with the `!` or `-` before it.
    fn prefix(&mut self, least: Binding, depth: usize) -> ParseResult<Node> {
        self.count()?;
        if depth > GUARD_DEPTH_MAX {
            return self.error(format!("the guard nests deeper than {GUARD_DEPTH_MAX} levels"));
        }
        let prefix = match self.token {
            Token::Operator(operator) => operators::prefix(operator.symbol),
            _ => None,
        };
        match prefix {
            // `!` takes in the whole comparison after it, so it can't stand inside another one.
            Some((_, binding)) if least > binding => {
                self.error("put `!` and what it negates in parentheses here")
            }
            Some((Prefix::Not, binding)) => {
                self.advance()?;
                Ok(Node::Not(Box::new(self.expression(binding, depth + 1)?)))
            }
            Some((Prefix::Negate, binding)) => {
                self.advance()?;
                if let Token::Number(number) = &self.token {
                    let negative = match number {
                        Literal::Integer(value) => literal(-value),
                        Literal::Float(value) => Literal::Float(-value),
                        other => other.clone(),
                    };
                    return self.number(negative);
                }
                Ok(Node::Negate(Box::new(self.prefix(binding, depth + 1)?)))
            }
            None => self.primary(depth),
        }
    }

    fn primary(&mut self, depth: usize) -> ParseResult<Node> {
        match &self.token {
            Token::Open => {
                let open = self.start;
                self.advance()?;
                let inner = self.expression(Binding::Choice, depth + 1)?;
                self.close(open)?;
                Ok(inner)
            }
            Token::OpenIndex => self.list(depth + 1),
            Token::Number(number) => {
                let number = number.clone();
                self.number(number)
            }
            Token::Text(text) => {
                let literal = Literal::String(escaped(text));
                self.advance()?;
                Ok(Node::Literal(literal))
            }
            Token::Word(word) => {
                let word = *word;
                self.word(word, depth)
            }
            _ => self.error(format!("expected a value, found {}", self.found())),
        }
    }

    /// Takes the number that comes next, which with its sign is this literal.
    fn number(&mut self, literal: Literal) -> ParseResult<Node> {
        let written = self.text.get(self.start..self.lexer.position()).unwrap_or("");
        let is_integer = written.bytes().all(|byte| byte.is_ascii_digit());
        if self.integers == Integers::Exact && is_integer && matches!(literal, Literal::Float(_)) {
            return self.error(TOO_LARGE_INTEGER);
        }
        self.advance()?;
        Ok(Node::Literal(literal))
    }

    /// What starts with a word: a path, a name with a meaning, or a function.
    fn word(&mut self, word: &'a str, depth: usize) -> ParseResult<Node> {
        let (first, members) = match word.split_once('.') {
            Some((first, members)) => (first, Some(members)),
            None => (word, None),
        };
        if let Some(depth) = self.names.iter().rev().position(|name| *name == first) {
            let (steps, _) = self.steps(members)?;
            return Ok(Node::Variable(Box::new(Variable { depth, steps })));
        }
        let named = GuardWord::named(word).or_else(|| {
            // Only these two have members.
            GuardWord::named(first)
                .filter(|word| matches!(word, GuardWord::Ctx | GuardWord::Payload))
        });
        let Some(named) = named else { return self.call(word, depth) };
        self.level = self.level.max(named.level());
        let node = match named {
            GuardWord::Ctx => {
                let start = self.start;
                let path = self.path(Root::Ctx, members)?;
                if path.steps.is_empty() {
                    let message = "ctx alone is no condition; name a member, like ctx.paid";
                    return Err(SyntaxError::new(start, message));
                }
                return Ok(Node::Path(path));
            }
            GuardWord::Payload => {
                return Ok(Node::Path(self.path(Root::Payload, members)?));
            }
            GuardWord::State => Node::State,
            GuardWord::Now => Node::Now,
            GuardWord::True => Node::Literal(Literal::Bool(true)),
            GuardWord::False => Node::Literal(Literal::Bool(false)),
            GuardWord::Null => Node::Literal(Literal::Null),
            GuardWord::Event => Node::Fact(Fact::Event),
            GuardWord::InstanceId => Node::Fact(Fact::Id),
            GuardWord::InstanceMachine => Node::Fact(Fact::Machine),
            GuardWord::InstanceVersion => Node::Fact(Fact::Version),
            GuardWord::InstanceCreatedAt => Node::Fact(Fact::CreatedAt),
        };
        self.advance()?;
        Ok(node)
    }

    /// The rest of a path; the current token is its word, the lexer stands behind it.
    fn path(&mut self, root: Root, members: Option<&str>) -> ParseResult<Path> {
        let (steps, span) = self.steps(members)?;
        Ok(Path { root, steps, span })
    }

    /// The steps of a path, and where all of it stands.
    fn steps(&mut self, members: Option<&str>) -> ParseResult<(Vec<PathStep>, Range<usize>)> {
        let start = self.start;
        let mut steps = Vec::new();
        if let Some(members) = members {
            self.members(members, &mut steps)?;
        }
        let mut end = self.lexer.position();
        loop {
            self.lexer.skip_blanks();
            if !self.lexer.take('[') {
                break;
            }
            steps.push(self.index()?);
            if self.lexer.take('.') {
                let members = self.lexer.take_while(is_name);
                self.members(members, &mut steps)?;
            }
            end = self.lexer.position();
        }
        self.advance()?;
        self.end = end;
        if self.token == Token::Open {
            return self.error("functions are written before their argument, like size(ctx.items)");
        }
        Ok((steps, start..end))
    }

    /// The members a dotted name stands for.
    fn members(&mut self, name: &str, steps: &mut Vec<PathStep>) -> ParseResult<()> {
        if name.is_empty() {
            let message = "expected the name of a member after the dot";
            return Err(SyntaxError::new(self.lexer.position(), message));
        }
        for key in name.split('.') {
            self.count()?;
            steps.push(member(key));
        }
        Ok(())
    }

    /// An index, from behind its `[` to its `]`.
    fn index(&mut self) -> ParseResult<PathStep> {
        self.count()?;
        let (token, start) = self.lexer.next()?;
        let step = match token {
            Token::Text(key) => member(&key),
            // No list has so many elements that the largest index could be one of them.
            Token::Number(Literal::Integer(index)) => {
                PathStep::Index(usize::try_from(index).unwrap_or(usize::MAX))
            }
            _ => {
                let message = "an index is a whole number or a string, like [0] or [\"key\"]";
                return Err(SyntaxError::new(start, message));
            }
        };
        self.lexer.skip_blanks();
        if !self.lexer.take(']') {
            return Err(SyntaxError::new(self.lexer.position(), "expected `]` after the index"));
        }
        Ok(step)
    }

    /// A function call, if the word is the name of one.
    fn call(&mut self, word: &str, depth: usize) -> ParseResult<Node> {
        let at = self.start;
        let Some(function) = Function::named(word) else { return Err(self.unknown(word)) };
        self.level = self.level.max(function.level());
        self.advance()?;
        let open = self.start;
        if self.token != Token::Open {
            return self.error(format!("expected `(` after function {word}"));
        }
        self.advance()?;
        if function.binds() {
            return self.each(function, open, depth + 1);
        }
        let mut arguments = Vec::new();
        let mut places = Vec::new();
        while self.token != Token::Close || !arguments.is_empty() {
            places.push(self.start);
            arguments.push(self.whole_or(Binding::Choice, depth + 1)?);
            if self.token != Token::Comma {
                break;
            }
            self.advance()?;
        }
        self.close(open)?;
        calls::checked(function, arguments, at, &places)
    }

    /// The arguments of a function that gives the elements of a list a name.
    fn each(&mut self, function: Function, open: usize, depth: usize) -> ParseResult<Node> {
        let list = self.whole_or(Binding::Choice, depth)?;
        self.comma(function)?;
        let name = match self.token {
            Token::Word(name) => self.free(name)?,
            _ => {
                return self
                    .error(format!("expected a name for the elements; {}", shape(function)));
            }
        };
        self.count()?;
        self.advance()?;
        self.comma(function)?;
        self.names.push(name);
        let body = self.expression(Binding::Choice, depth)?;
        self.names.pop();
        self.close(open)?;
        Ok(Node::Each(Box::new(ForEach { function, list, body })))
    }

    fn comma(&mut self, function: Function) -> ParseResult<()> {
        if self.token != Token::Comma {
            return self.error(format!(
                "expected `,`, found {}; {}",
                self.found(),
                shape(function)
            ));
        }
        self.advance()?;
        Ok(())
    }

    /// A name that means nothing yet.
    fn free(&self, name: &'a str) -> ParseResult<&'a str> {
        let shown = shorten(name);
        if name.contains('.') {
            return self.error(format!("{shown:?} is no name for elements: it may have no dot"));
        }
        let means = GuardWord::begins(name) || Function::named(name).is_some();
        if means || self.names.contains(&name) {
            return self
                .error(format!("{shown:?} has a meaning here; give the elements another name"));
        }
        Ok(name)
    }

    /// The elements of a list, from its `[` on.
    fn list(&mut self, depth: usize) -> ParseResult<Node> {
        self.level = LATER;
        let open = self.start;
        self.advance()?;
        let mut nodes = Vec::new();
        while self.token != Token::CloseIndex || !nodes.is_empty() {
            nodes.push(self.expression(Binding::Choice, depth)?);
            if self.token != Token::Comma {
                break;
            }
            self.advance()?;
        }
        match self.token {
            Token::CloseIndex => self.advance()?,
            Token::End => return Err(SyntaxError::new(open, "the `[` is never closed")),
            _ => return self.error(format!("expected `,` or `]`, found {}", self.found())),
        };
        Ok(Node::List(nodes))
    }

    /// An expression, or `ctx` alone, which means the whole context where a container is expected.
    fn whole_or(&mut self, least: Binding, depth: usize) -> ParseResult<Node> {
        let start = self.start;
        let behind = self.text.get(start + "ctx".len()..).map(str::trim_start);
        let ends = behind.is_some_and(|text| {
            let continues = text.starts_with(['[', '+', '-', '*', '/', '%']);
            !continues && (least > Binding::Choice || text.starts_with([',', ')']))
        });
        if self.token != Token::Word("ctx") || !ends {
            return self.expression(least, depth);
        }
        self.count()?;
        Ok(Node::Path(self.path(Root::Ctx, None)?))
    }

    fn close(&mut self, open: usize) -> ParseResult<()> {
        if self.token == Token::Close {
            self.advance()?;
            return Ok(());
        }
        match self.token {
            Token::End => Err(SyntaxError::new(open, "the `(` is never closed")),
            _ => self.error(format!("expected `)`, found {}", self.found())),
        }
    }

    /// Counts an operand or operator.
    fn count(&mut self) -> ParseResult<()> {
        self.nodes += 1;
        if self.nodes <= GUARD_NODES_MAX {
            return Ok(());
        }
        self.error(format!("the guard has more than {GUARD_NODES_MAX} operands and operators"))
    }

    /// The current token, for a message.
    fn found(&self) -> String {
        match &self.token {
            Token::End => "the end".to_owned(),
            Token::Text(_) => "a string".to_owned(),
            Token::Word(word) => format!("{:?}", shorten(word)),
            _ => {
                let text = self.text.get(self.start..self.lexer.position()).unwrap_or("");
                format!("`{}`", shorten(text))
            }
        }
    }

    fn trailing(&self) -> SyntaxError {
        let message = match &self.token {
            Token::Word("and" | "AND") => "expected an operator; write `&&` for and".to_owned(),
            Token::Word("or" | "OR") => "expected an operator; write `||` for or".to_owned(),
            Token::Close => "this `)` closes nothing".to_owned(),
            Token::Operator(operator) => {
                format!("expected an operator before `{}`", operator.symbol)
            }
            _ => format!("expected an operator or the end, found {}", self.found()),
        };
        SyntaxError::new(self.start, message)
    }

    fn unknown(&self, word: &str) -> SyntaxError {
        let shown = shorten(word);
        let called = self.lexer.rest_is_call();
        let (first, rest) = word.split_once('.').unwrap_or((word, ""));
        let message = if called {
            let names: Vec<&str> = Function::ALL.iter().map(|function| function.name()).collect();
            match nearest(word, names.iter().copied()) {
                Some(near) => format!("there is no function {shown:?}; did you mean {near:?}?"),
                None => {
                    format!(
                        "there is no function {shown:?}; the functions are {}",
                        names.join(", ")
                    )
                }
            }
        } else if first == "instance" {
            "an instance has id, machine, version and created_at, like instance.id".to_owned()
        } else if GuardWord::named(first).is_some() {
            format!("{first:?} has no members")
        } else if matches!(word, "not" | "NOT") {
            "write `!` for not".to_owned()
        } else if let Some(near) =
            meant(first).or_else(|| nearest(first, self.names.iter().copied()))
        {
            let dot = if rest.is_empty() { "" } else { "." };
            format!("there is no name {shown:?}; did you mean \"{near}{dot}{rest}\"?")
        } else {
            format!("there is no name {shown:?}; a member of the context is written ctx.{shown}")
        };
        SyntaxError::new(self.start, message)
    }
}

/// How such a function is called.
fn shape(function: Function) -> String {
    let name = function.name();
    format!(
        "{name} takes a list, a name and what it is asked, like {name}(ctx.items, x, x.price > 1)"
    )
}

/// The word that was probably meant.
fn meant(word: &str) -> Option<&'static str> {
    match word {
        "context" => Some("ctx"),
        "timestamp" => Some("now"),
        _ => nearest(word, GuardWord::ALL.iter().map(|word| word.name())),
    }
}

/// A string as canonical JSON writes it between the quotes.
fn escaped(text: &str) -> Box<str> {
    // Serialising a string to JSON text can't fail.
    let quoted = serde_json::to_string(text).unwrap_or_default();
    quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or("").into()
}

/// The step to a member.
fn member(key: &str) -> PathStep {
    PathStep::Member(format!("{}\"", escaped(key)).into())
}

/// Joins two terms with `&&` or `||`, in one node with the terms joined before.
fn join(operator: Infix, left: Term, right: Term) -> Node {
    match (operator, left) {
        (Infix::Any, Term { node: Node::Any(mut terms), .. }) => {
            terms.push(right);
            Node::Any(terms)
        }
        (Infix::Any, left) => Node::Any(vec![left, right]),
        (_, Term { node: Node::All(mut terms), .. }) => {
            terms.push(right);
            Node::All(terms)
        }
        (_, left) => Node::All(vec![left, right]),
    }
}

/// Appends an operation to the sum or product before it.
fn chain(operator: Arithmetic, left: Node, right: Node) -> Node {
    match left {
        Node::Chain(mut chain)
            if chain.rest.first().is_some_and(|(first, _)| first.is_sum() == operator.is_sum()) =>
        {
            chain.rest.push((operator, right));
            Node::Chain(chain)
        }
        first => Node::Chain(Box::new(ArithmeticChain { first, rest: vec![(operator, right)] })),
    }
}
