"""Waiting for what the native module could not answer at once."""

from __future__ import annotations

from typing import Any, NoReturn, TypeVar, cast

from ._native import Pending

T = TypeVar("T")


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

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{_forgotten(self)}, so there is no {name!r} yet")

    def __getitem__(self, _: Any) -> NoReturn:
        raise TypeError(f"{_forgotten(self)}, so there is nothing in it yet")

    def __iter__(self) -> NoReturn:
        raise TypeError(f"{_forgotten(self)}: use `async for`, or loop over what it gives")

    def __enter__(self) -> NoReturn:
        raise TypeError(f"{_forgotten(self)}: use `async with`")

    def __exit__(self, *_: object) -> None:
        """For `with`, which looks for it first."""


def _forgotten(value: Any) -> str:
    return f"{type(value).__name__} was not awaited"
