"""`Client`: the interface of the client published as rstmdb 0.2.1, for its users.

Its names, arguments, results and errors are theirs; underneath is `rstmdb.open`, which makes a lost
connection again when it is needed. New programs use `rstmdb.open`, which offers more.
"""

from __future__ import annotations

import asyncio
import builtins
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

from ._database import Database, open
from ._names import ErrorCode
from ._options import hidden, server_url
from ._waiting import Unawaited, says_what_was_not_awaited
from ._watch import Watch
from .errors import ConnectionError, RstmdbError, ServerError
from .models import (
    ApplyEventResult,
    CreateInstanceResult,
    FlushAllResult,
    GetInstanceResult,
    GetMachineResult,
    ListInstancesResult,
    PutMachineResult,
    StreamEvent,
    UnwatchResult,
    WalStatsResult,
    WatchAllResult,
    WatchInstanceResult,
)

__all__ = ["Client"]

T = TypeVar("T")
R = TypeVar("R")

# Seconds between looks at a connection that nobody uses.
_LOOK_EVERY = 1.0
# Deeper values are refused anyway.
_DEPTH_MAX = 500
# Events read ahead of the program, over all watches; more wait on the server's side.
_EVENTS_MAX = 1000


@says_what_was_not_awaited
class Client:
    """An asyncio client of a server."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 7401,
        *,
        token: str | None = None,
        tls: bool = False,
        ca_cert: str | None = None,
        client_cert: str | None = None,
        client_key: str | None = None,
        insecure: bool = False,
        connect_timeout: float = 10.0,
        request_timeout: float = 30.0,
        auto_reconnect: bool = False,
        max_reconnect_attempts: int = 0,
        reconnect_base_delay: float = 1.0,
        reconnect_max_delay: float = 60.0,
        on_reconnect: Callable[[], None] | None = None,
    ) -> None:
        """Describes the connection; `connect` or `async with` makes it.

        Args:
            host: The server's name or address.
            port: The server's port.
            token: The token to present.
            tls: Whether to use TLS; a certificate says so too.
            ca_cert: The file of the authority to trust.
            client_cert: The file of the client's certificate.
            client_key: The file of the client's key.
            insecure: Trust every server; for development.
            connect_timeout: Seconds that connecting may take.
            request_timeout: Seconds that a request may take.
            auto_reconnect: Whether to try until the server can be reached again, when it can't be.
                Without it, `events()` ends then.
            max_reconnect_attempts: How often that is tried; 0 for no end.
            reconnect_base_delay: Seconds before the first repetition; each time twice as many.
            reconnect_max_delay: The most seconds between repetitions.
            on_reconnect: Called after connecting again; watches have ended then, and are to be begun
                anew. Without it, watches go on by themselves.

        Raises:
            OSError: A certificate can't be read.
        """
        self.host = host
        self.port = port
        self.token = token = hidden(token)
        self._tls: dict[str, Any] | None = None
        if tls or ca_cert or client_cert:
            given = {"ca": ca_cert, "client_cert": client_cert, "client_key": client_key}
            self._tls = {name: value for name, value in given.items() if value}
            for file in self._tls.values():
                with builtins.open(file, "rb"):
                    pass
            self._tls["insecure"] = insecure
        self._connect_timeout = connect_timeout
        self._request_timeout = request_timeout
        self._auto_reconnect = auto_reconnect
        self._attempts_max = max_reconnect_attempts
        self._delay = reconnect_base_delay
        self._delay_max = reconnect_max_delay
        self._on_reconnect = on_reconnect
        self._database: Database | None = None
        self._is_lost = False
        self._telling: set[asyncio.Future[None]] = set()
        self._looking: asyncio.Task[None] | None = None
        self._watches: dict[str, tuple[Watch[Any], asyncio.Task[None], asyncio.Queue[Any]]] = {}
        self._events: asyncio.Queue[StreamEvent | Exception | None] | None = None

    def __reduce__(self) -> Any:
        raise TypeError("a Client can't be pickled, nor its token; make it where it is used")

    @property
    def is_connected(self) -> bool:
        """Whether the server could be reached when it was last tried, which is every second."""
        return self._database is not None and not self._database.is_closed and not self._is_lost

    async def connect(self) -> None:
        """Connects to the server."""
        opening = open(
            server_url("rstmdb" if self._tls is None else "rstmdbs", self.host, self.port),
            token=self.token,
            tls=self._tls,
            connect_timeout_ms=round(self._connect_timeout * 1000),
            request_timeout_ms=round(self._request_timeout * 1000),
            client_name="rstmdb-py",
            # What is lost is seen here, and is told.
            retry={"attempts": 0},
        )
        if self._events is None:
            self._events = asyncio.Queue(_EVENTS_MAX)
        self._database = await _translated(opening)
        self._is_lost = False
        self._looking = asyncio.create_task(self._look(self._database))

    async def close(self) -> None:
        """Closes the connection; `events()` ends."""
        if self._looking is not None and self._looking is not asyncio.current_task():
            self._looking.cancel()
        self._looking = None
        await self._end_watches(are_dropped=True)
        if self._database is not None:
            await self._database.close()
            self._database = None
        self._events = None

    async def _end_watches(self, *, are_dropped: bool) -> None:
        """Ends all watches, and whoever loops over their events; what came before is dropped or kept."""
        queues = {} if self._events is None else {id(self._events): self._events}
        ended = list(self._watches.values())
        self._watches.clear()
        for watch, task, queue in ended:
            queues[id(queue)] = queue
            await watch.close()
            if are_dropped:
                task.cancel()
        for queue in queues.values():
            if are_dropped and queue.full():
                queue.get_nowait()
        waiting = [task for _, task, _ in ended]
        if are_dropped:
            await asyncio.gather(*waiting, return_exceptions=True)
        for queue in queues.values():
            self._tell_end(queue, waiting)
        if self._events is not None:
            self._events = asyncio.Queue(_EVENTS_MAX)

    def _tell_end(self, queue: asyncio.Queue[Any], before: list[asyncio.Task[None]]) -> None:
        async def tell() -> None:
            await asyncio.gather(*before, return_exceptions=True)
            await queue.put(None)

        task = asyncio.ensure_future(tell())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def reconnect(self) -> None:
        """Closes the connection and makes another one."""
        await self.close()
        await self.connect()
        if self._on_reconnect:
            self._on_reconnect()

    async def __aenter__(self) -> Client:
        await self.connect()
        return self

    async def __aexit__(self, *args: object) -> None:
        await self.close()

    async def _request(self, run: Callable[[Database], Awaitable[T]]) -> T:
        attempt = 0
        while True:
            try:
                if self._database is None:
                    raise ConnectionError("Not connected to server")
                answer = await self._seen(self._database, run)
            except ConnectionError as error:
                attempt += 1
                # What may have been done is not done again.
                if not self._auto_reconnect or not (error.retryable or self._database is None):
                    raise
                if 0 < self._attempts_max < attempt:
                    message = f"Failed to reconnect after {self._attempts_max} attempts"
                    raise ConnectionError(message) from error
                await asyncio.sleep(self._pause(attempt))
                await self._try_to_connect()
            else:
                return answer

    def _pause(self, attempt: int) -> float:
        return float(min(self._delay * 2 ** min(attempt - 1, 60), self._delay_max))

    async def _seen(self, database: Database, run: Callable[[Database], Awaitable[T]]) -> T:
        """Runs a request, and remembers whether the server could be reached."""
        try:
            answer = await _translated(run(database))
        except RstmdbError as error:
            if error.reason == "connection_lost" and database is self._database:
                await self._lose()
            raise
        if self._is_lost and database is self._database:
            self._is_lost = False
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._look(database))
            if self._on_reconnect:
                self._on_reconnect()
        return answer

    async def _lose(self) -> None:
        if self._is_lost:
            return
        self._is_lost = True
        # Who is told begins watches anew; two of each would bring all events twice.
        if self._on_reconnect or not self._auto_reconnect:
            if self._auto_reconnect:
                await self._stop_watches()
            else:
                await self._end_watches(are_dropped=False)

    async def _stop_watches(self) -> None:
        """Ends all watches, but not `events()`, which goes on with those that are begun next."""
        ended = list(self._watches.values())
        self._watches.clear()
        for watch, _, queue in ended:
            await watch.close()
            if queue is not self._events:
                self._tell_end(queue, [])

    async def _look(self, database: Database) -> None:
        """Looks after the connection: nothing else tells that it is gone while no request is made."""
        attempt = 0
        while database is self._database:
            await asyncio.sleep(self._pause(attempt) if attempt else _LOOK_EVERY)
            if self._is_lost and not self._auto_reconnect:
                continue
            try:
                await self._seen(database, lambda db: db.ping())
                attempt = 0
            except ConnectionError:
                attempt += 1
                if self._auto_reconnect and 0 < self._attempts_max < attempt:
                    await self._end_watches(are_dropped=False)
                    self._looking = None
                    return
            except RstmdbError:
                # The server answers.
                attempt = 0

    async def _try_to_connect(self) -> None:
        if self._database is not None:
            return
        try:
            await self.reconnect()
        except ConnectionError:
            pass

    async def ping(self) -> bool:
        """Whether the server answers."""
        await self._request(lambda db: db.ping())
        return True

    async def info(self) -> dict[str, Any]:
        """What the server is."""
        return _plain(await self._request(lambda db: db.info()))

    async def put_machine(
        self, machine: str, version: int, definition: dict[str, Any]
    ) -> PutMachineResult:
        """Stores a machine definition."""
        stored = _keyed(definition)
        result = await self._request(lambda db: db.put_machine(machine, version, stored))
        return _model(PutMachineResult, result)

    async def get_machine(self, machine: str, version: int) -> GetMachineResult:
        """Returns a machine definition."""
        return _model(
            GetMachineResult, await self._request(lambda db: db.get_machine(machine, version))
        )

    async def list_machines(self) -> list[dict[str, Any]]:
        """Lists machines and their versions."""
        items: list[dict[str, Any]] = _plain(await self._request(lambda db: db.list_machines()))[
            "items"
        ]
        return items

    async def create_instance(
        self,
        machine: str,
        version: int,
        instance_id: str | None = None,
        initial_ctx: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> CreateInstanceResult:
        """Creates an instance of a machine."""
        ctx = _keyed(initial_ctx or None)
        result = await self._request(
            lambda db: db.create_instance(
                machine,
                version,
                instance_id or None,
                ctx,
                idempotency_key=idempotency_key or None,
            )
        )
        return _model(CreateInstanceResult, result)

    async def get_instance(self, instance_id: str) -> GetInstanceResult:
        """Returns the state and context of an instance."""
        return _model(
            GetInstanceResult, await self._request(lambda db: db.get_instance(instance_id))
        )

    async def list_instances(
        self,
        machine: str | None = None,
        state: str | None = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> ListInstancesResult:
        """Lists instances, a page at a time."""
        result = await self._request(
            lambda db: db.list_instances(
                machine=machine or None, state=state or None, limit=limit, offset=offset
            )
        )
        return _model(ListInstancesResult, result)

    async def delete_instance(
        self, instance_id: str, idempotency_key: str | None = None
    ) -> dict[str, Any]:
        """Deletes an instance."""
        result = await self._request(
            lambda db: db.delete_instance(instance_id, idempotency_key=idempotency_key or None)
        )
        return _plain(result)

    async def apply_event(
        self,
        instance_id: str,
        event: str,
        payload: dict[str, Any] | None = None,
        expected_state: str | None = None,
        idempotency_key: str | None = None,
    ) -> ApplyEventResult:
        """Applies an event to an instance."""
        given = _keyed(payload or None)
        result = await self._request(
            lambda db: db.apply_event(
                instance_id,
                event,
                given,
                expected_state=expected_state or None,
                idempotency_key=idempotency_key or None,
            )
        )
        return _model(ApplyEventResult, result)

    def watch_instance(
        self, instance_id: str, include_ctx: bool = True
    ) -> _WatchCall[WatchInstanceResult]:
        """Follows one instance: `await` it and read `events()`, or use it in `async with`."""

        async def begin(db: Database) -> Watch[Any]:
            return await db.watch_instance(instance_id, include_ctx=include_ctx)

        return _WatchCall(self, begin, WatchInstanceResult)

    def watch_all(
        self,
        machines: list[str] | None = None,
        from_states: list[str] | None = None,
        to_states: list[str] | None = None,
        events: list[str] | None = None,
        include_ctx: bool = True,
    ) -> _WatchCall[WatchAllResult]:
        """Follows all instances, filtered: `await` it and read `events()`, or use it in `async with`."""

        async def begin(db: Database) -> Watch[Any]:
            return await db.watch_all(
                machines=machines or (),
                from_states=from_states or (),
                to_states=to_states or (),
                events=events or (),
                include_ctx=include_ctx,
            )

        return _WatchCall(self, begin, WatchAllResult)

    async def unwatch(self, subscription_id: str) -> UnwatchResult:
        """Ends a watch."""
        found = self._watches.pop(subscription_id, None)
        if found is not None:
            watch, task, _ = found
            await watch.close()
            task.cancel()
        return UnwatchResult(subscription_id=subscription_id, removed=found is not None)

    async def events(self) -> AsyncIterator[StreamEvent]:
        """The events of all watches that were begun, until the client is closed or the server is gone."""
        queue = self._events
        if self._is_lost and (not self._auto_reconnect or self._looking is None):
            return
        while queue is not None:
            event = await queue.get()
            if event is None:
                return
            if isinstance(event, Exception):
                raise event
            yield event

    async def wal_read(self, from_offset: int = 0, limit: int | None = None) -> dict[str, Any]:
        """Returns the log's entries in order."""
        return _plain(await self._request(lambda db: db.wal_read(from_offset, limit=limit or None)))

    async def wal_stats(self) -> WalStatsResult:
        """Returns figures of the log."""
        return _model(WalStatsResult, await self._request(lambda db: db.wal_stats()))

    async def compact(self, force_snapshot: bool = False) -> dict[str, Any]:
        """Writes a checkpoint and deletes log segments that are no longer needed."""
        return _plain(await self._request(lambda db: db.compact(force_snapshot=force_snapshot)))

    async def flush_all(self) -> FlushAllResult:
        """Removes all machines and instances."""
        return _model(FlushAllResult, await self._request(lambda db: db.flush_all()))

    async def _begin(
        self, begin: Callable[[Database], Awaitable[Watch[Any]]], queue: asyncio.Queue[Any] | None
    ) -> Watch[Any]:
        watch = await self._request(begin)
        queue = self._events if queue is None else queue
        if queue is None:
            raise ConnectionError("Not connected to server")
        task = asyncio.create_task(_pump(watch, watch.result.subscription_id, queue))
        self._watches[watch.result.subscription_id] = (watch, task, queue)
        return watch


