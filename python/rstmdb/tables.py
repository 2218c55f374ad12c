"""Rows that are in no page, such as the events of a watch, as tables.

The columns depend on the class alone: a table of no rows goes with all others of its class.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from . import _tables
from ._members import MEMBERS

__all__ = ["schema", "to_arrow", "to_pandas"]


def schema(kind: type) -> Any:
    """The `pyarrow.Schema` of rows of a class of `rstmdb.types`, such as `InstanceEvent`; needs pyarrow."""
    return _tables.schema((), _known(kind))


def to_arrow(rows: Iterable[Any], kind: type) -> Any:
    """Rows of one class as a `pyarrow.Table`; needs pyarrow."""
    return _tables.to_arrow(list(rows), _known(kind))


def to_pandas(rows: Iterable[Any], kind: type) -> Any:
    """Rows of one class as a `pandas.DataFrame`; needs pandas."""
    return _tables.to_pandas(list(rows), _known(kind))


def _known(kind: type) -> type:
    if getattr(kind, "__name__", None) not in MEMBERS:
        raise TypeError(
            f"kind: expected a class of rstmdb.types, such as InstanceEvent, not {kind!r}"
        )
    return kind
