"""rstmdb, a database of state machines: in this process, in memory, or on a server.

    import rstmdb

    async with rstmdb.open("./data") as db:
        await db.apply_event("order-17", "PAY", {"method": "card"})

`rstmdb.sync` is the same without `await`. `rstmdb.types` has the types of results, `rstmdb.errors` the
errors. `Client` and the other names of the client published as rstmdb 0.2.1 are here for its users.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _names

try:
    from . import _native
except ImportError as error:
    from ._missing import missing

    raise missing(error) from error

from ._database import Database, InstanceView, MachineHandle, Opening, connect, open
from ._logs import set_log
from ._machine import Action, Diagram, Machine, Transition, expression
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
    from .client import Client as Client
    from .connection import Connection as Connection
    from .errors import ConnectionError as ConnectionError
    from .errors import ProtocolError as ProtocolError
    from .errors import ServerError as ServerError
    from .models import ApplyEventResult as ApplyEventResult
    from .models import CreateInstanceResult as CreateInstanceResult
    from .models import FlushAllResult as FlushAllResult
    from .models import GetInstanceResult as GetInstanceResult
    from .models import GetMachineResult as GetMachineResult
    from .models import InstanceSummary as InstanceSummary
    from .models import ListInstancesResult as ListInstancesResult
    from .models import PutMachineResult as PutMachineResult
    from .models import Request as Request
    from .models import Response as Response
    from .models import ResponseError as ResponseError
    from .models import StreamEvent as StreamEvent
    from .models import UnwatchResult as UnwatchResult
    from .models import WalIoStats as WalIoStats
    from .models import WalStatsResult as WalStatsResult
    from .models import WatchAllResult as WatchAllResult
    from .models import WatchInstanceResult as WatchInstanceResult
    from .protocol import Frame as Frame
    from .tls import create_ssl_context as create_ssl_context

__version__ = _names.__version__
if _native.__version__ != __version__:
    raise ImportError(
        f"rstmdb {__version__} found a native module of version {_native.__version__}; "
        "install rstmdb again: pip install --force-reinstall rstmdb"
    )

__all__ = [
    "Action",
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
    "expression",
    "open",
    "set_log",
]

# Loaded when they are asked for, so that `import rstmdb` stays quick.
_MODULES = {"client", "connection", "models", "protocol", "sync", "tls", "types"}
_PUBLISHED = {
    "Client": "client",
    "Connection": "connection",
    "ApplyEventResult": "models",
    "CreateInstanceResult": "models",
    "FlushAllResult": "models",
    "GetInstanceResult": "models",
    "GetMachineResult": "models",
    "InstanceSummary": "models",
    "ListInstancesResult": "models",
    "PutMachineResult": "models",
    "Request": "models",
    "Response": "models",
    "ResponseError": "models",
    "StreamEvent": "models",
    "UnwatchResult": "models",
    "WalIoStats": "models",
    "WalStatsResult": "models",
    "WatchAllResult": "models",
    "WatchInstanceResult": "models",
    "Frame": "protocol",
    "create_ssl_context": "tls",
    "ConnectionError": "errors",
    "ProtocolError": "errors",
    "ServerError": "errors",
}


def __getattr__(name: str) -> Any:
    import importlib

    if name in _MODULES:
        return importlib.import_module(f"rstmdb.{name}")
    if name not in _PUBLISHED:
        raise AttributeError(f"module 'rstmdb' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"rstmdb.{_PUBLISHED[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *_PUBLISHED})
