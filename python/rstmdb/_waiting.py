"""Waiting for what the native module could not answer at once, and saying so where nobody waited."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from ._native import Pending

T = TypeVar("T")
C = TypeVar("C", bound=type)

# What the code of a coroutine function is marked with, as `inspect.CO_COROUTINE`.
_COROUTINE = 0x80


async def finish(pending: Pending[T]) -> T:
    """Waits for the result. Being cancelled ends the waiting; a write that was begun goes on."""
    try:
        answer = await pending.future
    except BaseException:
        pending.cancel()
        raise
    # An error comes as a value, so that a future that nobody awaits any more makes no noise.
    if isinstance(answer, BaseException):
        raise answer
    return cast("T", answer)


class Unawaited:
    """What is to be awaited, and says so where it is used as if it had been."""

    __slots__ = ()

    # Who checks types is told that there are no such members at all.
    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            told = f"{_forgotten(self)}, so there is no {name!r} yet"
            raise AttributeError(f"{told}: write `(await ...).{name}`")

        def __getitem__(self, _: Any) -> NoReturn:
            raise TypeError(f"{_forgotten(self)}, so there is nothing in it yet")

        def __iter__(self) -> NoReturn:
            raise TypeError(f"{_forgotten(self)}: use `async for`, or loop over what it gives")

        def __enter__(self) -> NoReturn:
            raise TypeError(f"{_forgotten(self)}: use `async with`")

        def __exit__(self, *_: object) -> None:
            """For `with`, which looks for it first."""


class NotAwaited(Unawaited, Coroutine[Any, Any, T]):
    """The call of a coroutine function: a coroutine like any other that says where `await` was forgotten.

    Its name is part of what Python itself says of operators and `len`.
    """

    __slots__ = ("__weakref__", "_coroutine")

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, T]:
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()

    def __repr__(self) -> str:
        return f"<{_forgotten(self)}>"

    if not TYPE_CHECKING:

        @property
        def __class__(self) -> type:
            # `inspect.iscoroutine` and others ask for the type of coroutines.
            return type(self._coroutine)

        def __getattr__(self, name: str) -> Any:
            # What debuggers and tracebacks of tasks ask coroutines for.
            if name.startswith("cr_") or name in ("__name__", "__qualname__"):
                return getattr(self._coroutine, name)
            return super().__getattr__(name)

        def __iter__(self) -> NoReturn:
            raise TypeError(f"{_forgotten(self)}, so there is nothing to loop over yet")

        def __enter__(self) -> NoReturn:
            raise TypeError(f"{_forgotten(self)}, and its result is none to use in `with`")


def _forgotten(value: Any) -> str:
    call: Any = value._coroutine if isinstance(value, NotAwaited) else None
    name = type(value).__name__ if call is None else call.__qualname__
    return f"{name.lstrip('_')} was not awaited"


def says_what_was_not_awaited(cls: C) -> C:
    """Calls of the coroutine functions of a class say where `await` was forgotten."""
    for name, member in list(vars(cls).items()) if _CAN_PASS else ():
        code = getattr(member, "__code__", None)
        if code is not None and code.co_flags & _COROUTINE and not name.startswith("_"):
            setattr(cls, name, _called(member))
    return cls


def _pass_as_coroutine_function(function: Any) -> Any:
    """Whoever asks takes it for one, as its callers should: by what its code says of itself.

    `inspect.markcoroutinefunction` does that from Python 3.12 on, but importing it takes longer than all of
    this package, and a mark that comes later comes too late for some.
    """
    code = function.__code__
    function.__code__ = code.replace(co_flags=code.co_flags | _COROUTINE)
    return function


def _can_pass() -> bool:
    """Whether such a function still returns what it returns: Python 3.10 makes a coroutine of its call."""
    returned = _pass_as_coroutine_function(lambda: True)()
    if returned is not True:
        returned.close()
    return returned is True


_CAN_PASS = _can_pass()


def _called(function: Callable[..., Coroutine[Any, Any, T]]) -> Callable[..., NotAwaited[T]]:
    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> NotAwaited[T]:
        return NotAwaited(function(*arguments, **named))

    return cast("Callable[..., NotAwaited[T]]", _pass_as_coroutine_function(call))
