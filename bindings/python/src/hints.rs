//! What to do with a value that is no plain one: the ways out that messages name.

use pyo3::prelude::*;
use pyo3::types::PyType;

/// Members that tell what a value is, and the way out.
const BY_MEMBER: &[(&str, &str)] = &[
    ("__await__", "; await it first"),
    ("__anext__", "; it is to be awaited, or looped over with async for"),
    ("model_dump", "; hand over x.model_dump(mode=\"json\")"),
    ("__dataclass_fields__", "; hand over dataclasses.asdict(x)"),
    ("__attrs_attrs__", "; hand over attrs.asdict(x)"),
    ("__struct_fields__", "; hand over msgspec.to_builtins(x)"),
];

/// The same by the name of the type.
const BY_NAME: &[(&[&str], &str)] = &[
    (&["Decimal"], "; choose str(x), which is exact, or float(x), which guards can compare"),
    (&["bytes", "bytearray"], "; decode it, or use base64"),
    (&["set", "frozenset"], "; sort it into a list"),
    (&["time", "timedelta", "Timedelta", "timedelta64"], "; choose a str or a number"),
    (&["datetime64"], "; choose pandas.Timestamp(x, tz=\"UTC\") or str(x)"),
    (&["NAType"], "; write None"),
    (&["ndarray", "Series", "Index"], "; use its tolist()"),
    (&["DataFrame"], "; use its to_dict(\"records\")"),
    (&["Table", "RecordBatch"], "; use its to_pylist()"),
];

/// The same by how the name of the type ends.
const BY_ENDING: &[(&str, &str)] =
    &[("Array", "; use its to_pylist()"), ("Scalar", "; use its as_py()")];

/// The way out that fits the value, if one is known.
pub fn way_out(value: &Bound<'_, PyAny>, kind: &str) -> PyResult<Option<&'static str>> {
    // A class has the members of its objects, and is none of them.
    if value.is_instance_of::<PyType>() {
        return Ok(Some("; hand over an object, not its class"));
    }
    for (member, way_out) in BY_MEMBER {
        if value.hasattr(*member)? {
            return Ok(Some(way_out));
        }
    }
    let by_name = BY_NAME.iter().find(|(names, _)| names.contains(&kind));
    let by_ending = || BY_ENDING.iter().find(|(ending, _)| kind.ends_with(ending));
    Ok(by_name.map(|(_, way_out)| *way_out).or_else(|| by_ending().map(|(_, way_out)| *way_out)))
}
