"""The options of `open`, as the native module takes them."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from ._native import json_text
from .errors import ArgumentError


def address(url: str | os.PathLike[str]) -> str:
    """The URL or path to open."""
    text = os.fspath(url) if isinstance(url, os.PathLike) else url
    if not isinstance(text, str):
        raise _unfit("url", f"expected a str or a path of str, not {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _unfit("url", "text has a lone surrogate, which UTF-8 can't hold") from None
    return text


def options_text(options: dict[str, Any]) -> str:
    """The options that were given, as JSON text."""
    given = {name: _plain(name, value) for name, value in options.items() if value is not None}
    return json_text(given) if given else ""


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
