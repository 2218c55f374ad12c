# pyright: strict
"""What type checkers must refuse: an ignored error that is none is an error to them."""

from __future__ import annotations

from enum import Enum

import rstmdb
import rstmdb.sync


class State(str, Enum):
    OPEN = "open"
    SHUT = "shut"


class Event(str, Enum):
    CLOSE = "CLOSE"


class Other(str, Enum):
    X = "x"


def wrong(db: rstmdb.sync.Database) -> None:
    machine = rstmdb.Machine("door", 1, states=State, events=Event, initial=State.OPEN)
    machine.on(Event.CLOSE, State.OPEN, Other.X)  # type: ignore[arg-type]
    machine.on(Other.X, State.OPEN, State.SHUT)  # type: ignore[arg-type]
    doors = db.machine(machine)
    doors.apply("i", Other.X)  # type: ignore[arg-type]
    doors.apply("i", Event.CLOSE, expected_state=Event.CLOSE)  # type: ignore[arg-type]
    db.apply_event("i", 5)  # type: ignore[arg-type]
    db.put_machine("m", "1", {})  # type: ignore[arg-type]
    db.batch([], mode="all")  # type: ignore[arg-type]
    db.history("i", order="up")  # type: ignore[arg-type]
    db.ping().pong = False  # type: ignore[misc]
