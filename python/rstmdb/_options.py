"""The options of `open`, as the native module takes them."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from ._native import json_text, shown_url
from .errors import ArgumentError


class Hidden(str):
    """Text that is a secret, or holds one: tracebacks and debuggers show what `repr` says."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'…'"


class Address(Hidden):
    """What is opened; shown without its token."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(shown_url(str(self)))


def hidden(token: Any) -> Any:
    """A token that is not shown; what is none is left for the database to refuse."""
    return Hidden(token) if type(token) is str else token


def address(url: str | os.PathLike[str]) -> Address:
    """The URL or path to open."""
    text = os.fspath(url) if isinstance(url, os.PathLike) else url
    if not isinstance(text, str):
        raise _unfit("url", f"expected a str or a path of str, not {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _unfit("url", "text has a lone surrogate, which UTF-8 can't hold") from None
    return Address(text)


def server_url(scheme: str, host: str, port: int) -> str:
    """The URL of a server; what could be more than a host and a port is refused."""
    if not isinstance(host, str) or not host or any(c in "/?#@," or c.isspace() for c in host):
        raise _unfit("host", "expected the name or the address of a server, and no URL")
    if isinstance(port, bool) or not isinstance(port, int):
        raise _unfit("port", f"expected int, not {type(port).__name__}")
    name = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"{scheme}://{name}:{port}"


def options_text(options: dict[str, Any]) -> Hidden:
    """The options that were given, as JSON text."""
    given = {name: _plain(name, value) for name, value in options.items() if value is not None}
    return Hidden(json_text(given) if given else "")


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, timedelta):
        if not name.endswith("_ms"):
            raise _unfit(name, "a timedelta is no value of this option")
        return _milliseconds(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, dict):
        return {key: _plain(f"{key}", inner) for key, inner in value.items()}
    return value


def _milliseconds(value: timedelta) -> int:
    # Rounded up: a wait that was asked for is not cut short.
    return -(-value // timedelta(milliseconds=1))


def _unfit(name: str, message: str) -> ArgumentError:
    return ArgumentError(
        f"{name}: {message}",
        code="BAD_REQUEST",
        reason="invalid_option",
        context={"path": name},
    )
