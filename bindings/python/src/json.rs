//! JSON as Python values and back, without Python's `json`: integers stay exact, nothing is lost
//! silently, and what JSON can't say is refused by its path.

use std::fmt::Write as _;

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{
    PyBool, PyDate, PyDateTime, PyDict, PyFloat, PyInt, PyList, PyMapping, PyString, PyTuple,
    PyTzInfoAccess,
};
use rstmdb_bridge::types::Json;
use rstmdb_bridge::types::fault::{LONE_SURROGATE, NOT_FINITE, TOO_LARGE_INTEGER};
use rstmdb_bridge::types::json::JSON_DEPTH_MAX;

use crate::{errors, hints, json_values};

/// What can't be said in JSON, and where; the path is collected on the way out.
struct Refused {
    message: String,
    path: Vec<String>,
    /// An exception that code of the caller raised.
    raised: Option<PyErr>,
}

impl Refused {
    fn new(message: impl Into<String>) -> Refused {
        Refused { message: message.into(), path: Vec::new(), raised: None }
    }

    fn below(mut self, step: String) -> Refused {
        self.path.push(step);
        self
    }

    fn into_error(self, py: Python<'_>, path: &str) -> PyErr {
        let steps: String = self.path.iter().rev().map(String::as_str).collect();
        let path = format!("{path}{steps}");
        let Some(raised) = self.raised else {
            return errors::argument(py, &path, &self.message);
        };
        // An exception of the caller's own code passes through, and says where with a note, which
        // Python has since 3.11.
        let note = format!("while {path} was converted to JSON");
        let _ = raised.value(py).call_method1("add_note", (note,));
        raised
    }
}

impl From<PyErr> for Refused {
    fn from(error: PyErr) -> Refused {
        Refused { raised: Some(error), ..Refused::new("") }
    }
}

/// A Python value as JSON; `path` names it in the error.
pub fn from_python(value: &Bound<'_, PyAny>, path: &str) -> PyResult<Json> {
    let mut text = String::with_capacity(128);
    let py = value.py();
    write(value, 0, &mut text).map_err(|refused| refused.into_error(py, path))?;
    // Sorts members and settles the form of numbers and escapes where this is needed.
    Json::parse(&text)
        .map_err(|error| errors::argument(py, &error.path_below(path), error.problem()))
}

fn write(value: &Bound<'_, PyAny>, depth: usize, out: &mut String) -> Result<(), Refused> {
    if let Ok(text) = value.cast::<PyString>() {
        write_text(text, out)
    } else if value.is_none() {
        out.push_str("null");
        Ok(())
    } else if let Ok(flag) = value.cast::<PyBool>() {
        out.push_str(if flag.is_true() { "true" } else { "false" });
        Ok(())
    } else if let Ok(number) = value.cast::<PyInt>() {
        write_integer(number, out)
    } else if let Ok(number) = value.cast::<PyFloat>() {
        write_float(number.value(), out)
    } else if depth >= JSON_DEPTH_MAX {
        let message = format!("nests deeper than {JSON_DEPTH_MAX}, or contains itself");
        Err(Refused::new(message))
    } else if let Ok(members) = value.cast::<PyDict>() {
        write_members(members.iter(), depth, out)
    } else if let Ok(elements) = value.cast::<PyList>() {
        write_elements(elements.iter(), depth, out)
    } else if let Ok(elements) = value.cast::<PyTuple>() {
        write_elements(elements.iter(), depth, out)
    } else {
        write_other(value, depth, out)
    }
}

fn write_text(text: &Bound<'_, PyString>, out: &mut String) -> Result<(), Refused> {
    let encoded = text.encode_utf8().map_err(|_| lone_surrogate())?;
    let text = std::str::from_utf8(encoded.as_bytes()).map_err(|_| lone_surrogate())?;
    write_str(text, out)
}

fn lone_surrogate() -> Refused {
    Refused::new(LONE_SURROGATE)
}

fn write_str(text: &str, out: &mut String) -> Result<(), Refused> {
    if text.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        let quoted = serde_json::to_string(text).map_err(|e| Refused::new(e.to_string()))?;
        out.push_str(&quoted);
    } else {
        out.push('"');
        out.push_str(text);
        out.push('"');
    }
    Ok(())
}

fn write_integer(number: &Bound<'_, PyInt>, out: &mut String) -> Result<(), Refused> {
    if let Ok(number) = number.extract::<i64>() {
        let _ = write!(out, "{number}");
    } else if let Ok(number) = number.extract::<u64>() {
        let _ = write!(out, "{number}");
    } else {
        return Err(Refused::new(TOO_LARGE_INTEGER));
    }
    Ok(())
}

fn write_float(number: f64, out: &mut String) -> Result<(), Refused> {
    let Some(number) = serde_json::Number::from_f64(number) else {
        return Err(Refused::new(format!("{number}: {NOT_FINITE}")));
    };
    let _ = write!(out, "{number}");
    Ok(())
}

fn write_members<'py>(
    members: impl Iterator<Item = (Bound<'py, PyAny>, Bound<'py, PyAny>)>,
    depth: usize,
    out: &mut String,
) -> Result<(), Refused> {
    let mut sorted: Vec<(String, Bound<'py, PyAny>)> = Vec::new();
    for (key, value) in members {
        let Ok(key) = key.cast::<PyString>() else {
            let kind = key.get_type().name()?.to_string();
            return Err(Refused::new(format!("a key is a {kind}, not a str")));
        };
        sorted.push((key.to_cow().map_err(|_| lone_surrogate())?.into_owned(), value));
    }
    if !sorted.is_sorted_by(|a, b| a.0 < b.0) {
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
    }
    out.push('{');
    for (index, (key, value)) in sorted.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_str(key, out)?;
        out.push(':');
        write(value, depth + 1, out).map_err(|refused| refused.below(format!(".{key}")))?;
    }
    out.push('}');
    Ok(())
}

