"""Databases: in this process, in memory, or on a server. `rstmdb.sync` is made from this file."""

from __future__ import annotations

import os
import warnings
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, Generic, TypeVar, Union, overload

from ._machine import Diagram, Machine, definition_of
from ._native import (
    ApplyEventResult,
    AsyncHandle,
    CountInstancesResult,
    CreateInstanceResult,
    DeleteInstanceResult,
    GetInstanceResult,
    HistoryResult,
    InstanceSummary,
    ListInstancesResult,
    PermittedResult,
    PutMachineResult,
    WatchAllResult,
    shown_url,
)
from ._operations import Operations
from ._options import address, hidden, options_text, server_url
from ._values import Name

# [async
from collections.abc import Generator  # isort: skip
from ._native import Pending  # isort: skip
from ._waiting import Unawaited, finish  # isort: skip
from ._waiting import passes_operations_on, says_what_was_not_awaited  # isort: skip
from ._watch import WatchOpening  # isort: skip

# ]
# [sync
# from ._watch import Watch
# from .errors import RstmdbError
#
# __all__ = ["Database", "InstanceView", "MachineHandle", "Watch", "connect", "open"]
# ]

S = TypeVar("S", bound="Name")
E = TypeVar("E", bound="Name")


# [async
@says_what_was_not_awaited
# ]
class Database(Operations):
    """A database of machines and their instances.

    Made by `open`. All methods may be used from any thread, and any number at a time.
    """

    __slots__ = ("__weakref__", "_definitions", "_handle", "_url")

    def __init__(self, handle: AsyncHandle, url: str) -> None:
        self._handle = handle
        # What is not kept is not shown by mistake.
        self._url = shown_url(url)
        # Definitions never change, so what was read once stays true.
        self._definitions: dict[tuple[str, int], dict[str, Any]] = {}

    @property
    def url(self) -> str:
        """What was opened, without its token."""
        return self._url

    @property
    def is_closed(self) -> bool:
        """Whether the database was closed; each call raises `ClosedError` then."""
        return self._handle.is_closed

    async def close(self) -> None:
        """Closes the database: what was begun is finished, watches end. Closing twice is fine."""
        # [async
        pending = self._handle.close()
        if pending is not None:
            await finish(pending)
        # ]
        # [sync
        # self._handle.close()
        # ]

    async def call(self, operation: Name, request: Mapping[str, Any] | None = None) -> Any:
        """Runs an operation by its name, with the members of the wire; the answer is plain values.

        For operations that are known by name only; the methods are checked by tools and are faster.
        """
        answer: Any = self._handle.call(operation, {} if request is None else request)
        # [async
        if isinstance(answer, Pending):
            answer = await finish(answer)
        # ]
        return answer

    def advance_clock(self, ms: int) -> None:
        """Moves on the clock of a database that was opened with `manual_clock_ms`: for tests."""
        self._handle.advance_clock(ms)

    @overload
    def machine(self, machine: Machine[S, E], /) -> MachineHandle[S, E]: ...
    @overload
    def machine(self, machine: str, version: int, /) -> MachineHandle[Name, Name]: ...
    def machine(
        self, machine: Union[Machine[Any, Any], str], version: int | None = None, /
    ) -> MachineHandle[Any, Any]:
        """A machine of this database, to create, change and follow its instances."""
        if isinstance(machine, Machine):
            return MachineHandle(self, machine.name, machine.version, machine)
        if version is None:
            raise TypeError('machine() needs a version: machine("order", 1)')
        return MachineHandle(self, machine, version)

    async def _definition(self, machine: str, version: int) -> dict[str, Any]:
        found = self._definitions.get((machine, version))
        if found is None:
            found = (await self.get_machine(machine, version)).definition
            self._definitions[machine, version] = found
        return found

    async def __aenter__(self) -> Database:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __del__(self, _warn: Any = warnings.warn) -> None:
        # The handle is absent when opening failed.
        handle = getattr(self, "_handle", None)
        if handle is not None and not handle.is_closed:
            _warn(f"unclosed database {self._url!r}", ResourceWarning, source=self, stacklevel=2)

    def __reduce__(self) -> Any:
        raise TypeError("a Database can't be pickled; open it where it is used")

    def __repr__(self) -> str:
        return f"<Database {self._url!r}{' (closed)' if self.is_closed else ''}>"


