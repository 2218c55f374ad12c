"""rstmdb, a database of state machines: in this process, in memory, or on a server.

    import rstmdb

    async with rstmdb.open("./data") as db:
        await db.apply_event("order-17", "PAY", {"method": "card"})

`rstmdb.sync` is the same without `await`. `rstmdb.types` has the types of results, `rstmdb.errors` the
errors. `Client` and the other names of the client published as rstmdb 0.2.1 are here for its users.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _names, _native
from ._database import Database, InstanceView, MachineHandle, Opening, connect, open
from ._logs import set_log
from ._machine import Diagram, Machine, Transition
from ._names import ErrorCode, Operation
from ._native import (
    ApplyEvent,
    CreateInstance,
    DeleteInstance,
    GetInstance,
    InstanceEvent,
)
from ._watch import Watch, WatchOpening
from .errors import (
    AlreadyExistsError,
    ArgumentError,
    ClosedError,
    ConflictError,
    CorruptError,
    InternalError,
    InvalidError,
    NotFoundError,
    RejectedError,
    RstmdbError,
    UnauthorizedError,
    UnavailableError,
)

if TYPE_CHECKING:
    from . import sync as sync
    from . import types as types
    from .compat import (
        ApplyEventResult as ApplyEventResult,
    )
    from .compat import Client as Client
    from .compat import Connection as Connection
    from .compat import CreateInstanceResult as CreateInstanceResult
    from .compat import FlushAllResult as FlushAllResult
    from .compat import Frame as Frame
    from .compat import GetInstanceResult as GetInstanceResult
    from .compat import GetMachineResult as GetMachineResult
    from .compat import InstanceSummary as InstanceSummary
    from .compat import ListInstancesResult as ListInstancesResult
    from .compat import PutMachineResult as PutMachineResult
    from .compat import Request as Request
    from .compat import Response as Response
    from .compat import ResponseError as ResponseError
    from .compat import StreamEvent as StreamEvent
    from .compat import UnwatchResult as UnwatchResult
    from .compat import WalIoStats as WalIoStats
    from .compat import WalStatsResult as WalStatsResult
    from .compat import WatchAllResult as WatchAllResult
    from .compat import WatchInstanceResult as WatchInstanceResult
    from .compat import create_ssl_context as create_ssl_context
    from .errors import ConnectionError as ConnectionError
    from .errors import ProtocolError as ProtocolError
    from .errors import ServerError as ServerError

__version__ = _names.__version__
if _native.__version__ != __version__:
    raise ImportError(
        f"rstmdb {__version__} found a native module of version {_native.__version__}; "
        "install rstmdb again: pip install --force-reinstall rstmdb"
    )

__all__ = [
    "AlreadyExistsError",
    "ApplyEvent",
    "ArgumentError",
    "Client",
    "ClosedError",
    "ConflictError",
    "CorruptError",
    "CreateInstance",
    "Database",
    "DeleteInstance",
    "Diagram",
    "ErrorCode",
    "GetInstance",
    "InstanceEvent",
    "InstanceView",
    "InternalError",
    "InvalidError",
    "Machine",
    "MachineHandle",
    "NotFoundError",
    "Opening",
    "Operation",
    "RejectedError",
    "RstmdbError",
    "Transition",
    "UnauthorizedError",
    "UnavailableError",
    "Watch",
    "WatchOpening",
    "connect",
    "open",
    "set_log",
]

_MODULES = {"compat", "sync", "types"}
# Loaded when they are asked for, so that `import rstmdb` stays quick.
_COMPAT = {
    "ApplyEventResult",
    "Client",
    "Connection",
    "CreateInstanceResult",
    "FlushAllResult",
    "Frame",
    "GetInstanceResult",
    "GetMachineResult",
    "InstanceSummary",
    "ListInstancesResult",
    "PutMachineResult",
    "Request",
    "Response",
    "ResponseError",
    "StreamEvent",
    "UnwatchResult",
    "WalIoStats",
    "WalStatsResult",
    "WatchAllResult",
    "WatchInstanceResult",
    "create_ssl_context",
}
_COMPAT_ERRORS = {"ConnectionError", "ProtocolError", "ServerError"}


def __getattr__(name: str) -> Any:
    import importlib

    if name in _MODULES:
        return importlib.import_module(f"rstmdb.{name}")
    if name in _COMPAT:
        value = getattr(importlib.import_module("rstmdb.compat"), name)
    elif name in _COMPAT_ERRORS:
        value = getattr(importlib.import_module("rstmdb.errors"), name)
    else:
        raise AttributeError(f"module 'rstmdb' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *_COMPAT, *_COMPAT_ERRORS})
