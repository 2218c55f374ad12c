"""Waiting for what the native module could not answer at once, and saying so where nobody waited."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from ._native import NotAwaited, Pending, called_as

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
            no_member(self, name)

        def __getitem__(self, _: Any) -> NoReturn:
            no_items(self)

        def __iter__(self) -> NoReturn:
            raise TypeError(f"{_forgotten(self)}: use `async for`, or loop over what it gives")

        def __enter__(self) -> NoReturn:
            raise TypeError(f"{_forgotten(self)}: use `async with`")

        def __exit__(self, *_: object) -> None:
            """For `with`, which looks for it first."""


# The native module asks these of a call.


def no_member(value: Any, name: str) -> NoReturn:
    """For the result's members."""
    told = f"{_forgotten(value)}, so there is no {name!r} yet"
    raise AttributeError(f"{told}: write `(await ...).{name}`")


def no_items(value: Any) -> NoReturn:
    """For the result's items."""
    raise TypeError(f"{_forgotten(value)}, so there is nothing in it yet")


def no_loop(call: Any) -> NoReturn:
    """For `for` and `list`."""
    raise TypeError(f"{_forgotten(call)}, so there is nothing to loop over yet")


def no_with(call: Any) -> NoReturn:
    """For `with`."""
    raise TypeError(f"{_forgotten(call)}, and its result is none to use in `with`")


def shown(call: Any) -> str:
    """For `repr`."""
    return f"<{_forgotten(call)}>"


def stand_in(
    name: str, handle: Any, arguments: tuple[Any, ...], method: Any, of: Any
) -> Coroutine[Any, Any, Any]:
    """A coroutine of Python for the call of an operation that the native module runs.

    That of `method`, of `of`, when it is that one which was called.
    """
    function = _OPERATIONS[name]
    named = dict(zip(_parameters(function), arguments))
    if method is not None:
        taken = _parameters(method)
        function, handle, named = method, of, {key: named[key] for key in taken if key in named}
    return cast("Coroutine[Any, Any, Any]", function(handle, **named))


def _parameters(function: Any) -> tuple[str, ...]:
    """The names of a method's parameters, without `self`."""
    code = function.__code__
    return cast("tuple[str, ...]", code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount])


# The coroutine functions that Python does not run.
_OPERATIONS: dict[str, Any] = {}


def _forgotten(value: Any) -> str:
    is_call = type(value) is NotAwaited
    name = value.__qualname__ if is_call else type(value).__name__
    return f"{name.lstrip('_')} was not awaited"


def says_what_was_not_awaited(cls: C) -> C:
    """Calls of the coroutine functions of a class say where `await` was forgotten."""
    return _called(cls, lambda _: "__NotAwaited(__function({values}))")


def begun_by_the_handle(cls: C) -> C:
    """As that, of a class whose coroutine functions do nothing but to await the same of its handle."""
    _OPERATIONS.update(vars(cls))
    return _called(cls, lambda _: "self._handle.{name}({passed})")


def passes_operations_on(cls: C) -> C:
    """As that, of a class many of whose coroutine functions do nothing but to await one of a database."""
    return _called(cls, _passed_on)


def _passed_on(function: Callable[..., Coroutine[Any, Any, Any]]) -> str:
    """The call of what it awaits, if it does nothing else: it is tried with what notes what is asked of it."""
    code = function.__code__
    passed = code.co_varnames[: code.co_argcount]
    named = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    asked = function(*map(_Noted, passed), **{key: _Noted(key) for key in named})
    awaited = None
    try:
        awaited = asked.send(None)
        asked.send(awaited)
    except StopIteration as returned:
        if type(awaited) is _Noted and returned.value is awaited and "._" not in awaited.text:
            return f"__called_as({awaited.text}, __function, self)"
    except (TypeError, ValueError):
        # It makes something of its arguments first.
        pass
    asked.close()
    return "__NotAwaited(__function({values}))"


class _Noted:
    """Whatever is asked of it, it notes as text: `self.database.get_instance(instance_id)`."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __getattr__(self, name: str) -> _Noted:
        return _Noted(f"{self.text}.{name}")

    def __call__(self, *passed: _Noted, **named: _Noted) -> _Noted:
        values = [each.text for each in passed]
        values += [f"{name}={each.text}" for name, each in named.items()]
        return _Noted(f"{self.text}({', '.join(values)})")

    def __await__(self) -> Generator[_Noted, _Noted, _Noted]:
        return (yield self)


def _called(cls: C, body: Callable[[Callable[..., Any]], str]) -> C:
    for name, member in list(vars(cls).items()) if _CAN_PASS else ():
        code = getattr(member, "__code__", None)
        if code is not None and code.co_flags & _COROUTINE and not name.startswith("_"):
            _replace(cls, member, body)
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


def _replace(
    cls: type,
    function: Callable[..., Coroutine[Any, Any, T]],
    body: Callable[[Callable[..., Any]], str],
) -> None:
    """Puts a function in the place of a coroutine function: when it is first called, a faster one."""
    made: Callable[..., NotAwaited[T]] | None = None

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> NotAwaited[T]:
        # Who kept the method from before calls this one again.
        nonlocal made
        if made is None:
            made = _with_parameters(function, body(function))
            if vars(cls).get(function.__name__) is call:
                setattr(cls, function.__name__, made)
        return made(*arguments, **named)

    setattr(cls, function.__name__, _pass_as_coroutine_function(call))


def _with_parameters(
    function: Callable[..., Coroutine[Any, Any, T]], body: str
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
    returned = body.format(
        name=function.__name__,
        values=", ".join(values),
        passed=", ".join([*passed[1:], *keywords]),
    )
    source = f"def call({', '.join(parameters)}):\n    return {returned}\n"
    scope = {"__NotAwaited": NotAwaited, "__called_as": called_as, "__function": function}
    exec(compile(source, __file__, "exec"), scope)
    call: Any = scope["call"]
    if not code.co_flags & (_ARGUMENTS | _KEYWORDS):
        call.__defaults__, call.__kwdefaults__ = function.__defaults__, function.__kwdefaults__
    made = _pass_as_coroutine_function(functools.wraps(function)(call))
    return cast("Callable[..., NotAwaited[T]]", made)
