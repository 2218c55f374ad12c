//! The classes of results: frozen, with a good `repr`, comparable, and fit for `pickle` and `match`.
//!
//! The classes themselves are rows of `generated.rs`; what they have in common is here.

use std::hash::{DefaultHasher, Hash, Hasher};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple, PyType};
use rstmdb_bridge::types::members;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{errors, json};

/// The JSON text of a result, with the members of the wire.
pub fn text<T: Serialize>(py: Python<'_>, value: &T) -> PyResult<String> {
    serde_json::to_string(value).map_err(|error| errors::argument(py, "result", &error.to_string()))
}

/// A result from its JSON text.
pub fn from_text<T: DeserializeOwned>(py: Python<'_>, text: &str) -> PyResult<T> {
    members::read(text.as_bytes()).map_err(|error| errors::argument(py, "text", error.message()))
}

/// Equal texts have equal hashes, and equal results have equal texts.
pub fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// `Name(member=value, …)`, without members that are None.
pub fn repr(object: &Bound<'_, PyAny>, members: &[&str]) -> PyResult<String> {
    let mut parts = Vec::with_capacity(members.len());
    for member in members {
        let value = object.getattr(*member)?;
        if !value.is_none() {
            parts.push(format!("{member}={}", value.repr()?.to_cow()?));
        }
    }
    Ok(format!("{}({})", object.get_type().name()?.to_cow()?, parts.join(", ")))
}

/// The names of the members, for `match`.
pub fn match_args(py: Python<'_>, members: &[&str]) -> PyResult<Py<PyTuple>> {
    PyTuple::new(py, members).map(Bound::unbind)
}

/// A pyarrow table or a pandas frame of the rows of a page, made by `rstmdb._tables`.
pub fn table(page: &Bound<'_, PyAny>, function: &str) -> PyResult<Py<PyAny>> {
    let tables = PyModule::import(page.py(), "rstmdb._tables")?;
    tables.getattr(function)?.call1((page,)).map(Bound::unbind)
}

/// What `rstmdb._frameworks` says to others of a class.
pub fn described(class: &Bound<'_, PyType>, function: &str) -> PyResult<Py<PyAny>> {
    let frameworks = PyModule::import(class.py(), "rstmdb._frameworks")?;
    frameworks.getattr(function)?.call1((class,)).map(Bound::unbind)
}

/// A class with what its objects are about, as `typing` writes it.
pub fn alias(class: &Bound<'_, PyType>, item: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let types = PyModule::import(class.py(), "types")?;
    Ok(types.getattr("GenericAlias")?.call1((class, item))?.unbind())
}

/// A member by its name, or a row of a page by its place.
pub fn item(
    py: Python<'_>,
    rows: Option<Py<PyAny>>,
    index: &Bound<'_, PyAny>,
    members: impl FnOnce() -> PyResult<Py<PyAny>>,
) -> PyResult<Py<PyAny>> {
    let items = match rows {
        Some(rows) if !index.is_instance_of::<PyString>() => rows,
        None if !index.is_instance_of::<PyString>() => {
            return Err(PyTypeError::new_err("this is one result; its members have names"));
        }
        _ => members()?,
    };
    Ok(items.bind(py).get_item(index)?.unbind())
}

/// JSON text with keyword arguments as members, for operations of a batch.
pub fn value(py: Python<'_>, text: &str) -> PyResult<Py<PyAny>> {
    json::to_python(py, text)
}

