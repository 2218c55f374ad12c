//! The operations of a batch as arguments.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use rstmdb_bridge::types::{BatchElement, BatchOperation, members};

use crate::from_python::{FromPython, unfit};
use crate::generated::{BATCH_CLASSES, batch_operation};
use crate::{errors, json};

/// `ApplyEvent(…)` and its like, or the form of the wire: `{"op": "APPLY_EVENT", "params": {…}}`.
impl FromPython for BatchOperation {
    fn from_python(value: &Bound<'_, PyAny>, path: &str) -> PyResult<BatchOperation> {
        if let Some(operation) = batch_operation(value) {
            return Ok(operation);
        }
        if value.is_instance_of::<PyDict>() {
            let refused = |message: &str| errors::argument(value.py(), path, message);
            let text = json::from_python(value, path)?;
            members::check_element(text.as_str().as_bytes())
                .map_err(|error| refused(error.message()))?;
            let element = members::read::<BatchElement>(text.as_str().as_bytes());
            return element.map(|element| element.0).map_err(|error| refused(error.message()));
        }
        Err(unfit(value, path, BATCH_CLASSES))
    }
}
