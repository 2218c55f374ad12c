//! Options from JSON: what is unknown, misplaced or does not fit is refused by its name.

use serde_json::{Map, Value};

use super::{EMBEDDED, OptionRow, OptionTable, REMOTE};
use crate::error::{Error, Result, reason};
use crate::names::nearest;

/// Where a database is, and with it which options it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// In this process.
    Embedded,
    /// On a server.
    Remote,
}

impl Half {
    /// The rows of its half of the table.
    pub const fn rows(self) -> &'static [OptionRow] {
        match self {
            Half::Embedded => EMBEDDED,
            Half::Remote => REMOTE,
        }
    }

    const fn other(self) -> Half {
        match self {
            Half::Embedded => Half::Remote,
            Half::Remote => Half::Embedded,
        }
    }

    const fn place(self) -> &'static str {
        match self {
            Half::Embedded => "a database of this process",
            Half::Remote => "a server",
        }
    }
}

/// What is wrong with the value of an option, and with which member of it.
#[derive(Debug)]
pub struct OptionProblem {
    path: Vec<String>,
    problem: std::result::Result<String, Box<Error>>,
}

impl<T: Into<String>> From<T> for OptionProblem {
    fn from(problem: T) -> OptionProblem {
        OptionProblem { path: Vec::new(), problem: Ok(problem.into()) }
    }
}

impl OptionProblem {
    /// An error that says everything itself.
    pub(super) fn from_error(error: Error) -> OptionProblem {
        OptionProblem { path: Vec::new(), problem: Err(Box::new(error)) }
    }

    fn within(mut self, name: &str) -> OptionProblem {
        self.path.insert(0, name.to_owned());
        self
    }

    /// The error about the option of this name.
    pub fn of(self, name: &str) -> Error {
        self.within(name).error()
    }

    fn error(self) -> Error {
        let path = self.path.join(".");
        match self.problem {
            Ok(problem) => invalid(&path, format!("option {path:?} {problem}")),
            Err(error) => *error,
        }
    }
}

/// Takes the options that are given for a database of one half; a `null` is not given.
///
/// Errors: `BAD_REQUEST`, reason `invalid_option`, naming the option in `option`.
pub fn read<T: OptionTable>(options: &mut T, half: Half, given: &Map<String, Value>) -> Result<()> {
    let misplaced = half.other().rows().iter().find(|row| given.contains_key(row.name));
    if let Some(OptionRow { name, .. }) = misplaced {
        let place = half.other().place();
        return Err(invalid(name, format!("option {name:?} is for {place}; leave it out here")));
    }
    members(options, half.rows(), given).map_err(OptionProblem::error)
}

/// Takes the members of an object; `rows` are those that people know.
pub(super) fn members<T: OptionTable>(
    into: &mut T,
    rows: &[OptionRow],
    given: &Map<String, Value>,
) -> std::result::Result<(), OptionProblem> {
    for (name, value) in given.iter().filter(|(_, value)| !value.is_null()) {
        let outcome = into.set(name, value).unwrap_or_else(|| Err(unknown(rows, name).into()));
        outcome.map_err(|problem| problem.within(name))?;
    }
    Ok(())
}

/// The end of the message about an option that does not exist.
fn unknown(rows: &[OptionRow], name: &str) -> String {
    let known = || rows.iter().map(|row| row.name);
    match nearest(name, known()) {
        Some(like) => format!("does not exist; did you mean {like:?}?"),
        None => format!("does not exist; there are {}", known().collect::<Vec<_>>().join(", ")),
    }
}

fn invalid(name: &str, message: String) -> Error {
    Error::invalid(reason::INVALID_OPTION, message).with("option", name)
}
