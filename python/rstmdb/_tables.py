"""Pages of results as tables of pyarrow and pandas, which are asked for only here.

What the columns are depends on the class of the page alone and never on its rows: tables of pages without rows,
or without values in a column, go with all others.
"""

from __future__ import annotations

import json
from typing import Any

from ._members import MEMBERS, ROWS


def schema(page: Any, kind: type | None = None) -> Any:
    """The `pyarrow.Schema` of the rows."""
    pa = _pyarrow("__arrow_c_schema__()")
    types = {
        "text": pa.string(),
        "bool": pa.bool_(),
        "int": pa.int64(),
        "time": pa.timestamp("ms", tz="UTC"),
        "ints": pa.list_(pa.int64()),
        "texts": pa.list_(pa.string()),
        # Values of users have no common type.
        "json": pa.string(),
    }
    return pa.schema([(name, types[form]) for name, (form, _) in _rows_of(page, kind).items()])


def to_arrow(page: Any, kind: type | None = None) -> Any:
    """The rows as a `pyarrow.Table`; times are timestamps in UTC, values of users JSON text."""
    pa = _pyarrow("to_arrow()")
    columns = _columns(page, _rows_of(page, kind), as_text=True)
    return pa.table(columns, schema=schema(page, kind))


def to_pandas(page: Any, kind: type | None = None) -> Any:
    """The rows as a `pandas.DataFrame`; times are in UTC, values of users are Python values."""
    try:
        import pandas as pd
    except ImportError:
        raise ImportError("to_pandas() needs pandas: pip install 'rstmdb[pandas]'") from None
    types = {
        # What this version of pandas takes texts for.
        "text": pd.Series(["text"]).dtype,
        "bool": "bool",
        "int": "int64",
        "time": "datetime64[ms, UTC]",
    }
    # Integers and flags that may be absent; those of pandas without a mask would become floats.
    masked = {"bool": "boolean", "int": "Int64"}
    forms = _rows_of(page, kind)
    columns = _columns(page, forms, as_text=False)
    series = {}
    for name, (form, required) in forms.items():
        dtype = types.get(form, "object")
        if form == "time":
            times = pd.to_datetime(pd.Series(columns[name], dtype="Int64"), unit="ms", utc=True)
            series[name] = times.astype(dtype)
        else:
            dtype = dtype if required else masked.get(form, dtype)
            series[name] = pd.Series(columns[name], dtype=dtype)
    return pd.DataFrame(series)


def _pyarrow(what: str) -> Any:
    try:
        import pyarrow
    except ImportError:
        raise ImportError(f"{what} needs pyarrow: pip install 'rstmdb[arrow]'") from None
    return pyarrow


def _rows_of(page: Any, kind: type | None) -> dict[str, tuple[str, bool]]:
    """The members of the rows of a page, or of rows of this class."""
    return MEMBERS[ROWS[type(page).__name__] if kind is None else kind.__name__]


def _columns(
    page: Any, forms: dict[str, tuple[str, bool]], *, as_text: bool
) -> dict[str, list[Any]]:
    """The members of all rows, in their order; a row without one has None there."""
    columns: dict[str, list[Any]] = {name: [] for name in forms}
    for row in page:
        values = row.to_dict()
        for name, column in columns.items():
            value = values.get(name)
            if as_text and forms[name][0] == "json" and value is not None:
                value = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
            column.append(value)
    return columns