/// The members of every result class that do not depend on its fields.
macro_rules! result_class {
    (
        $name:ident($inner:ty), $doc:literal,
        plain: [$($plain:ident: $plain_doc:literal),* $(,)?],
        times: [$($time:ident $time_ms:ident: $time_doc:literal),* $(,)?],
        cached: [$($cached:ident: $cached_doc:literal),* $(,)?],
        shown: [$($shown:literal),* $(,)?]
        $(, page: $page:ident)? $(,)?
    ) => {
        // The first lines are what `inspect.signature` reads, and no part of `__doc__`.
        #[doc = concat!(stringify!($name), "()\n--\n\n", $doc)]
        #[pyclass(frozen, module = "rstmdb._native")]
        pub struct $name {
            inner: $inner,
            $($cached: $crate::to_python::Cached,)*
        }

        impl $name {
            const SHOWN: &[&str] = &[$($shown),*];

            /// The object for a result.
            pub fn new(inner: $inner) -> $name {
                $name { inner, $($cached: $crate::to_python::Cached::default(),)* }
            }
        }

        #[pymethods]
        #[allow(clippy::wrong_self_convention)]
        impl $name {
            $(#[doc = $plain_doc]
            #[getter]
            fn $plain(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
                self.inner.$plain.to_python(py)
            })*

            $(#[doc = $time_doc]
            #[getter]
            fn $time(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
                match Option::from(self.inner.$time) {
                    Some(at) => $crate::to_python::datetime(py, at),
                    None => Ok(py.None()),
                }
            }

            #[doc = $time_doc]
            #[getter]
            fn $time_ms(&self) -> Option<i64> {
                self.inner.$time.into()
            })*

            $(#[doc = $cached_doc]
            #[getter]
            fn $cached(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
                self.$cached.get(py, &self.inner.$cached)
            })*

            $(
            fn __len__(&self) -> usize {
                self.inner.$page.len()
            }

            fn __iter__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
                Ok(self.$page(py)?.bind(py).try_iter()?.into_any().unbind())
            }

            /// The rows, as pyarrow, polars and others take them; needs pyarrow.
            #[pyo3(signature = (requested_schema=None))]
            fn __arrow_c_stream__(
                this: &Bound<'_, Self>,
                requested_schema: Option<&Bound<'_, PyAny>>,
            ) -> PyResult<Py<PyAny>> {
                let table = $crate::results::table(this.as_any(), "to_arrow")?;
                let stream = table.bind(this.py()).call_method1(
                    "__arrow_c_stream__",
                    (requested_schema,),
                )?;
                Ok(stream.unbind())
            }

            /// What the columns are, also of a page without rows; needs pyarrow.
            fn __arrow_c_schema__(this: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
                let schema = $crate::results::table(this.as_any(), "schema")?;
                Ok(schema.bind(this.py()).call_method0("__arrow_c_schema__")?.unbind())
            }

            /// The rows as a `pyarrow.Table`; needs pyarrow.
            fn to_arrow(this: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
                $crate::results::table(this.as_any(), "to_arrow")
            }

            /// The rows as a `pandas.DataFrame`; needs pandas.
            fn to_pandas(this: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
                $crate::results::table(this.as_any(), "to_pandas")
            }
            )?

            /// The result as plain values, named as on the wire; times are milliseconds.
            fn to_dict(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
                $crate::results::value(py, &$crate::results::text(py, &self.inner)?)
            }

            /// The result as JSON text.
            fn to_json(&self, py: Python<'_>) -> PyResult<String> {
                $crate::results::text(py, &self.inner)
            }

            /// The result that `to_json` wrote.
            #[staticmethod]
            fn from_json(py: Python<'_>, text: &str) -> PyResult<$name> {
                $crate::results::from_text(py, text).map($name::new)
            }

            /// What pydantic asks of the type of a field.
            #[classmethod]
            fn __get_pydantic_core_schema__(
                class: &Bound<'_, pyo3::types::PyType>,
                _source: &Bound<'_, PyAny>,
                _handler: &Bound<'_, PyAny>,
            ) -> PyResult<Py<PyAny>> {
                $crate::results::described(class, "core_schema")
            }

            /// The JSON schema, which OpenAPI documents show.
            #[classmethod]
            fn __get_pydantic_json_schema__(
                class: &Bound<'_, pyo3::types::PyType>,
                _schema: &Bound<'_, PyAny>,
                _handler: &Bound<'_, PyAny>,
            ) -> PyResult<Py<PyAny>> {
                $crate::results::described(class, "json_schema")
            }

            /// The names of the members that are there, so that `dict(…)` and `**` take it.
            fn keys(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
                Ok(self.to_dict(py)?.bind(py).call_method0("keys")?.unbind())
            }

            fn __getitem__(&self, py: Python<'_>, index: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
                let rows: Option<Py<PyAny>> = None$(.or(Some(self.$page(py)?)))?;
                $crate::results::item(py, rows, index, || self.to_dict(py))
            }

            #[classattr]
            fn __match_args__(py: Python<'_>) -> PyResult<Py<pyo3::types::PyTuple>> {
                $crate::results::match_args(py, Self::SHOWN)
            }

            fn __repr__(this: &Bound<'_, Self>) -> PyResult<String> {
                $crate::results::repr(this.as_any(), Self::SHOWN)
            }

            fn __eq__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
                let Ok(other) = other.cast::<$name>() else {
                    return Ok(py.NotImplemented());
                };
                let same = $crate::results::text(py, &self.inner)?
                    == $crate::results::text(py, &other.get().inner)?;
                same.to_python(py)
            }

            fn __hash__(&self, py: Python<'_>) -> PyResult<u64> {
                Ok($crate::results::hash(&$crate::results::text(py, &self.inner)?))
            }

            fn __reduce__(this: &Bound<'_, Self>) -> PyResult<(Py<PyAny>, (String,))> {
                let py = this.py();
                let make = this.as_any().get_type().getattr("from_json")?;
                Ok((make.unbind(), ($crate::results::text(py, &this.get().inner)?,)))
            }

            fn __copy__(this: Py<Self>) -> Py<Self> {
                this
            }

            fn __deepcopy__(&self, _memo: &Bound<'_, PyAny>) -> $name {
                $name::new(self.inner.clone())
            }
        }

        impl ToPython for $inner {
            fn to_python(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
                Ok(Py::new(py, $name::new(self.clone()))?.into_any())
            }
        }

        impl $crate::results::IntoPython for $inner {
            fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
                Ok(Py::new(py, $name::new(self))?.into_any())
            }
        }
    };
}

