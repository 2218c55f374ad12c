"""A server of the future: what is not known is passed on or skipped, what it lacks is named."""

from __future__ import annotations

import copy
import pickle

import pytest

import rstmdb
from rstmdb import sync, types


def too_soon(error: rstmdb.RstmdbError) -> None:
    assert type(error) is rstmdb.ConflictError
    assert (error.code, error.reason, error.retryable) == ("CONFLICT", "too_soon", True)
    assert error.context["due"] == {"at": 7}


def a_teapot(error: rstmdb.RstmdbError) -> None:
    assert type(error) is rstmdb.InternalError
    assert (error.code, error.kind) == ("INTERNAL_ERROR", "internal")
    assert (error.reason, error.retryable) == ("constructor", True)
    assert error.context["code"] == "TEAPOT"
    assert str(error) == "TEAPOT: it is short and stout"


def unsupported(error: rstmdb.RstmdbError, operation: str, feature: str) -> None:
    assert type(error) is rstmdb.InvalidError
    assert (error.code, error.reason) == ("BAD_REQUEST", "unsupported")
    assert (error.operation, error.retryable) == (operation, False)
    assert error.context["feature"] == feature


def known_and_unknown(page: types.WalReadResult) -> None:
    known, unknown = (record.entry for record in page)
    assert isinstance(known, types.ApplyEventEntry)
    assert known.event == "GO"
    assert isinstance(unknown, types.OtherEntry)
    assert repr(unknown) == "OtherEntry(type='set_timer')"
    assert unknown.type == "set_timer"
    timer = {"name": "reminder", "due": 2**64 - 1}
    assert unknown.to_dict() == {"type": "set_timer", "version": "two", "timer": timer}
    assert '"version": "two"' in unknown.to_json()
    assert unknown == pickle.loads(pickle.dumps(unknown)) == copy.deepcopy(unknown)
    assert page.to_dict()["records"][1]["entry"] == unknown.to_dict()
    assert types.OtherEntry.__match_args__ == ("type",)


def seen(events: list[types.InstanceEvent]) -> None:
    assert [event.kind for event in events] == ["applied", "rescheduled", "deleted"]
    assert events[1].to_dict()["kind"] == "rescheduled"
    assert (events[1].event, events[1].payload) == (None, None)


def read(info: types.InfoResult, instance: types.GetInstanceResult) -> None:
    assert {"moonbeams", "timers"} <= set(info.features)
    assert (info.health, info.limits.page_entries_max) == ("splendid", 10)
    assert (instance.state, instance.last_wal_offset) == ("s", 5)


def outcomes(applied: types.ApplyEventResult, permitted: types.PermittedResult) -> None:
    assert (applied.to_state, applied.wal_offset) == ("t", 6)
    assert [event.code for event in permitted.events] == [None, "INTERNAL_ERROR"]
    assert permitted.events[1].message == "it is short and stout"


def remembered(history: types.HistoryResult) -> None:
    assert [event.kind for event in history] == ["rescheduled", "applied"]
    assert history[0].payload == {"n": 2**64 - 1}


def test_a_newer_server_with_threads(newer_url: str) -> None:
    with sync.open(newer_url) as db:
        read(db.info(), db.get_instance("a"))
        outcomes(db.apply_event("a", "GO"), db.permitted("a"))
        remembered(db.history("a"))
        known_and_unknown(db.wal_read(5))
        with pytest.raises(rstmdb.RstmdbError) as raised:
            db.apply_event("a", "SOON")
        too_soon(raised.value)
        with pytest.raises(rstmdb.RstmdbError) as raised:
            db.apply_event("a", "BREW")
        a_teapot(raised.value)
        with db.watch_all(include_lifecycle=True) as watch:
            seen([event for _, event in zip(range(3), watch)])
        # Nothing is sent, or it would succeed.
        with pytest.raises(rstmdb.RstmdbError) as raised:
            db.batch([])
        unsupported(raised.value, "BATCH", "batch")
        with pytest.raises(rstmdb.RstmdbError) as raised:
            db.validate_machine({})
        unsupported(raised.value, "VALIDATE_MACHINE", "VALIDATE_MACHINE")
        assert db.ping().pong


async def test_a_newer_server_with_asyncio(newer_url: str) -> None:
    async with rstmdb.open(newer_url) as db:
        read(await db.info(), await db.get_instance("a"))
        outcomes(await db.apply_event("a", "GO"), await db.permitted("a"))
        remembered(await db.history("a"))
        known_and_unknown(await db.wal_read(5))
        with pytest.raises(rstmdb.RstmdbError) as raised:
            await db.apply_event("a", "SOON")
        too_soon(raised.value)
        with pytest.raises(rstmdb.RstmdbError) as raised:
            await db.apply_event("a", "BREW")
        a_teapot(raised.value)
        async with db.watch_all(include_lifecycle=True) as watch:
            events = []
            async for event in watch:
                events.append(event)
                if len(events) == 3:
                    break
            seen(events)
        with pytest.raises(rstmdb.RstmdbError) as raised:
            await db.batch([])
        unsupported(raised.value, "BATCH", "batch")
        with pytest.raises(rstmdb.RstmdbError) as raised:
            await db.validate_machine({})
        unsupported(raised.value, "VALIDATE_MACHINE", "VALIDATE_MACHINE")
        assert (await db.ping()).pong


async def test_the_published_interface_meets_a_newer_server(newer_url: str) -> None:
    host, port = newer_url.removeprefix("rstmdb://").split(":")
    async with rstmdb.Client(host, int(port)) as client:
        assert (await client.get_instance("a")).state == "s"
        with pytest.raises(rstmdb.RstmdbError) as raised:
            await client.apply_event("a", "SOON")
        assert raised.value.reason == "too_soon"
