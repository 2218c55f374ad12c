"""The types of results, and of the operations of a batch.

They are frozen. Each has `to_dict()` and `to_json()`, compares by value, can be pickled and used in
`match`. Lists of rows can be looped over, indexed, and turned into a table with `to_arrow()` or
`to_pandas()`. Contexts, payloads and definitions are plain Python values, converted when they are
asked for first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import _native
from ._native import *  # noqa: F403

if TYPE_CHECKING:
    from ._native import BatchOperationResult as BatchOperationResult
    from ._native import WalEntry as WalEntry
    from ._values import BatchOperation as BatchOperation
    from ._values import Name as Name

_INTERNAL = {"AsyncHandle", "BlockingHandle", "AsyncWatch", "BlockingWatch", "Pending"}
__all__ = [name for name in dir(_native) if name[0].isupper() and name not in _INTERNAL]
