//! Licence expressions as package manifests write them: SPDX, and the old `A/B` for `A OR B`.

/// Whether the expression can be satisfied with licences that `allowed` accepts.
///
/// `A WITH B` is asked for as a whole. An unreadable expression is an error.
pub fn satisfied(expression: &str, allowed: &dyn Fn(&str) -> bool) -> Result<bool, String> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { tokens: &tokens, allowed };
    let result = parser.or().map_err(|e| format!("licence expression {expression:?}: {e}"))?;
    match parser.tokens.first() {
        None => Ok(result),
        Some(token) => Err(format!("licence expression {expression:?}: unexpected {token:?}")),
    }
}

struct Parser<'a> {
    tokens: &'a [&'a str],
    allowed: &'a dyn Fn(&str) -> bool,
}

impl Parser<'_> {
    fn next_is(&mut self, word: &str) -> bool {
        let found = self.tokens.first().is_some_and(|token| token.eq_ignore_ascii_case(word));
        if found {
            self.tokens = &self.tokens[1..];
        }
        found
    }

    fn or(&mut self) -> Result<bool, String> {
        let mut result = self.and()?;
        while self.next_is("OR") {
            result |= self.and()?;
        }
        Ok(result)
    }

    fn and(&mut self) -> Result<bool, String> {
        let mut result = self.leaf()?;
        while self.next_is("AND") {
            result &= self.leaf()?;
        }
        Ok(result)
    }

    fn leaf(&mut self) -> Result<bool, String> {
        if self.next_is("(") {
            let result = self.or()?;
            return if self.next_is(")") { Ok(result) } else { Err("missing \")\"".into()) };
        }
        let name = self.name()?;
        if self.next_is("WITH") {
            let exception = self.name()?;
            return Ok((self.allowed)(&format!("{name} WITH {exception}")));
        }
        Ok((self.allowed)(&name))
    }

    fn name(&mut self) -> Result<String, String> {
        let (first, rest) = self.tokens.split_first().ok_or("ends too early")?;
        if ["OR", "AND", "WITH", "(", ")"].iter().any(|word| first.eq_ignore_ascii_case(word)) {
            return Err(format!("unexpected {first:?}"));
        }
        self.tokens = rest;
        Ok((*first).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(expression: &str) -> Result<bool, String> {
        satisfied(expression, &|name| {
            ["MIT", "Apache-2.0", "Zlib", "Apache-2.0 WITH LLVM-exception"].contains(&name)
        })
    }

    #[test]
    fn or_needs_one_and_needs_all() {
        for (expression, expected) in [
            ("MIT", true),
            ("GPL-3.0", false),
            ("MIT OR GPL-3.0", true),
            ("GPL-3.0 OR MIT", true),
            ("MIT AND GPL-3.0", false),
            ("MIT/Apache-2.0", true),
            ("GPL-3.0/AGPL-3.0", false),
            ("(MIT OR GPL-3.0) AND Zlib", true),
            ("MIT AND (GPL-3.0 OR LGPL-3.0)", false),
            // AND binds tighter than OR.
            ("GPL-3.0 AND GPL-2.0 OR MIT", true),
            ("MIT OR GPL-3.0 AND GPL-2.0", true),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("GPL-2.0 WITH Classpath-exception-2.0", false),
            ("Apache-2.0 WITH LLVM-exception OR GPL-3.0", true),
            ("(MIT)", true),
        ] {
            assert_eq!(ok(expression), Ok(expected), "{expression}");
        }
    }

    #[test]
    fn refuses_what_it_cannot_read() {
        for expression in ["", "MIT OR", "OR MIT", "(MIT", "MIT)", "MIT Zlib", "MIT WITH", "()"] {
            assert!(ok(expression).is_err(), "{expression}");
        }
    }
}
