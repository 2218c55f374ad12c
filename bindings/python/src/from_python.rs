//! Python arguments as the members of requests; what does not fit is an `ArgumentError` that names
//! the argument.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyMapping, PyString};
use rstmdb_bridge::types::fault::LONE_SURROGATE;
use rstmdb_bridge::types::{BatchMode, HistoryOrder, Json, Text};

use crate::{errors, json};

/// A type that arguments are converted to; `path` names the argument in errors.
pub trait FromPython: Sized {
    /// Converts one argument.
    fn from_python(value: &Bound<'_, PyAny>, path: &str) -> PyResult<Self>;
}

/// Says what came instead of what was wanted.
pub fn unfit(value: &Bound<'_, PyAny>, path: &str, wanted: &str) -> PyErr {
    let kind = match value.get_type().name() {
        Ok(name) => name.to_string(),
        Err(error) => return error,
    };
    let is_awaitable = value.hasattr("__await__").unwrap_or(false);
    let way_out = if is_awaitable { "; await it first" } else { "" };
    errors::argument(value.py(), path, &format!("expected {wanted}, not {kind}{way_out}"))
}

impl FromPython for Text {
    fn from_python(value: &Bound<'_, PyAny>, path: &str) -> PyResult<Text> {
        if let Ok(text) = value.cast::<PyString>() {
            // Without a `String` in between, which `to_cow` makes for the sake of Python 3.9.
            let encoded = text.encode_utf8().ok();
            let text =
                encoded.as_ref().and_then(|bytes| std::str::from_utf8(bytes.as_bytes()).ok());
            return text
                .map(Text::from)
                .ok_or_else(|| errors::argument(value.py(), path, LONE_SURROGATE));
        }
        if json::is_enum(value)? {
            let inner = value.getattr("value")?;
            if inner.is_instance_of::<PyString>() {
                return Text::from_python(&inner, path);
            }
        }
        Err(unfit(value, path, "str or an Enum of str"))
    }
}

impl FromPython for bool {
    fn from_python(value: &Bound<'_, PyAny>, path: &str) -> PyResult<bool> {
        // NumPy's is one too.
        value.extract().map_err(|_| unfit(value, path, "bool"))
    }
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl FromPython for $type {
            fn from_python(value: &Bound<'_, PyAny>, path: &str) -> PyResult<$type> {
                if value.is_instance_of::<PyBool>() {
                    return Err(unfit(value, path, "int"));
                }
                let Some(number) = json::index(value)? else {
                    return Err(unfit(value, path, "int"));
                };
                number.extract::<$type>().map_err(|_| {
                    let message = format!("expected 0 to {}, not {number}", <$type>::MAX);
                    errors::argument(value.py(), path, &message)
                })
            }
        }
    )*};
}

integers!(u32, u64);

impl FromPython for Json {
    fn from_python(value: &Bound<'_, PyAny>, path: &str) -> PyResult<Json> {
        json::from_python(value, path)
    }
}

impl<T: FromPython> FromPython for Option<T> {
    fn from_python(value: &Bound<'_, PyAny>, path: &str) -> PyResult<Option<T>> {
        if value.is_none() { Ok(None) } else { T::from_python(value, path).map(Some) }
    }
}

impl<T: FromPython> FromPython for Vec<T> {
    fn from_python(value: &Bound<'_, PyAny>, path: &str) -> PyResult<Vec<T>> {
        if value.is_none() {
            return Ok(Vec::new());
        }
        // One text is a sequence of texts to Python, but hardly meant.
        if value.is_instance_of::<PyString>() || value.cast::<PyMapping>().is_ok() {
            return Err(unfit(value, path, "a list"));
        }
        let Ok(elements) = value.try_iter() else {
            return Err(unfit(value, path, "a list"));
        };
        elements
            .enumerate()
            .map(|(index, element)| match T::from_python(&element?, "") {
                Ok(element) => Ok(element),
                Err(error) if is_argument(value.py(), &error) => {
                    let message = error.value(value.py()).getattr("message")?.to_string();
                    let message = message.trim_start_matches(": ");
                    Err(errors::argument(value.py(), &format!("{path}[{index}]"), message))
                }
                Err(error) => Err(error),
            })
            .collect()
    }
}

/// Whether an element was refused here; its place in the list is then put before the message.
fn is_argument(py: Python<'_>, error: &PyErr) -> bool {
    error.value(py).hasattr("message").unwrap_or(false)
}

impl FromPython for BatchMode {
    fn from_python(value: &Bound<'_, PyAny>, path: &str) -> PyResult<BatchMode> {
        match Text::from_python(value, path)?.as_str() {
            "atomic" => Ok(BatchMode::Atomic),
            "best_effort" => Ok(BatchMode::BestEffort),
            _ => Err(errors::argument(value.py(), path, "expected \"atomic\" or \"best_effort\"")),
        }
    }
}

impl FromPython for HistoryOrder {
    fn from_python(value: &Bound<'_, PyAny>, path: &str) -> PyResult<HistoryOrder> {
        match Text::from_python(value, path)?.as_str() {
            "newest" => Ok(HistoryOrder::Newest),
            "oldest" => Ok(HistoryOrder::Oldest),
            _ => Err(errors::argument(value.py(), path, "expected \"newest\" or \"oldest\"")),
        }
    }
}
