//! What comes of a call of something outside.

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OutsideAnswer {
    /// It did what it is for.
    Done,
    /// It says no: exit code 75, or status 409.
    Forbidden(String),
    /// It failed, or took too long.
    Failed(String),
}
