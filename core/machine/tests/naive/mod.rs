//! A second, deliberately naive evaluator of expressions: it works on `serde_json` trees and evaluates
//! while it reads, reading what is asked for each element of a list anew, so it shares no idea and no code with the real one. Tests and fuzzing compare
//! the two.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code fails by panicking"
)]

mod functions;

use serde_json::Value;

use functions::FUNCTIONS;

/// What an expression sees.
pub struct Scope<'a> {
    pub ctx: &'a Value,
    pub payload: Option<&'a Value>,
    pub state: &'a str,
    pub now_ms: i64,
    pub event: &'a str,
    pub instance: (&'a str, &'a str, u32, i64),
}

/// The expression does not parse.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused;

type Answer<T> = Result<T, Refused>;

/// Deeper than the real parser goes; keeps hostile input from overflowing this one's stack.
const DEPTH_MAX: usize = 200;

/// Whether the guard passes.
pub fn evaluate(text: &str, scope: &Scope<'_>) -> Answer<bool> {
    value(text, scope).map(|value| truth(&value))
}

/// What the expression comes to.
pub fn value(text: &str, scope: &Scope<'_>) -> Answer<Value> {
    let text = text.chars().collect();
    let mut reader = Reader { text, at: 0, depth: 0, scope, names: Vec::new() };
    let value = reader.expression()?;
    reader.blanks();
    if reader.at < reader.text.len() {
        return Err(Refused);
    }
    Ok(value)
}

struct Reader<'a> {
    text: Vec<char>,
    at: usize,
    depth: usize,
    scope: &'a Scope<'a>,
    /// What names stand for, the innermost last.
    names: Vec<(String, Value)>,
}

