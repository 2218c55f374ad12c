"""Messages of the database, for `logging`."""

from __future__ import annotations

from collections.abc import Callable

from . import _native

_LEVELS = {"error": 40, "warn": 30, "info": 20, "debug": 10, "trace": 5}


def set_log(
    level: str | None = "info", receiver: Callable[[str, str, str], object] | None = None
) -> None:
    """Hands the messages of the database on, to the logger `rstmdb` unless a receiver is given.

    Args:
        level: `"error"`, `"warn"`, `"info"`, `"debug"` or `"trace"`; None ends it.
        receiver: Called with level, target and message, on a thread of its own.
    """
    if level is None:
        _native.set_log("error", None)
    else:
        _native.set_log(level, receiver or _log)


def _log(level: str, target: str, message: str) -> None:
    import logging

    logging.getLogger("rstmdb").log(_LEVELS.get(level, 20), "%s: %s", target, message)
