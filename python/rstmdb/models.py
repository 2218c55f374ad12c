"""The models of the client published as rstmdb 0.2.1, for its users.

They are models of pydantic where that is installed, as they were; without it, plain classes with the same
fields and the methods that are used most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Optional  # noqa: UP035 - pydantic reads these

from ._names import ErrorCode, Operation

__all__ = [
    "ApplyEventResult",
    "CreateInstanceResult",
    "ErrorCode",
    "FlushAllResult",
    "GetInstanceResult",
    "GetMachineResult",
    "InstanceSummary",
    "ListInstancesResult",
    "Operation",
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
]

if TYPE_CHECKING:
    from pydantic import BaseModel
else:
    try:
        from pydantic import BaseModel
    except ImportError:
        from ._model import BaseModel


class Request(BaseModel):
    """A request, as it travels."""

    type: str = "request"
    id: str
    op: Operation
    params: Dict[str, Any] = {}  # noqa: UP006, RUF012


class ResponseError(BaseModel):
    """The error in a response."""

    code: ErrorCode
    message: str
    retryable: bool
    details: Dict[str, Any] = {}  # noqa: UP006, RUF012


class Response(BaseModel):
    """A response, as it travels; `status` is "ok" or "error"."""

    type: str = "response"
    id: str
    status: str
    result: Optional[Dict[str, Any]] = None  # noqa: UP006
    error: Optional[ResponseError] = None


class StreamEvent(BaseModel):
    """An event of a watch."""

    type: str = "event"
    subscription_id: str
    instance_id: str
    machine: str
    version: int
    wal_offset: int
    from_state: str
    to_state: str
    event: str
    payload: Optional[Dict[str, Any]] = None  # noqa: UP006
    ctx: Optional[Dict[str, Any]] = None  # noqa: UP006


class PutMachineResult(BaseModel):
    """What `put_machine` stored."""

    machine: str
    version: int
    stored_checksum: str
    created: bool


class GetMachineResult(BaseModel):
    """A stored definition."""

    definition: Dict[str, Any]  # noqa: UP006
    checksum: str


class CreateInstanceResult(BaseModel):
    """The instance that was created."""

    instance_id: str
    state: str
    wal_offset: int


class GetInstanceResult(BaseModel):
    """An instance as it is now."""

    machine: str
    version: int
    state: str
    ctx: Dict[str, Any]  # noqa: UP006
    last_event_id: Optional[str] = None
    last_wal_offset: int


class ApplyEventResult(BaseModel):
    """The transition that happened."""

    from_state: str
    to_state: str
    ctx: Optional[Dict[str, Any]] = None  # noqa: UP006
    wal_offset: int
    applied: bool
    event_id: Optional[str] = None


class WatchInstanceResult(BaseModel):
    """Where the instance was when the watch began."""

    subscription_id: str
    instance_id: str
    current_state: str
    current_wal_offset: int


class WatchAllResult(BaseModel):
    """Where the log was when the watch began."""

    subscription_id: str
    wal_offset: int


class UnwatchResult(BaseModel):
    """Whether there was such a watch."""

    subscription_id: str
    removed: bool


class InstanceSummary(BaseModel):
    """An instance without its context; times are milliseconds since 1970."""

    id: str
    machine: str
    version: int
    state: str
    created_at: int
    updated_at: int
    last_wal_offset: int


class ListInstancesResult(BaseModel):
    """One page of instances."""

    instances: List[InstanceSummary]  # noqa: UP006
    total: int
    has_more: bool


class WalIoStats(BaseModel):
    """File operations since the database was opened."""

    bytes_written: int
    bytes_read: int
    writes: int
    reads: int
    fsyncs: int


class WalStatsResult(BaseModel):
    """Figures of the log."""

    entry_count: int
    segment_count: int
    total_size_bytes: int
    latest_offset: Optional[int] = None
    io_stats: WalIoStats


class FlushAllResult(BaseModel):
    """What `flush_all` removed."""

    flushed: bool
    instances_removed: int
    machines_removed: int