impl Reader<'_> {
    fn blanks(&mut self) {
        while self.char(0).is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    fn char(&self, ahead: usize) -> Option<char> {
        self.text.get(self.at + ahead).copied()
    }

    /// Skips blanks and takes the symbol if it comes next.
    fn eat(&mut self, symbol: &str) -> bool {
        self.blanks();
        let found = symbol.chars().enumerate().all(|(i, c)| self.char(i) == Some(c));
        if found {
            self.at += symbol.chars().count();
        }
        found
    }

    /// The run of name characters that comes next, without taking it.
    fn word(&mut self) -> String {
        self.blanks();
        if self.char(0).is_some_and(|c| c.is_ascii_digit() || c == '.') {
            return String::new();
        }
        self.name()
    }

    fn name(&self) -> String {
        let name = |c: &&char| c.is_alphanumeric() || **c == '_' || **c == '.';
        self.text[self.at..].iter().take_while(name).collect()
    }

    fn skip(&mut self, word: &str) {
        self.at += word.chars().count();
    }

    fn expression(&mut self) -> Answer<Value> {
        let condition = self.or()?;
        if !self.eat("?") {
            return Ok(condition);
        }
        self.deeper()?;
        let then = self.expression()?;
        if !self.eat(":") {
            return Err(Refused);
        }
        let otherwise = self.expression()?;
        self.depth -= 1;
        Ok(if truth(&condition) { then } else { otherwise })
    }

    fn or(&mut self) -> Answer<Value> {
        let mut value = self.and()?;
        while self.eat("||") {
            let right = self.and()?;
            value = Value::Bool(truth(&value) || truth(&right));
        }
        Ok(value)
    }

    fn and(&mut self) -> Answer<Value> {
        let mut value = self.not()?;
        while self.eat("&&") {
            let right = self.not()?;
            value = Value::Bool(truth(&value) && truth(&right));
        }
        Ok(value)
    }

    fn not(&mut self) -> Answer<Value> {
        self.blanks();
        if self.char(0) == Some('!') && self.char(1) != Some('=') {
            self.at += 1;
            self.deeper()?;
            let value = self.not()?;
            self.depth -= 1;
            return Ok(Value::Bool(!truth(&value)));
        }
        self.comparison()
    }

    fn deeper(&mut self) -> Answer<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(Refused) } else { Ok(()) }
    }

    fn operator(&mut self) -> Option<&'static str> {
        for operator in ["==", "!=", "<=", ">=", "<", ">"] {
            if self.eat(operator) {
                return Some(operator);
            }
        }
        if self.word() == "in" {
            self.skip("in");
            return Some("in");
        }
        None
    }

    fn comparison(&mut self) -> Answer<Value> {
        let left = self.sum()?;
        let Some(operator) = self.operator() else { return Ok(left) };
        let right = if operator == "in" && self.whole_ctx("+-*/%[", false) {
            self.scope.ctx.clone()
        } else {
            self.sum()?
        };
        if self.operator().is_some() {
            return Err(Refused);
        }
        Ok(Value::Bool(match operator {
            "==" => equal(&left, &right),
            "!=" => !equal(&left, &right),
            "in" => inside(&left, &right),
            "<" => less(&left, &right),
            ">" => less(&right, &left),
            "<=" => less(&left, &right) || same_order(&left, &right),
            _ => less(&right, &left) || same_order(&left, &right),
        }))
    }

    /// Takes `ctx` alone, if the character behind it is (or is not) one of `marks`.
    fn whole_ctx(&mut self, marks: &str, wanted: bool) -> bool {
        if self.word() != "ctx" {
            return false;
        }
        let before = self.at;
        self.skip("ctx");
        self.blanks();
        if self.char(0).is_some_and(|c| marks.contains(c)) != wanted {
            self.at = before;
            return false;
        }
        true
    }

    fn sum(&mut self) -> Answer<Value> {
        let mut value = self.product()?;
        loop {
            if self.eat("+") {
                value = arithmetic('+', &value, &self.product()?);
            } else if self.eat("-") {
                value = arithmetic('-', &value, &self.product()?);
            } else {
                return Ok(value);
            }
        }
    }

    fn product(&mut self) -> Answer<Value> {
        let mut value = self.unary()?;
        loop {
            if self.eat("*") {
                value = arithmetic('*', &value, &self.unary()?);
            } else if self.eat("/") {
                value = arithmetic('/', &value, &self.unary()?);
            } else if self.eat("%") {
                value = arithmetic('%', &value, &self.unary()?);
            } else {
                return Ok(value);
            }
        }
    }

    fn unary(&mut self) -> Answer<Value> {
        if !self.eat("-") {
            return self.primary();
        }
        self.blanks();
        if self.char(0).is_some_and(|c| c.is_ascii_digit() || c == '.') {
            return self.number(true);
        }
        self.deeper()?;
        let value = self.unary()?;
        self.depth -= 1;
        // 0 - x and -x differ only in the sign of a zero, which nothing can see.
        Ok(arithmetic('-', &Value::from(0), &value))
    }

    fn primary(&mut self) -> Answer<Value> {
        self.blanks();
        match self.char(0) {
            Some('(') => {
                self.at += 1;
                self.deeper()?;
                let value = self.expression()?;
                self.depth -= 1;
                if self.eat(")") { Ok(value) } else { Err(Refused) }
            }
            Some('[') => self.list(),
            Some('"') => Ok(Value::String(self.string()?)),
            Some(c) if c.is_ascii_digit() || c == '.' => self.number(false),
            _ => self.named(),
        }
    }

    fn named(&mut self) -> Answer<Value> {
        let word = self.word();
        if let Some(found) = self.path(&word) {
            return Ok(found?.unwrap_or(Value::Null));
        }
        self.skip(&word);
        Ok(match word.as_str() {
            "state" => Value::from(self.scope.state),
            "now" => Value::from(self.scope.now_ms),
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "null" => Value::Null,
            "exists" => {
                if !self.eat("(") {
                    return Err(Refused);
                }
                let found = self.existing()?;
                if !self.eat(")") {
                    return Err(Refused);
                }
                Value::Bool(found)
            }
            "event" => Value::from(self.scope.event),
            "instance.id" => Value::from(self.scope.instance.0),
            "instance.machine" => Value::from(self.scope.instance.1),
            "instance.version" => Value::from(self.scope.instance.2),
            "instance.created_at" => Value::from(self.scope.instance.3),
            "any" | "all" | "map" | "filter" => self.each(&word)?,
            _ if FUNCTIONS.contains(&word.as_str()) => self.call(&word)?,
            _ => return Err(Refused),
        })
    }

    fn list(&mut self) -> Answer<Value> {
        self.at += 1;
        self.deeper()?;
        let mut items = Vec::new();
        while !self.eat("]") {
            if !items.is_empty() && !self.eat(",") {
                return Err(Refused);
            }
            items.push(self.expression()?);
        }
        self.depth -= 1;
        Ok(Value::Array(items))
    }

    fn each(&mut self, function: &str) -> Answer<Value> {
        if !self.eat("(") {
            return Err(Refused);
        }
        self.deeper()?;
        let list = match self.whole_ctx(",)", true) {
            true => self.scope.ctx.clone(),
            false => self.expression()?,
        };
        let name = if self.eat(",") { self.word() } else { return Err(Refused) };
        let words =
            ["ctx", "payload", "state", "now", "true", "false", "null", "event", "instance", "in"];
        let others = ["any", "all", "map", "filter", "exists"];
        let taken = words.contains(&name.as_str())
            || others.contains(&name.as_str())
            || FUNCTIONS.contains(&name.as_str())
            || self.names.iter().any(|(other, _)| *other == name);
        if name.is_empty() || name.contains('.') || taken {
            return Err(Refused);
        }
        self.skip(&name);
        if !self.eat(",") {
            return Err(Refused);
        }
        let body = self.at;
        // Once for nothing, to find the end.
        let mut ask = |item: Value| {
            self.at = body;
            self.names.push((name.clone(), item));
            let answer = self.expression();
            self.names.pop();
            answer
        };
        ask(Value::Null)?;
        let items = list.as_array().cloned();
        let answers: Answer<Vec<Value>> = items.iter().flatten().cloned().map(&mut ask).collect();
        let answers = answers?;
        self.depth -= 1;
        if !self.eat(")") {
            return Err(Refused);
        }
        Ok(match (function, items) {
            ("any", items) => Value::Bool(items.is_some() && answers.iter().any(truth)),
            ("all", items) => Value::Bool(items.is_some() && answers.iter().all(truth)),
            (_, None) => Value::Null,
            ("map", _) => Value::Array(answers),
            (_, Some(items)) => {
                let kept = items.into_iter().zip(answers).filter(|(_, answer)| truth(answer));
                Value::Array(kept.map(|(item, _)| item).collect())
            }
        })
    }

    /// The argument of `exists`: a path, which may be in parentheses.
    fn existing(&mut self) -> Answer<bool> {
        if self.eat("(") {
            self.deeper()?;
            // `ctx` alone is an argument, but no operand.
            if self.word() == "ctx" {
                let before = self.at;
                self.skip("ctx");
                if !self.eat("[") {
                    return Err(Refused);
                }
                self.at = before;
            }
            let found = self.existing()?;
            self.depth -= 1;
            return if self.eat(")") { Ok(found) } else { Err(Refused) };
        }
        if self.whole_ctx(",)", true) {
            return Ok(true);
        }
        let word = self.word();
        Ok(self.path(&word).ok_or(Refused)??.is_some())
    }

    fn call(&mut self, name: &str) -> Answer<Value> {
        if !self.eat("(") {
            return Err(Refused);
        }
        let mut values = Vec::new();
        self.deeper()?;
        loop {
            values.push(match self.whole_ctx(",)", true) {
                true => self.scope.ctx.clone(),
                false => self.expression()?,
            });
            if self.eat(")") {
                break;
            }
            if !self.eat(",") {
                return Err(Refused);
            }
        }
        self.depth -= 1;
        functions::call(name, &values)
    }

    /// A path: None when the word is not the start of one, else what is found there.
    fn path(&mut self, word: &str) -> Option<Answer<Option<Value>>> {
        let (root, rest) = match word.split_once('.') {
            Some((root, rest)) => (root, Some(rest.to_owned())),
            None => (word, None),
        };
        let mut value = match root {
            "ctx" => Some(self.scope.ctx.clone()),
            "payload" => self.scope.payload.cloned(),
            _ => Some(self.names.iter().rev().find(|(name, _)| name == root)?.1.clone()),
        };
        self.skip(word);
        let mut alone = true;
        if let Some(rest) = rest {
            alone = false;
            if rest.is_empty() {
                return Some(Err(Refused));
            }
            value = members(value, &rest);
        }
        while self.eat("[") {
            alone = false;
            value = match self.index(value) {
                Ok(value) => value,
                Err(refused) => return Some(Err(refused)),
            };
            if self.char(0) == Some('.') {
                self.at += 1;
                let names = self.name();
                if names.is_empty() {
                    return Some(Err(Refused));
                }
                self.skip(&names);
                value = members(value, &names);
            }
        }
        Some(if alone && root == "ctx" { Err(Refused) } else { Ok(value) })
    }

    fn index(&mut self, value: Option<Value>) -> Answer<Option<Value>> {
        self.blanks();
        let found = match self.char(0) {
            Some('"') => {
                let key = self.string()?;
                value.and_then(|value| value.as_object()?.get(&key).cloned())
            }
            Some(c) if c.is_ascii_digit() || c == '.' => {
                let index = self.number(false)?.as_u64().ok_or(Refused)? as usize;
                value.and_then(|value| value.as_array()?.get(index).cloned())
            }
            _ => return Err(Refused),
        };
        if self.eat("]") { Ok(found) } else { Err(Refused) }
    }

    fn number(&mut self, negative: bool) -> Answer<Value> {
        let mut text = String::from(if negative { "-" } else { "" });
        let mut whole = true;
        let digits = |reader: &mut Self, text: &mut String| {
            let before = text.len();
            while let Some(c) = reader.char(0).filter(char::is_ascii_digit) {
                text.push(c);
                reader.at += 1;
            }
            text.len() - before
        };
        let mut count = digits(self, &mut text);
        if self.char(0) == Some('.') {
            whole = false;
            // A zero on either side makes `.5` and `5.` the same as `0.5` and `5.0`.
            text.push_str(if count == 0 { "0." } else { "." });
            self.at += 1;
            count += digits(self, &mut text);
            text.push('0');
        }
        if count == 0 {
            return Err(Refused);
        }
        if let Some('e' | 'E') = self.char(0) {
            whole = false;
            text.push('e');
            self.at += 1;
            if let Some(sign @ ('+' | '-')) = self.char(0) {
                text.push(sign);
                self.at += 1;
            }
            if digits(self, &mut text) == 0 {
                return Err(Refused);
            }
        }
        if !self.name().is_empty() {
            return Err(Refused);
        }
        if whole {
            return text.parse().ok().and_then(integer).ok_or(Refused);
        }
        let float = text.parse::<f64>().map_err(|_| Refused)?;
        if float.is_finite() { Ok(Value::from(float)) } else { Err(Refused) }
    }

    /// A string: its end is found first, then the JSON parser reads it.
    fn string(&mut self) -> Answer<String> {
        let mut text = String::from('"');
        loop {
            self.at += 1;
            match self.char(0).ok_or(Refused)? {
                '"' => break,
                '\\' => {
                    self.at += 1;
                    text.push('\\');
                    text.push(self.char(0).ok_or(Refused)?);
                }
                // JSON wants control characters escaped, guards don't.
                c if c < ' ' => text.push_str(&format!("\\u{:04x}", c as u32)),
                c => text.push(c),
            }
        }
        self.at += 1;
        text.push('"');
        serde_json::from_str(&text).map_err(|_| Refused)
    }
}

