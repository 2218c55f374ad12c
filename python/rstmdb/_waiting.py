"""Waiting for what the native module could not answer at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

if TYPE_CHECKING:
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
