//! Guards: expressions that are conditions.

use rstmdb_types::Result;
use rstmdb_types::error::reason;

use super::budget::{Allowance, EvaluationBudget};
use super::evaluate::{self, Evaluation};
use super::explain::{self, Explanation};
use super::parser::Integers;
use super::{Expression, Scope};

/// A parsed guard; the language is described in [the module](super).
///
/// ```
/// use rstmdb_machine::{Guard, Scope};
/// use rstmdb_types::Json;
/// let guard = Guard::parse("ctx.total >= 100 && ctx.paid")?;
/// let ctx = Json::parse(r#"{"total":40,"paid":true}"#).unwrap();
/// let scope = Scope { ctx: ctx.root(), state: "created", ..Scope::default() };
/// assert!(!guard.evaluate(&scope));
/// let why = guard.explain(&scope).unwrap();
/// assert_eq!(why.to_string(), "`ctx.total >= 100` is false (ctx.total = 40)");
/// # Ok::<(), rstmdb_types::Error>(())
/// ```
#[derive(Debug)]
pub struct Guard(Expression);

impl Guard {
    /// Parses a guard; the whole text has to be one expression.
    ///
    /// # Errors
    ///
    /// `BAD_REQUEST` with reason `invalid_guard`, context `line` and `column` (both from 1, columns
    /// in characters) and a message that shows the place with a caret.
    pub fn parse(text: &str) -> Result<Guard> {
        let expression =
            Expression::parse_as(text, "guard", reason::INVALID_GUARD, Integers::Exact)?;
        Ok(Guard(expression))
    }

    /// Parses the guard at `path` of a definition; errors name the path. What is parsed is kept as far as
    /// `room` bytes go.
    pub(crate) fn parse_at(
        text: &str,
        path: &str,
        integers: Integers,
        room: &mut usize,
    ) -> Result<Guard> {
        Expression::parse_at(text, path, reason::INVALID_GUARD, integers, room).map(Guard)
    }

    /// Whether it is kept parsed.
    #[cfg(test)]
    pub(crate) fn is_kept(&self) -> bool {
        self.0.is_kept()
    }

    /// The guard as it was written.
    pub fn text(&self) -> &str {
        self.0.text()
    }

    /// The language level that it needs.
    pub fn level(&self) -> u32 {
        self.0.level()
    }

    /// Whether the guard passes; one that costs more than is usual does not.
    pub fn evaluate(&self, scope: &Scope<'_>) -> bool {
        self.evaluate_within(scope, &EvaluationBudget::new(Allowance::default()))
    }

    /// Whether the guard passes; where the budget is exceeded the answer means nothing. Allocates only where a function
    /// makes a new string or list or a string with escapes is looked into, and for guards of a definition that
    /// has more of them than it keeps parsed.
    #[inline]
    pub fn evaluate_within(&self, scope: &Scope<'_>, budget: &EvaluationBudget) -> bool {
        match self.0.is_counted() {
            true => self.evaluate_counted(scope, budget),
            false => self.0.look(|root| evaluate::truth(root, &Evaluation::uncounted(scope))),
        }
    }

    /// Whether the guard passes, counted at any level: what a machine asks again and again by itself has to end.
    pub(crate) fn evaluate_counted(&self, scope: &Scope<'_>, budget: &EvaluationBudget) -> bool {
        self.0.holds(scope, budget) && budget.error().is_none()
    }

    /// Why the guard does not pass; None when it does.
    pub fn explain(&self, scope: &Scope<'_>) -> Option<Explanation> {
        let budget = EvaluationBudget::new(Allowance::default());
        match self.0.is_counted() {
            true => self.0.look(|root| {
                explain::explain(self.text(), root, scope, &Evaluation::new(scope, &budget))
            }),
            false => self.0.look(|root| {
                explain::explain(self.text(), root, scope, &Evaluation::uncounted(scope))
            }),
        }
    }
}