async def _pump(watch: Watch[Any], subscription_id: str, queue: asyncio.Queue[Any]) -> None:
    try:
        async for event in watch:
            members = {**event.to_dict(), "type": "event", "subscription_id": subscription_id}
            await queue.put(StreamEvent.model_validate(members))
    except RstmdbError as error:
        await queue.put(_translation(error))


class _WatchCall(Unawaited, Coroutine[Any, Any, R], Generic[R]):
    """A watch that is about to begin: awaited, it is the operation's result; in `async with`, a stream."""

    def __init__(
        self,
        client: Client,
        begin: Callable[[Database], Awaitable[Watch[Any]]],
        model: type[R],
    ) -> None:
        self._client = client
        self._begin = begin
        self._model = model
        self._running: Coroutine[Any, Any, R] | None = None
        self._stream: _Stream | None = None

    async def _run(self) -> R:
        watch = await self._client._begin(self._begin, None)
        return _model(self._model, watch.result)

    def _coroutine(self) -> Coroutine[Any, Any, R]:
        if self._running is None:
            self._running = self._run()
        return self._running

    def __await__(self) -> Generator[Any, Any, R]:
        return self._coroutine().__await__()

    def send(self, value: Any) -> Any:
        return self._coroutine().send(value)

    def throw(self, *error: Any) -> Any:
        return self._coroutine().throw(*error)

    def close(self) -> None:
        if self._running is not None:
            self._running.close()

    async def __aenter__(self) -> _Stream:
        queue: asyncio.Queue[Any] = asyncio.Queue(_EVENTS_MAX)
        watch = await self._client._begin(self._begin, queue)
        self._stream = _Stream(_model(self._model, watch.result), queue)
        return self._stream

    async def __aexit__(self, *args: object) -> None:
        if self._stream is not None:
            await self._client.unwatch(self._stream.subscription_id)