fn members(value: Option<Value>, names: &str) -> Option<Value> {
    names.split('.').try_fold(value?, |value, name| value.as_object()?.get(name).cloned())
}

fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

fn exact(value: &Value) -> Option<i128> {
    value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from))
}

fn integer(value: i128) -> Option<Value> {
    let signed = i64::try_from(value).map(Value::from);
    signed.or_else(|_| u64::try_from(value).map(Value::from)).ok()
}

fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(left), Value::Bool(right)) => left == right,
        (Value::String(left), Value::String(right)) => left == right,
        (Value::Number(a), Value::Number(b)) => match (exact(left), exact(right)) {
            (Some(left), Some(right)) => left == right,
            _ => (a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 2f64.powi(-52),
        },
        _ => false,
    }
}

fn less(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::String(left), Value::String(right)) => left < right,
        (Value::Number(a), Value::Number(b)) => match (exact(left), exact(right)) {
            (Some(left), Some(right)) => left < right,
            _ => a.as_f64().unwrap() < b.as_f64().unwrap(),
        },
        _ => false,
    }
}

/// Neither is less, and an order exists.
fn same_order(left: &Value, right: &Value) -> bool {
    let comparable = left.is_string() && right.is_string() || left.is_number() && right.is_number();
    comparable && !less(left, right) && !less(right, left)
}

fn inside(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (_, Value::Array(items)) => items.iter().any(|item| equal(item, part)),
        (Value::String(key), Value::Object(members)) => members.contains_key(key),
        (Value::String(part), Value::String(whole)) => whole.contains(part.as_str()),
        _ => false,
    }
}

fn arithmetic(operator: char, left: &Value, right: &Value) -> Value {
    if let (Some(left), Some(right)) = (exact(left), exact(right)) {
        let result = match operator {
            '+' => left.checked_add(right),
            '-' => left.checked_sub(right),
            '*' => left.checked_mul(right),
            _ if right == 0 => None,
            '%' => Some(left % right),
            _ if left % right != 0 => return Value::from(left as f64 / right as f64),
            _ => Some(left / right),
        };
        return result.and_then(integer).unwrap_or(Value::Null);
    }
    let (Some(left), Some(right)) = (left.as_f64(), right.as_f64()) else { return Value::Null };
    let result = match operator {
        '+' => left + right,
        '-' => left - right,
        '*' => left * right,
        '/' => left / right,
        _ => left % right,
    };
    // `Value::from` makes null of what is not finite.
    Value::from(result)
}