/// A result on its way to the caller, which is not copied.
pub trait IntoPython {
    /// The object of the result's class.
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>>;
}

/// One kind of log entry. Its members are those of a variant, which has no type of its own.
macro_rules! entry_class {
    ($name:ident, $variant:ident, $doc:literal,
     plain: [$($plain:ident: $plain_doc:literal),* $(,)?],
     cached: [$($cached:ident: $cached_doc:literal),* $(,)?],
     shown: [$($shown:literal),* $(,)?] $(,)?) => {
        #[doc = concat!(stringify!($name), "()\n--\n\n", $doc)]
        #[pyclass(frozen, module = "rstmdb._native")]
        pub struct $name {
            inner: WalEntry,
            $($cached: $crate::to_python::Cached,)*
        }

        impl $name {
            const SHOWN: &[&str] = &[$($shown),*];

            fn new(inner: WalEntry) -> $name {
                $name { inner, $($cached: $crate::to_python::Cached::default(),)* }
            }
        }

        #[pymethods]
        #[allow(clippy::wrong_self_convention)]
        impl $name {
            $(#[doc = $plain_doc]
            #[getter]
            fn $plain(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
                let WalEntry::$variant { $plain, .. } = &self.inner else {
                    return Ok(py.None());
                };
                $plain.to_python(py)
            })*

            $(#[doc = $cached_doc]
            #[getter]
            fn $cached(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
                let WalEntry::$variant { $cached, .. } = &self.inner else {
                    return Ok(py.None());
                };
                self.$cached.get(py, $cached)
            })*

            /// The entry as plain values, named as on the wire.
            fn to_dict(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
                $crate::results::value(py, &$crate::results::text(py, &self.inner)?)
            }

            /// The entry as JSON text.
            fn to_json(&self, py: Python<'_>) -> PyResult<String> {
                $crate::results::text(py, &self.inner)
            }

            /// The entry that `to_json` wrote.
            #[staticmethod]
            fn from_json(py: Python<'_>, text: &str) -> PyResult<Py<PyAny>> {
                $crate::results::from_text::<WalEntry>(py, text)?.to_python(py)
            }

            /// What pydantic asks of the type of a field.
            #[classmethod]
            fn __get_pydantic_core_schema__(
                class: &Bound<'_, pyo3::types::PyType>,
                _source: &Bound<'_, PyAny>,
                _handler: &Bound<'_, PyAny>,
            ) -> PyResult<Py<PyAny>> {
                $crate::results::described(class, "core_schema")
            }

            /// The JSON schema, which OpenAPI documents show.
            #[classmethod]
            fn __get_pydantic_json_schema__(
                class: &Bound<'_, pyo3::types::PyType>,
                _schema: &Bound<'_, PyAny>,
                _handler: &Bound<'_, PyAny>,
            ) -> PyResult<Py<PyAny>> {
                $crate::results::described(class, "json_schema")
            }

            /// The names of the members that are there, so that `dict(…)` and `**` take it.
            fn keys(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
                Ok(self.to_dict(py)?.bind(py).call_method0("keys")?.unbind())
            }

            fn __getitem__(&self, py: Python<'_>, index: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
                let rows = None;
                $crate::results::item(py, rows, index, || self.to_dict(py))
            }

            #[classattr]
            fn __match_args__(py: Python<'_>) -> PyResult<Py<pyo3::types::PyTuple>> {
                $crate::results::match_args(py, Self::SHOWN)
            }

            fn __repr__(this: &Bound<'_, Self>) -> PyResult<String> {
                $crate::results::repr(this.as_any(), Self::SHOWN)
            }

            fn __eq__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
                match other.cast::<$name>() {
                    Ok(other) => (self.inner == other.get().inner).to_python(py),
                    Err(_) => Ok(py.NotImplemented()),
                }
            }

            fn __hash__(&self, py: Python<'_>) -> PyResult<u64> {
                Ok($crate::results::hash(&$crate::results::text(py, &self.inner)?))
            }

            fn __reduce__(this: &Bound<'_, Self>) -> PyResult<(Py<PyAny>, (String,))> {
                let py = this.py();
                let make = this.as_any().get_type().getattr("from_json")?;
                Ok((make.unbind(), ($crate::results::text(py, &this.get().inner)?,)))
            }

            fn __copy__(this: Py<Self>) -> Py<Self> {
                this
            }

            fn __deepcopy__(&self, _memo: &Bound<'_, PyAny>) -> $name {
                $name::new(self.inner.clone())
            }
        }
    };
}

