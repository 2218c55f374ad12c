"""The errors of rstmdb: one base class, one class for each kind.

A kind says what to do about an error. `code` is the name on the wire, `reason` the finer distinction
within a code, `retryable` whether the same request may succeed later unchanged, and `context` has the
names and numbers involved.
"""

from __future__ import annotations

from typing import Any, Optional

__all__ = [
    "AlreadyExistsError",
    "ArgumentError",
    "ClosedError",
    "ConflictError",
    "ConnectionError",
    "CorruptError",
    "InternalError",
    "InvalidError",
    "NotFoundError",
    "ProtocolError",
    "RejectedError",
    "RstmdbError",
    "ServerError",
    "UnauthorizedError",
    "UnavailableError",
]


class RstmdbError(Exception):
    """The base of all errors of rstmdb.

    Attributes:
        message: What happened, naming the thing and the fix.
        code: The name on the wire, such as `INSTANCE_NOT_FOUND`; see `ErrorCode`.
        kind: What to do about it, such as `not_found`; each kind is a subclass.
        reason: The finer distinction within the code, such as `expected_state`, or None.
        retryable: Whether the same request may succeed later without a change.
        operation: The operation that failed, by its name on the wire, or None.
        context: The names and numbers involved, such as `{"instance_id": "o-1"}`.
    """

    kind: str = "internal"

    def __init__(
        self,
        message: str = "",
        *,
        code: str = "INTERNAL_ERROR",
        reason: Optional[str] = None,
        retryable: bool = False,
        operation: Optional[str] = None,
        context: Optional[dict[str, Any]] = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.retryable = retryable
        self.operation = operation
        self.context: dict[str, Any] = {} if context is None else context

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        parts = [repr(self.message)]
        if self.code is not None:
            parts.append(f"code={self.code!r}")
        if self.reason is not None:
            parts.append(f"reason={self.reason!r}")
        if self.operation is not None:
            parts.append(f"operation={self.operation!r}")
        if self.context:
            parts.append(f"context={self.context!r}")
        return f"{type(self).__name__}({', '.join(parts)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.args, self.__dict__)


class NotFoundError(RstmdbError):
    """Name something that exists."""

    kind = "not_found"


class AlreadyExistsError(RstmdbError):
    """Choose another name, or take what is there."""

    kind = "already_exists"


class RejectedError(RstmdbError):
    """The rules of the machine or a limit say no; change the state or the request."""

    kind = "rejected"


class ConflictError(RstmdbError):
    """Read again, decide again, retry."""

    kind = "conflict"


class InvalidError(RstmdbError):
    """Correct the request."""

    kind = "invalid"


class ArgumentError(InvalidError, TypeError):
    """An argument is of a type, or has a value, that no request can carry; it is a `TypeError` too."""


class UnauthorizedError(RstmdbError):
    """Present (other) credentials."""

    kind = "unauthorized"


class UnavailableError(RstmdbError):
    """Try again later, or free what is missing."""

    kind = "unavailable"


class CorruptError(RstmdbError):
    """Stored data is damaged; see `rstmdb-cli verify`."""

    kind = "corrupt"


class ClosedError(RstmdbError):
    """The handle was closed."""

    kind = "closed"


class InternalError(RstmdbError):
    """Report a bug."""

    kind = "internal"


class ConnectionError(RstmdbError):
    """`Client` has no connection. Of the client published as rstmdb 0.2.1, kept for its users."""

    kind = "unavailable"

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        # No answer came that could have a code.
        self.code = None  # type: ignore[assignment]


class ProtocolError(RstmdbError):
    """`Connection` got what it can't read. Of the client published as rstmdb 0.2.1, kept for its users."""


class ServerError(RstmdbError):
    """`Client` got an error as its answer. Of the client published as rstmdb 0.2.1, kept for its users."""

    def __init__(self, code: Any, message: str) -> None:
        super().__init__(message, code=code)
        self.args = (f"{code}: {message}",)

    def __str__(self) -> str:
        return str(self.args[0])


_BY_KIND: dict[str, type[RstmdbError]] = {
    error.kind: error
    for error in (
        NotFoundError,
        AlreadyExistsError,
        RejectedError,
        ConflictError,
        InvalidError,
        UnauthorizedError,
        UnavailableError,
        CorruptError,
        ClosedError,
        InternalError,
    )
}


def _from_native(
    kind: str,
    message: str,
    code: str,
    reason: Optional[str],
    retryable: bool,
    operation: Optional[str],
    context: dict[str, Any],
    is_argument: bool,
) -> RstmdbError:
    """Called by the native module."""
    made = ArgumentError if is_argument else _BY_KIND.get(kind, RstmdbError)
    return made(
        message,
        code=code,
        reason=reason,
        retryable=retryable,
        operation=operation,
        context=context,
    )


def _restored(made: type[RstmdbError], args: tuple[Any, ...], state: dict[str, Any]) -> RstmdbError:
    """Undoes pickling, without the constructor's arguments having to be kept."""
    error = made.__new__(made, *args)
    error.args = args
    error.__dict__.update(state)
    return error