# [async
@passes_operations_on
# ]
class MachineHandle(Generic[S, E]):
    """One version of a machine in a database."""

    __slots__ = ("_machine", "database", "name", "version")

    def __init__(
        self, database: Database, name: str, version: int, machine: Machine[S, E] | None = None
    ) -> None:
        self.database = database
        self.name = name
        self.version = version
        self._machine = machine

    async def put(
        self, definition: Mapping[str, Any] | None = None, *, strict: bool = False
    ) -> PutMachineResult:
        """Stores the definition; of a `Machine`, its own. Storing the same again changes nothing."""
        if definition is None:
            if self._machine is None:
                raise TypeError("put() needs a definition, or a handle made from a Machine")
            definition = self._machine.definition
        return await self.database.put_machine(
            self.name, self.version, definition_of(definition), strict=strict
        )

    async def definition(self) -> dict[str, Any]:
        """The stored definition, in normal form."""
        return await self.database._definition(self.name, self.version)

    async def create(
        self,
        instance_id: str | None = None,
        initial_ctx: Any = None,
        *,
        initial_state: S | None = None,
        idempotency_key: str | None = None,
    ) -> CreateInstanceResult:
        """Creates an instance; its id is a random UUID when none is given."""
        return await self.database.create_instance(
            self.name,
            self.version,
            instance_id,
            initial_ctx,
            initial_state=initial_state,
            idempotency_key=idempotency_key,
        )

    async def get(self, instance_id: str) -> GetInstanceResult:
        """The state and context of an instance."""
        return await self.database.get_instance(instance_id)

    async def apply(
        self,
        instance_id: str,
        event: E,
        payload: Any = None,
        *,
        expected_state: S | None = None,
        expected_wal_offset: int | None = None,
        event_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> ApplyEventResult:
        """Applies an event to an instance."""
        return await self.database.apply_event(
            instance_id,
            event,
            payload,
            expected_state=expected_state,
            expected_wal_offset=expected_wal_offset,
            event_id=event_id,
            idempotency_key=idempotency_key,
        )

    async def permitted(self, instance_id: str, payload: Any = None) -> PermittedResult:
        """Which events the instance would accept now."""
        return await self.database.permitted(instance_id, payload)

    async def history(
        self, instance_id: str, *, limit: int | None = None, cursor: int | None = None
    ) -> HistoryResult:
        """The events of an instance, the newest first."""
        return await self.database.history(instance_id, limit=limit, cursor=cursor)

    async def delete(
        self, instance_id: str, *, idempotency_key: str | None = None
    ) -> DeleteInstanceResult:
        """Deletes an instance."""
        return await self.database.delete_instance(instance_id, idempotency_key=idempotency_key)

    async def list(
        self, *, state: S | None = None, limit: int | None = None, cursor: str | None = None
    ) -> ListInstancesResult:
        """A page of the machine's instances, by id."""
        return await self.database.list_instances(
            machine=self.name, version=self.version, state=state, limit=limit, cursor=cursor
        )

    async def instances(
        self, *, state: S | None = None, page: int | None = None
    ) -> AsyncIterator[InstanceSummary]:
        """All of the machine's instances, by id, a page at a time; exact while others write."""
        cursor: str | None = None
        while True:
            found = await self.list(state=state, limit=page, cursor=cursor)
            for instance in found:
                yield instance
            cursor = found.next_cursor
            if cursor is None:
                return

    async def count(self, *, state: S | None = None) -> CountInstancesResult:
        """How many instances there are in each state."""
        return await self.database.count_instances(
            machine=self.name, version=self.version, state=state
        )

    def watch(
        self,
        *,
        from_states: Iterable[S] = (),
        to_states: Iterable[S] = (),
        events: Iterable[E] = (),
        from_offset: int | None = None,
        history_id: str | None = None,
        include_ctx: bool = True,
        include_lifecycle: bool = False,
        # [async
    ) -> WatchOpening[WatchAllResult]:
        # ]
        # [sync
        # ) -> Watch[WatchAllResult]:
        # ]
        """Follows the events of the machine's instances, of all its versions."""
        return self.database.watch_all(
            machines=(self.name,),
            from_states=from_states,
            to_states=to_states,
            events=events,
            from_offset=from_offset,
            history_id=history_id,
            include_ctx=include_ctx,
            include_lifecycle=include_lifecycle,
        )

    async def diagram(self) -> Diagram:
        """The machine as a picture, which notebooks show."""
        return Diagram(await self.definition(), f"{self.name} {self.version}")

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        shown = {"text/plain": repr(self)}
        if self._machine is not None:
            definition = self._machine.definition
        else:
            # [async
            # A notebook does not wait: what was read before is drawn.
            found = self.database._definitions.get((self.name, self.version))
            if found is None:
                return shown
            definition = found
            # ]
            # [sync
            # try:
            #     definition = self.definition()
            # except RstmdbError:
            #     return shown
            # ]
        return {**Diagram(definition, f"{self.name} {self.version}")._repr_mimebundle_(), **shown}

    async def view(self, instance_id: str) -> InstanceView:
        """An instance in the picture of its machine, which notebooks show."""
        instance = await self.database.get_instance(instance_id)
        definition = await self.database._definition(instance.machine, instance.version)
        return InstanceView(instance, Diagram(definition, instance_id, instance.state))

    def __repr__(self) -> str:
        return f"<MachineHandle {self.name!r} {self.version} of {self.database.url!r}>"


class InstanceView:
    """An instance as it was when it was read, and its place in the machine."""

    __slots__ = ("diagram", "instance")

    def __init__(self, instance: GetInstanceResult, diagram: Diagram) -> None:
        self.instance = instance
        self.diagram = diagram

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": repr(self), "image/svg+xml": self.diagram.svg()}

    def __repr__(self) -> str:
        return repr(self.instance)


# [async


class Opening(Unawaited):
    """A database that is about to be opened: `await` it, or use it in `async with`."""

    __slots__ = ("_database", "_options", "_url")

    def __init__(self, url: str, options: str) -> None:
        self._url = url
        self._options = options
        self._database: Database | None = None

    def __await__(self) -> Generator[Any, Any, Database]:
        return self._open().__await__()

    async def _open(self) -> Database:
        answer = AsyncHandle.open(self._url, self._options)
        handle = await finish(answer) if isinstance(answer, Pending) else answer
        return Database(handle, self._url)

    def __reduce__(self) -> Any:
        raise TypeError("a database that is about to be opened can't be pickled")

    async def __aenter__(self) -> Database:
        self._database = await self._open()
        return self._database

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._database is not None:
            await self._database.close()


# ]


def open(
    url: str | os.PathLike[str],
    *,
    # [generated: option arguments
    fsync: str | None = None,
    limits: Mapping[str, int] | None = None,
    retention: str | Mapping[str, int] | None = None,
    segment_bytes_max: int | None = None,
    checkpoint_log_bytes: int | None = None,
    free_bytes_min: int | None = None,
    idempotency_window_ms: int | timedelta | None = None,
    idempotency_keys_max: int | None = None,
    allow_instance_recreate: bool | None = None,
    allow_flush_all: bool | None = None,
    create: bool | None = None,
    manual_clock_ms: int | None = None,
    token: str | None = None,
    tls: bool | Mapping[str, Any] | None = None,
    connect_timeout_ms: int | timedelta | None = None,
    request_timeout_ms: int | timedelta | None = None,
    keep_alive_ms: int | timedelta | None = None,
    pool_size: int | None = None,
    in_flight_max: int | None = None,
    client_name: str | None = None,
    retry: Mapping[str, Any] | None = None,
    # generated]
    # [async
) -> Opening:
    # ]
    # [sync
    # ) -> Database:
    # ]
    # [generated: documentation
    """Opens a database.

    Args:
        url: `"mem:"` for one in memory, a directory for one in this process, or
            `"rstmdb://host:7401"` (`rstmdbs://` with TLS) for one on a server.
        fsync: When a change is synced to the disk, and with it what an answer promises:
            `every_write`, `every_n:COUNT`, `every_ms:MILLISECONDS` or `never`. Default:
            `every_write`.
        limits: Sizes and counts that requests may not exceed. A mapping such as
            `{"context_bytes_max": 1_000_000}`.
        retention: How much history is kept: all, a size of the log, or an age. `"forever"`,
            `{"bytes": n}` or `{"age_ms": n}`. Default: 1 GiB.
        segment_bytes_max: The size of a segment of the log, in bytes. Default: 64 MiB.
        checkpoint_log_bytes: A checkpoint is written when this many bytes were logged since
            the last; 0: only on request. Default: 256 MiB.
        free_bytes_min: Writes are refused when less than this is free on the disk, in
            bytes. Default: 64 MiB.
        idempotency_window_ms: How long idempotency keys are remembered. Default: 24 h.
        idempotency_keys_max: The most idempotency keys remembered; the oldest give way.
            Default: 1,000,000.
        allow_instance_recreate: Whether the id of a deleted instance may be used again.
            Default: yes.
        allow_flush_all: Whether `flush_all` is allowed. Default: no.
        create: Whether a missing database is created. Default: yes.
        manual_clock_ms: For tests: the clock stands still at this time, in milliseconds
            since 1970, until `advance_clock` moves it.
        token: Presented to the server after each connect. Never printed.
        tls: Whether TLS is used, and how. A mapping says how: `ca`, `client_cert`,
            `client_key`, `server_name`, `insecure`. Default: no.
        connect_timeout_ms: How long reaching one endpoint may take, with TLS and
            credentials. Default: 5 s.
        request_timeout_ms: How long a request may take, with its repetitions; zero for
            ever. Default: 30 s.
        keep_alive_ms: How long a connection may be silent before the client asks whether it
            is still there; zero for ever. Default: 1 min.
        pool_size: The number of connections. Requests of one caller that do not wait for
            each other may be done in another order when there are several. Default: 1.
        in_flight_max: The most requests in flight on a connection; more wait. A large
            request counts for several. Default: 4,096.
        client_name: What the client calls itself to the server; its language and version
            unless told otherwise.
        retry: How often, and how soon, a request that failed on its way is repeated. A
            mapping with `attempts`, `backoff_min_ms`, `backoff_max_ms`.
    """
    # generated]
    # Here and in `connect`: a traceback may show the locals of its frames.
    url, token = address(url), hidden(token)
    text = options_text(
        {
            # [generated: option values
            "fsync": fsync,
            "limits": limits,
            "retention": retention,
            "segment_bytes_max": segment_bytes_max,
            "checkpoint_log_bytes": checkpoint_log_bytes,
            "free_bytes_min": free_bytes_min,
            "idempotency_window_ms": idempotency_window_ms,
            "idempotency_keys_max": idempotency_keys_max,
            "allow_instance_recreate": allow_instance_recreate,
            "allow_flush_all": allow_flush_all,
            "create": create,
            "manual_clock_ms": manual_clock_ms,
            "token": token,
            "tls": tls,
            "connect_timeout_ms": connect_timeout_ms,
            "request_timeout_ms": request_timeout_ms,
            "keep_alive_ms": keep_alive_ms,
            "pool_size": pool_size,
            "in_flight_max": in_flight_max,
            "client_name": client_name,
            "retry": retry,
            # generated]
        }
    )
    # [async
    return Opening(url, text)
    # ]
    # [sync
    # return Database(AsyncHandle.open(url, text), url)
    # ]


def connect(
    host: str = "127.0.0.1",
    port: int = 7401,
    *,
    token: str | None = None,
    tls: bool | Mapping[str, Any] | None = None,
    connect_timeout_ms: int | timedelta | None = None,
    request_timeout_ms: int | timedelta | None = None,
    client_name: str | None = None,
    # [async
) -> Opening:
    # ]
    # [sync
    # ) -> Database:
    # ]
    """Opens the database of the server at `host` and `port`; `open` has more options."""
    token = hidden(token)
    return open(
        server_url("rstmdb", host, port),
        token=token,
        tls=tls,
        connect_timeout_ms=connect_timeout_ms,
        request_timeout_ms=request_timeout_ms,
        client_name=client_name,
    )
