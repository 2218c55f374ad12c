"""Pages of results as tables of pyarrow and pandas, which are asked for only here."""

from __future__ import annotations

import json
from typing import Any

_TIMES = ("created_at", "updated_at", "timestamp")
# User's values have no common type: they are columns of JSON text.
_JSON = ("ctx", "payload", "entry", "result", "error")


def to_arrow(page: Any) -> Any:
    """The rows as a `pyarrow.Table`; times are timestamps in UTC, values of users JSON text."""
    try:
        import pyarrow as pa
    except ImportError:
        raise ImportError("to_arrow() needs pyarrow: pip install 'rstmdb[arrow]'") from None
    columns = _columns(page)
    arrays = {}
    for name, values in columns.items():
        if name in _TIMES:
            arrays[name] = pa.array(values, type=pa.timestamp("ms", tz="UTC"))
        elif name in _JSON:
            arrays[name] = pa.array(values, type=pa.string())
        else:
            arrays[name] = pa.array(values)
    return pa.table(arrays)


def to_pandas(page: Any) -> Any:
    """The rows as a `pandas.DataFrame`; times are in UTC, values of users are Python values."""
    try:
        import pandas as pd
    except ImportError:
        raise ImportError("to_pandas() needs pandas: pip install 'rstmdb[pandas]'") from None
    frame = pd.DataFrame(_columns(page, as_text=False))
    for name in _TIMES:
        if name in frame:
            frame[name] = pd.to_datetime(frame[name], unit="ms", utc=True)
    return frame


def _columns(page: Any, *, as_text: bool = True) -> dict[str, list[Any]]:
    """The members of all rows, in their order; a row without one has None there."""
    rows = list(page)
    # What rows may have is known from their class, so that an empty page has its columns too.
    names = _members(page, rows)
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for row in rows:
        values = row.to_dict()
        for name, column in columns.items():
            value = values.get(name)
            if name in _JSON and value is not None and as_text:
                value = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
            column.append(value)
    return columns


def _members(page: Any, rows: list[Any]) -> tuple[str, ...]:
    from . import _native

    classes = {
        "ListInstancesResult": _native.InstanceSummary,
        "HistoryResult": _native.InstanceEvent,
        "WalReadResult": _native.WalRecord,
        "ListMachinesResult": _native.MachineVersions,
        "CountInstancesResult": _native.InstanceCount,
        "BatchResult": _native.BatchOutcome,
        "PermittedResult": _native.PermittedEvent,
    }
    found = classes.get(type(page).__name__) or (type(rows[0]) if rows else None)
    members: tuple[str, ...] = getattr(found, "__match_args__", ())
    return members