fn write_elements<'py>(
    elements: impl Iterator<Item = Bound<'py, PyAny>>,
    depth: usize,
    out: &mut String,
) -> Result<(), Refused> {
    out.push('[');
    for (index, element) in elements.enumerate() {
        if index > 0 {
            out.push(',');
        }
        write(&element, depth + 1, out).map_err(|refused| refused.below(format!("[{index}]")))?;
    }
    out.push(']');
    Ok(())
}

/// The rarer kinds: dates, enums, UUIDs, mappings, and numbers of other libraries.
fn write_other(value: &Bound<'_, PyAny>, depth: usize, out: &mut String) -> Result<(), Refused> {
    let py = value.py();
    if let Ok(time) = value.cast::<PyDateTime>() {
        // What pandas has for a missing time is a datetime too.
        if time.get_type().name()? == "NaTType" {
            return Err(Refused::new("NaT is no time; write None"));
        }
        if time.get_tzinfo().is_none() {
            return Err(Refused::new(
                "datetime without a time zone; give it one, such as datetime.timezone.utc",
            ));
        }
        return write_str(&time.call_method0("isoformat")?.extract::<String>()?, out);
    }
    if value.cast::<PyDate>().is_ok() {
        return write_str(&value.call_method0("isoformat")?.extract::<String>()?, out);
    }
    if value.is_instance(class(py, &ENUM, "enum", "Enum")?)? {
        return write(&value.getattr("value")?, depth + 1, out);
    }
    if value.is_instance(class(py, &UUID, "uuid", "UUID")?)? {
        return write_str(&value.str()?.to_cow()?, out);
    }
    if let Ok(mapping) = value.cast::<PyMapping>() {
        let items = mapping.items()?;
        let mut members = Vec::with_capacity(items.len());
        for item in items.iter() {
            members.push(item.extract()?);
        }
        return write_members(members.into_iter(), depth, out);
    }
    // Python's own came before: these are NumPy's.
    if let Ok(flag) = value.extract::<bool>() {
        out.push_str(if flag { "true" } else { "false" });
        return Ok(());
    }
    if is_numpy(value, "floating")? {
        return write_float(value.extract()?, out);
    }
    if let Some(number) = index(value)? {
        return write_integer(&number, out);
    }
    let kind = value.get_type().name()?.to_string();
    let fix = hints::way_out(value, &kind)?.unwrap_or(
        "; use dict, list, str, int, float, bool, None, date, aware datetime, Enum or UUID",
    );
    Err(Refused::new(format!("a {kind} can't become JSON{fix}")))
}

/// The number that a value other than a bool is, when it stands for an integer: NumPy's do.
pub fn index<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyInt>>> {
    let py = value.py();
    if let Ok(number) = value.cast::<PyInt>() {
        return Ok(Some(number.clone()));
    }
    if !value.hasattr(intern!(py, "__index__"))? {
        return Ok(None);
    }
    match value.call_method0(intern!(py, "__index__")) {
        Ok(number) => Ok(Some(number.cast_into::<PyInt>()?)),
        // Arrays have the method too, and none of them but those of one integer an answer.
        Err(error) if error.is_instance_of::<PyTypeError>(py) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a value is of this class of NumPy, which may not even be there.
fn is_numpy(value: &Bound<'_, PyAny>, class: &str) -> PyResult<bool> {
    let modules = PyModule::import(value.py(), intern!(value.py(), "sys"))?.getattr("modules")?;
    match modules.get_item(intern!(value.py(), "numpy")) {
        Ok(numpy) if !numpy.is_none() => value.is_instance(&numpy.getattr(class)?),
        _ => Ok(false),
    }
}

static ENUM: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
static UUID: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

fn class<'py>(
    py: Python<'py>,
    cell: &'static PyOnceLock<Py<PyAny>>,
    module: &str,
    name: &str,
) -> PyResult<&'py Bound<'py, PyAny>> {
    cell.get_or_try_init(py, || Ok(PyModule::import(py, module)?.getattr(name)?.unbind()))
        .map(|class| class.bind(py))
}

/// Whether the value is a member of an `enum.Enum`.
pub fn is_enum(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    value.is_instance(class(value.py(), &ENUM, "enum", "Enum")?)
}

/// JSON text as Python values: dict, list, str, int, float, bool and None.
pub fn to_python(py: Python<'_>, text: &str) -> PyResult<Py<PyAny>> {
    json_values::read(py, text).map(Bound::unbind).map_err(|error| {
        errors::raised(
            py,
            &rstmdb_bridge::types::Error::new(
                rstmdb_bridge::types::ErrorCode::InternalError,
                format!("a value is no JSON: {error}"),
            ),
        )
    })
}

/// The canonical JSON text of a value: members sorted, no blanks, integers exact.
#[pyfunction]
pub fn json_text(value: &Bound<'_, PyAny>) -> PyResult<String> {
    from_python(value, "value").map(|json| json.as_str().to_owned())
}

/// The value of a JSON text.
#[pyfunction]
pub fn json_value(py: Python<'_>, text: &str) -> PyResult<Py<PyAny>> {
    let json = Json::parse(text)
        .map_err(|error| errors::argument(py, &error.path_below("text"), &error.to_string()))?;
    to_python(py, json.as_str())
}
