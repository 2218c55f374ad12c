# pyright: strict
"""What type checkers must accept, and know; mypy --strict and pyright strict check it, nothing runs it."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Any, Optional

from typing_extensions import assert_type

import rstmdb
import rstmdb.sync
from rstmdb import types


class State(str, Enum):
    OPEN = "open"
    SHUT = "shut"


class Event(str, Enum):
    CLOSE = "CLOSE"


async def operations() -> None:
    async with rstmdb.open("mem:", request_timeout_ms=5) as db:
        assert_type(db, rstmdb.Database)
        result = await db.apply_event("i", Event.CLOSE, {"a": 1}, expected_state=State.OPEN)
        assert_type(result, types.ApplyEventResult)
        assert_type(result.wal_offset, int)
        assert_type(result.event_id, Optional[str])
        instance = await db.get_instance("i")
        assert_type(instance.created_at, Optional[datetime])
        for row in await db.list_instances(machine="m"):
            assert_type(row, types.InstanceSummary)
        async with db.watch_all(machines=["m"]) as events:
            assert_type(events, rstmdb.Watch[types.WatchAllResult])
            async for event in events:
                assert_type(event, types.InstanceEvent)
        outcome = (await db.batch([rstmdb.ApplyEvent("i", "GO")], mode="atomic"))[0]
        if isinstance(outcome.result, types.ApplyEventResult):
            assert_type(outcome.result.to_state, str)
        if outcome.error is not None:
            assert_type(outcome.error.retryable, bool)
    db = await rstmdb.open("mem:")
    await db.close()


def machines(db: rstmdb.sync.Database) -> None:
    machine = rstmdb.Machine("door", 1, states=State, events=Event, initial=State.OPEN)
    machine.on(Event.CLOSE, State.OPEN, State.SHUT)
    doors = db.machine(machine)
    assert_type(doors, rstmdb.sync.MachineHandle[State, Event])
    assert_type(doors.apply("i", Event.CLOSE), types.ApplyEventResult)
    for row in doors.instances(state=State.SHUT):
        assert_type(row, types.InstanceSummary)
    with db.watch_instance("i") as watch:
        assert_type(watch.result, types.WatchInstanceResult)


def entries(entry: types.WalEntry) -> Any:
    if isinstance(entry, types.ApplyEventEntry):
        return entry.payload
    return None


async def published() -> None:
    async with rstmdb.Client("h", 7401, token="t") as client:
        assert_type(await client.watch_all(), rstmdb.WatchAllResult)
        assert_type((await client.get_instance("i")).state, str)
