"""Watches: events as they happen, and the past before that when an offset is given."""

from __future__ import annotations

from types import TracebackType
from typing import Generic, TypeVar

from ._native import AsyncWatch, InstanceEvent

# [async
from collections.abc import AsyncIterator, Callable, Generator  # isort: skip
from typing import Any  # isort: skip
from ._native import Pending  # isort: skip
from ._waiting import Unawaited, finish, says_what_was_not_awaited  # isort: skip

# ]
R = TypeVar("R")


# [async
@says_what_was_not_awaited
# ]
class Watch(Generic[R]):
    """The events of one watch, in the order of the log.

    Nothing is lost when events come faster than they are taken: they are read from the log then. A watch
    on a server outlives its connection. It ends when it or its database is closed; until then the database
    stays open, also when nobody else refers to it.
    """

    __slots__ = ("__weakref__", "_database", "_watch")

    def __init__(self, database: object, watch: AsyncWatch[R]) -> None:
        # One that nobody refers to closes.
        self._database = database
        self._watch = watch

    @property
    def result(self) -> R:
        """What the operation answered: where the log, or the instance, was when the watch began."""
        return self._watch.result

    @property
    def resume_offset(self) -> int:
        """Give this as `from_offset` to a new watch to go on after the last event taken."""
        return self._watch.resume_offset

    @property
    def history_id(self) -> str | None:
        """Give this as `history_id` beside it: the history that the change before it belongs to."""
        return self._watch.history_id

    # [async
    async def next(self) -> InstanceEvent | None:
        """Waits for the next event; None when the watch has ended. Being cancelled loses no event."""
        # What a wait brought is taken only afterwards, so that being cancelled in between loses nothing.
        while isinstance(event := self._watch.next(), Pending):
            await finish(event)
        return event

    # ]
    # [sync
    # def next(self, timeout: float | None = None) -> InstanceEvent | None:
    #     """Waits for the next event; None when the watch has ended.
    #
    #     Raises `TimeoutError` when none comes within `timeout` seconds.
    #     """
    #     return self._watch.next(timeout)
    #
    # ]
    async def close(self) -> None:
        """Ends the watch. Who waits for its next event sees the end."""
        self._watch.end()
        self._database = None

    def __aiter__(self) -> Watch[R]:
        return self

    async def __anext__(self) -> InstanceEvent:
        event = await self.next()
        if event is None:
            raise StopAsyncIteration
        return event

    async def __aenter__(self) -> Watch[R]:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"Watch({self.result!r}, resume_offset={self.resume_offset})"


# [async


class WatchOpening(Unawaited, Generic[R]):
    """A watch that is about to begin: `await` it, or use it in `async with` or `async for`."""

    __slots__ = ("_database", "_opened", "_start")

    def __init__(
        self, database: object, start: Callable[[], AsyncWatch[R] | Pending[AsyncWatch[R]]]
    ) -> None:
        self._database = database
        self._start = start
        self._opened: Watch[R] | None = None

    def __await__(self) -> Generator[Any, Any, Watch[R]]:
        return self._open().__await__()

    async def _open(self) -> Watch[R]:
        answer = self._start()
        watch = await finish(answer) if isinstance(answer, Pending) else answer
        return Watch(self._database, watch)

    async def __aenter__(self) -> Watch[R]:
        self._opened = await self._open()
        return self._opened

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._opened is not None:
            await self._opened.close()

    async def __aiter__(self) -> AsyncIterator[InstanceEvent]:
        async with await self._open() as watch:
            async for event in watch:
                yield event


# ]
