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
# And one that takes any number of arguments, or any names, as `inspect.CO_VARARGS` and `CO_VARKEYWORDS`.
_ARGUMENTS, _KEYWORDS = 0x04, 0x08


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

    # Set by who makes it: a constructor of its own takes as long as all the rest.
    _coroutine: Coroutine[Any, Any, T]

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
            _called(cls, member)
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


def _called(cls: type, function: Callable[..., Coroutine[Any, Any, T]]) -> None:
    """Puts a function in the place of a coroutine function: when it is first called, a faster one."""
    made: Callable[..., NotAwaited[T]] | None = None

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> NotAwaited[T]:
        # Who kept the method from before calls this one again.
        nonlocal made
        if made is None:
            made = _with_parameters(function)
            if vars(cls).get(function.__name__) is call:
                setattr(cls, function.__name__, made)
        return made(*arguments, **named)

    setattr(cls, function.__name__, _pass_as_coroutine_function(call))


def _with_parameters(
    function: Callable[..., Coroutine[Any, Any, T]],
) -> Callable[..., NotAwaited[T]]:
    """What makes a call of it, with the same parameters: passing on any takes twice as long."""
    code = function.__code__
    names, count, plain = code.co_varnames, code.co_argcount, code.co_posonlyargcount
    passed, keywords = names[:count], names[count : count + code.co_kwonlyargcount]
    if code.co_flags & (_ARGUMENTS | _KEYWORDS):
        parameters, values = ["*passed", "**keywords"], ["*passed", "**keywords"]
    else:
        first_default = count - len(function.__defaults__ or ())
        parameters = [
            f"{name}=None" if at >= first_default else name for at, name in enumerate(passed)
        ]
        if plain:
            parameters.insert(plain, "/")
        if keywords:
            optional = function.__kwdefaults__ or {}
            parameters.append("*")
            parameters += [f"{name}=None" if name in optional else name for name in keywords]
        values = [*passed, *(f"{name}={name}" for name in keywords)]
    source = (
        f"def call({', '.join(parameters)}):\n"
        "    __called = __NotAwaited()\n"
        f"    __called._coroutine = __function({', '.join(values)})\n"
        "    return __called\n"
    )
    scope: dict[str, Any] = {"__NotAwaited": NotAwaited, "__function": function}
    exec(compile(source, __file__, "exec"), scope)
    call = scope["call"]
    if not code.co_flags & (_ARGUMENTS | _KEYWORDS):
        call.__defaults__, call.__kwdefaults__ = function.__defaults__, function.__kwdefaults__
    made = _pass_as_coroutine_function(functools.wraps(function)(call))
    return cast("Callable[..., NotAwaited[T]]", made)
