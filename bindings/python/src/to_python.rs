//! Members of results as Python values.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyInt, PyString, PyTuple};
use rstmdb_bridge::types::{
    BatchStatus, Error, ErrorCode, InstanceEventKind, Json, Outcome, Text, TimestampMs,
};

use crate::{errors, json};

/// What members of results are converted with.
pub trait ToPython {
    /// The Python value; objects are new at each call.
    fn to_python(&self, py: Python<'_>) -> PyResult<Py<PyAny>>;
}

/// A member that is converted when it is asked for first, and then kept.
pub struct Cached(PyOnceLock<Py<PyAny>>);

impl Default for Cached {
    fn default() -> Cached {
        Cached(PyOnceLock::new())
    }
}

impl Cached {
    /// The converted member.
    pub fn get(&self, py: Python<'_>, member: &impl ToPython) -> PyResult<Py<PyAny>> {
        self.0.get_or_try_init(py, || member.to_python(py)).map(|value| value.clone_ref(py))
    }
}

macro_rules! texts {
    ($($type:ty => |$value:ident| $text:expr;)*) => {$(
        impl ToPython for $type {
            fn to_python(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
                let $value = self;
                Ok(PyString::new(py, $text).into_any().unbind())
            }
        }
    )*};
}

texts! {
    Text => |text| text;
    String => |text| text;
    ErrorCode => |code| code.as_str();
    BatchStatus => |status| match status { BatchStatus::Ok => "ok", BatchStatus::Error => "error" };
    InstanceEventKind => |kind| kind.as_str();
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl ToPython for $type {
            fn to_python(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
                Ok(PyInt::new(py, *self).into_any().unbind())
            }
        }
    )*};
}

integers!(u32, u64, i64, usize);

impl ToPython for bool {
    fn to_python(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(PyBool::new(py, *self).to_owned().into_any().unbind())
    }
}

impl ToPython for Json {
    fn to_python(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        json::to_python(py, self.as_str())
    }
}

impl ToPython for Error {
    fn to_python(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        errors::exception(py, self)
    }
}

impl<T: ToPython> ToPython for Option<T> {
    fn to_python(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self {
            Some(value) => value.to_python(py),
            None => Ok(py.None()),
        }
    }
}

impl<T: ToPython> ToPython for Vec<T> {
    fn to_python(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let elements: Vec<Py<PyAny>> =
            self.iter().map(|element| element.to_python(py)).collect::<PyResult<_>>()?;
        Ok(PyTuple::new(py, elements)?.into_any().unbind())
    }
}

macro_rules! outcomes {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $method:ident $wire:literal,
       $access:ident $place:ident $batch:ident $key:ident,
       $request:ident => $result:ident, can_fail: $can_fail:literal;)*) => {
        impl ToPython for Outcome {
            fn to_python(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
                match self { $(Outcome::$name(result) => result.to_python(py),)* }
            }
        }
    };
}

rstmdb_bridge::types::for_each_operation!(outcomes);

static EPOCH: PyOnceLock<(Py<PyAny>, Py<PyAny>)> = PyOnceLock::new();

/// A point in time as an aware `datetime` in UTC, exact to the millisecond.
pub fn datetime(py: Python<'_>, at: TimestampMs) -> PyResult<Py<PyAny>> {
    let (epoch, timedelta) = EPOCH.get_or_try_init(py, || -> PyResult<_> {
        let module = PyModule::import(py, "datetime")?;
        let utc = module.getattr("timezone")?.getattr("utc")?;
        let epoch = module.getattr("datetime")?.call1((1970, 1, 1, 0, 0, 0, 0, utc))?;
        Ok((epoch.unbind(), module.getattr("timedelta")?.unbind()))
    })?;
    // Days, seconds, microseconds, milliseconds.
    let since = timedelta.bind(py).call1((0, 0, 0, at))?;
    Ok(epoch.bind(py).add(since)?.unbind())
}
