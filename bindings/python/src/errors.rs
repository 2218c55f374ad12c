//! Errors of the database as exceptions of `rstmdb.errors`, which are plain Python classes.

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;
use rstmdb_bridge::types::error::reason;
use rstmdb_bridge::types::{Error, Json};

use crate::json_values;

static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();

fn module(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    MODULE
        .get_or_try_init(py, || PyModule::import(py, "rstmdb.errors").map(Bound::unbind))
        .map(|module| module.bind(py))
}

/// The exception for `error`, not raised yet.
pub fn exception(py: Python<'_>, error: &Error) -> PyResult<Py<PyAny>> {
    made(py, error, false)
}

/// The exception for `error`, to be raised.
pub fn raised(py: Python<'_>, error: &Error) -> PyErr {
    match made(py, error, false) {
        Ok(exception) => PyErr::from_value(exception.into_bound(py)),
        Err(error) => error,
    }
}

/// An argument that does not fit: an `ArgumentError`, which is a `TypeError` too.
pub fn argument(py: Python<'_>, path: &str, message: &str) -> PyErr {
    let error = Error::invalid(reason::INVALID_REQUEST, format!("{path}: {message}"))
        .with("path", path.to_owned());
    match made(py, &error, true) {
        Ok(exception) => PyErr::from_value(exception.into_bound(py)),
        Err(error) => error,
    }
}

fn made(py: Python<'_>, error: &Error, is_argument: bool) -> PyResult<Py<PyAny>> {
    let context = PyDict::new(py);
    for (key, value) in error.context() {
        let value = json_values::read(py, Json::from_value(value).as_str());
        context.set_item(key, value.map_err(|error| PyValueError::new_err(error.to_string()))?)?;
    }
    let arguments = (
        error.kind().as_str(),
        error.message(),
        error.code().as_str(),
        error.reason(),
        error.retryable(),
        error.operation(),
        context,
        is_argument,
    );
    module(py)?.getattr(intern!(py, "_from_native"))?.call1(arguments).map(Bound::unbind)
}