class _Stream:
    """The events of one watch."""

    def __init__(self, result: Any, queue: asyncio.Queue[Any]) -> None:
        self.result = result
        self.subscription_id: str = result.subscription_id
        self._queue = queue

    async def events(self) -> AsyncIterator[StreamEvent]:
        """The events of this watch."""
        while True:
            event = await self._queue.get()
            if event is None:
                return
            if isinstance(event, Exception):
                raise event
            yield event


def _keyed(value: Any, depth: int = 0) -> Any:
    """The value with keys of text, as `json` makes them of numbers, booleans and None."""
    if isinstance(value, (list, tuple)) and depth < _DEPTH_MAX:
        return [_keyed(element, depth + 1) for element in value]
    if isinstance(value, dict) and depth < _DEPTH_MAX:
        return {_key(key): _keyed(member, depth + 1) for key, member in value.items()}
    return value


def _key(key: Any) -> Any:
    if isinstance(key, (int, float)) or key is None:
        return json.dumps(key)
    return key


def _plain(result: Any) -> dict[str, Any]:
    plain: dict[str, Any] = result.to_dict()
    return plain


def _model(model: type[R], result: Any) -> R:
    made: R = model.model_validate(result.to_dict())  # type: ignore[attr-defined]
    return made


async def _translated(answer: Awaitable[T]) -> T:
    try:
        return await answer
    except RstmdbError as error:
        raise _translation(error) from error


def _translation(error: RstmdbError) -> RstmdbError:
    """The error that the published client would raise."""
    if isinstance(error, (ConnectionError, ServerError)):
        return error
    made: RstmdbError
    if error.kind == "closed" or error.reason in ("connection_lost", "timeout", "outcome_unknown"):
        made = ConnectionError(error.message)
    else:
        made = ServerError(ErrorCode(error.code), error.message)
    made.kind = error.kind
    made.reason = error.reason
    made.retryable = error.retryable
    made.operation = error.operation
    made.context = error.context
    return made
