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
    (&["time", "timedelta"], "; choose a str or a number"),
];

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
    Ok(BY_NAME.iter().find(|(names, _)| names.contains(&kind)).map(|(_, way_out)| *way_out))
}