/// One operation of a batch.
macro_rules! batch_class {
    ($name:ident($request:ident), $doc:literal,
     signature: $signature:tt, members: [$($member:ident),* $(,)?] $(,)?) => {
        #[doc = $doc]
        #[pyclass(frozen, module = "rstmdb._native")]
        pub struct $name {
            inner: $request,
        }

        #[pymethods]
        #[allow(clippy::wrong_self_convention)]
        impl $name {
            #[new]
            #[pyo3(signature = $signature)]
            #[allow(clippy::too_many_arguments)]
            fn new(py: Python<'_>, $($member: Option<&Bound<'_, PyAny>>),*) -> PyResult<$name> {
                let none = py.None().into_bound(py);
                Ok($name {
                    inner: $request {
                        $($member: $crate::from_python::FromPython::from_python(
                            $member.unwrap_or(&none),
                            stringify!($member),
                        )?,)*
                    },
                })
            }

            $(#[getter]
            fn $member(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
                self.inner.$member.to_python(py)
            })*

            /// What pydantic asks of the type of a field.
            #[classmethod]
            fn __get_pydantic_core_schema__(
                class: &Bound<'_, pyo3::types::PyType>,
                _source: &Bound<'_, PyAny>,
                _handler: &Bound<'_, PyAny>,
            ) -> PyResult<Py<PyAny>> {
                $crate::results::described(class, "core_schema")
            }

            /// The JSON schema, which OpenAPI documents show.
            #[classmethod]
            fn __get_pydantic_json_schema__(
                class: &Bound<'_, pyo3::types::PyType>,
                _schema: &Bound<'_, PyAny>,
                _handler: &Bound<'_, PyAny>,
            ) -> PyResult<Py<PyAny>> {
                $crate::results::described(class, "json_schema")
            }

            #[classattr]
            fn __match_args__(py: Python<'_>) -> PyResult<Py<pyo3::types::PyTuple>> {
                $crate::results::match_args(py, &[$(stringify!($member)),*])
            }

            fn __repr__(this: &Bound<'_, Self>) -> PyResult<String> {
                $crate::results::repr(this.as_any(), &[$(stringify!($member)),*])
            }

            fn __eq__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
                match other.cast::<$name>() {
                    Ok(other) => (self.inner == other.get().inner).to_python(py),
                    Err(_) => Ok(py.NotImplemented()),
                }
            }

            fn __hash__(&self, py: Python<'_>) -> PyResult<u64> {
                Ok($crate::results::hash(&$crate::results::text(py, &self.inner)?))
            }

            /// The operation as it is on the wire.
            fn to_dict(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
                let operation = BatchElement(BatchOperation::$name(self.inner.clone()));
                $crate::results::value(py, &$crate::results::text(py, &operation)?)
            }

            /// The operation that was pickled.
            #[staticmethod]
            fn _from_json(py: Python<'_>, text: &str) -> PyResult<$name> {
                Ok($name { inner: $crate::results::from_text(py, text)? })
            }

            fn __reduce__(this: &Bound<'_, Self>) -> PyResult<(Py<PyAny>, (String,))> {
                let py = this.py();
                let make = this.as_any().get_type().getattr("_from_json")?;
                Ok((make.unbind(), ($crate::results::text(py, &this.get().inner)?,)))
            }
        }
    };
}

pub(crate) use {batch_class, entry_class, result_class};
