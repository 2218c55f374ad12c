//! What an evaluation may cost, counted in nodes and bytes and never in time: every node counts the same everywhere.

use std::cell::Cell;

use rstmdb_types::error::reason;
use rstmdb_types::{Error, Limits};

/// Bytes that are only looked at are cheaper than those that are made, by this factor.
const LOOKED_AT: usize = 16;

/// How much the guards and actions of one event may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// The most nodes that may be evaluated, each element of a list anew.
    pub steps: u64,
    /// The most bytes of strings and lists that may be made; a byte that is looked at counts a sixteenth.
    pub bytes: u64,
    /// The most transitions that may follow by themselves.
    pub inner: u64,
}

impl Default for Allowance {
    fn default() -> Allowance {
        Allowance::from(&Limits::default())
    }
}

impl From<&Limits> for Allowance {
    fn from(limits: &Limits) -> Allowance {
        Allowance {
            steps: limits.evaluation_steps_max as u64,
            bytes: limits.evaluation_bytes_max as u64,
            inner: limits.steps_max as u64,
        }
    }
}

/// What is left of an allowance.
#[derive(Debug)]
pub struct EvaluationBudget {
    allowance: Allowance,
    steps: Cell<u64>,
    bytes: Cell<u64>,
    exceeded: Cell<Option<&'static str>>,
}

impl EvaluationBudget {
    /// A budget of which nothing is spent.
    pub fn new(allowance: Allowance) -> EvaluationBudget {
        let (steps, bytes) = (Cell::new(allowance.steps), Cell::new(allowance.bytes));
        EvaluationBudget { allowance, steps, bytes, exceeded: Cell::new(None) }
    }

    /// The error of an evaluation that cost more than it may; None while there is something left.
    pub fn error(&self) -> Option<Error> {
        let limit = self.exceeded.get()?;
        let (most, what) = match limit {
            STEPS => (self.allowance.steps, "steps"),
            _ => (self.allowance.bytes, "bytes"),
        };
        let message = format!(
            "the expressions of the event take more than {most} {what}, the limit {limit}; make its lists and \
             texts shorter, or raise the limit"
        );
        Some(
            Error::invalid(reason::LIMIT_EXCEEDED, message)
                .with("field", "event")
                .with("limit", limit)
                .with("limit_value", most),
        )
    }

    fn take(&self, from: &Cell<u64>, cost: usize, limit: &'static str) -> bool {
        match from.get().checked_sub(cost as u64) {
            Some(left) if self.exceeded.get().is_none() => {
                from.set(left);
                true
            }
            _ => {
                let first = self.exceeded.get().unwrap_or(limit);
                self.exceeded.set(Some(first));
                false
            }
        }
    }
}

const STEPS: &str = "evaluation_steps_max";
const BYTES: &str = "evaluation_bytes_max";

/// Who counts. Once something is refused all else is, and the values of the evaluation mean nothing.
pub(crate) trait Meter {
    /// Whether anything is counted.
    const COUNTS: bool;

    /// Takes steps; false when there are not so many left.
    fn steps(&self, count: usize) -> bool;

    /// Takes bytes that are made.
    fn make(&self, bytes: usize) -> bool;

    /// Takes bytes that are looked at.
    fn look_at(&self, bytes: usize) -> bool {
        self.make(bytes.div_ceil(LOOKED_AT))
    }
}

impl Meter for EvaluationBudget {
    const COUNTS: bool = true;

    fn steps(&self, count: usize) -> bool {
        self.take(&self.steps, count, STEPS)
    }

    fn make(&self, bytes: usize) -> bool {
        self.take(&self.bytes, bytes, BYTES)
    }
}

/// Counts nothing: what a guard of level 1 costs is bounded by its text and the context, and it is evaluated as it always was.
#[derive(Debug)]
pub(crate) struct Uncounted;

impl Meter for Uncounted {
    const COUNTS: bool = false;

    #[inline(always)]
    fn steps(&self, _count: usize) -> bool {
        true
    }

    #[inline(always)]
    fn make(&self, _bytes: usize) -> bool {
        true
    }
}
