"""What keeps a database open: whatever still needs it. Nothing here keeps a reference by chance."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import LOOP, Server

import rstmdb
from rstmdb import sync


@pytest.fixture(autouse=True)
def _unclosed() -> Any:
    """Databases are left to the collector on purpose here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        collect()


def prepared(url: str, machine: str) -> None:
    with sync.open(url) as db:
        db.put_machine(machine, 1, LOOP)
        db.create_instance(machine, 1, machine)


def collect() -> None:
    for _ in range(3):
        gc.collect()


def begun(url: str, **options: Any) -> sync.Watch[Any]:
    """A helper that gives the watch alone."""
    return sync.open(url).watch_all(**options)


def handled(url: str, machine: str) -> sync.Watch[Any]:
    return sync.open(url).machine(machine, 1).watch(from_offset=1, include_lifecycle=True)


def test_a_watch_keeps_its_database_open(tmp_path: Path) -> None:
    url = str(tmp_path / "d")
    prepared(url, "m")
    for begin in (
        lambda: begun(url, from_offset=1, include_lifecycle=True),
        lambda: handled(url, "m"),
    ):
        watch = begin()
        collect()
        assert next(watch).instance_id == "m"
        collect()
        with pytest.raises(TimeoutError):
            watch.next(timeout=0)
        with pytest.raises(rstmdb.UnavailableError):
            sync.open(url)
        # And nothing keeps it open any longer.
        watch.close()
        collect()
        sync.open(url).close()


def test_a_watch_that_is_left_behind_gives_its_directory_back(tmp_path: Path) -> None:
    url = str(tmp_path / "d")
    watch = begun(url)
    del watch
    collect()
    sync.open(url).close()


def test_only_what_nobody_needs_is_warned_about(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        watch = begun(str(tmp_path / "d"))
        collect()
        assert told == []
        watch.close()
        collect()
        assert [str(warning.message) for warning in told] == [
            f"unclosed database '{tmp_path / 'd'}'"
        ]


def test_a_watch_on_a_server_goes_on(server: Server) -> None:
    prepared(server.url, "lifetimes")
    watch = begun(server.url, machines=["lifetimes"])
    collect()
    with sync.open(server.url) as db:
        db.apply_event("lifetimes", "GO")
    event = watch.next(timeout=60)
    assert event is not None
    assert event.event == "GO"
    watch.close()


async def awaited(url: str) -> rstmdb.Watch[Any]:
    return await (await rstmdb.open(url)).watch_all(from_offset=1, include_lifecycle=True)


async def entered(url: str) -> rstmdb.Watch[Any]:
    opening = (await rstmdb.open(url)).machine("m", 1).watch(from_offset=1, include_lifecycle=True)
    return await opening.__aenter__()


@pytest.mark.parametrize("begin", [awaited, entered])
async def test_a_watch_of_a_loop_keeps_its_database_open(
    tmp_path: Path, begin: Callable[[str], Awaitable[rstmdb.Watch[Any]]]
) -> None:
    url = str(tmp_path / "d")
    prepared(url, "m")
    watch = await begin(url)
    collect()
    assert (await anext_of(watch)).instance_id == "m"
    waiting = asyncio.ensure_future(watch.next())
    del watch
    await asyncio.sleep(0)
    collect()
    assert not waiting.done()
    waiting.cancel()


async def anext_of(watch: rstmdb.Watch[Any]) -> Any:
    return await watch.__anext__()


async def test_what_is_under_way_keeps_its_database_open(tmp_path: Path) -> None:
    async def opened(name: str) -> rstmdb.Database:
        prepared(str(tmp_path / name), "m")
        return await rstmdb.open(tmp_path / name)

    # The call, the pages, and the loop over events have nothing else that holds it.
    call = (await opened("call")).apply_event("m", "GO")
    collect()
    assert (await call).to_state == "on"
    pages = (await opened("pages")).machine("m", 1).instances(page=1)
    collect()
    assert [row.id async for row in pages] == ["m"]
    past = (await opened("events")).watch_all(from_offset=1, include_lifecycle=True)
    events = past.__aiter__()
    del past
    collect()
    assert (await events.__anext__()).instance_id == "m"
    collect()
    await events.aclose()  # type: ignore[attr-defined]


async def test_events_of_the_published_client_go_on(server: Server) -> None:
    prepared(server.url, "lifetimes-client")

    async def begin() -> Any:
        client = rstmdb.Client("127.0.0.1", server.port)
        await client.connect()
        opening = client.watch_all(machines=["lifetimes-client"])
        return opening, await opening.__aenter__()

    opening, stream = await begin()
    collect()
    async with rstmdb.open(server.url) as db:
        await db.apply_event("lifetimes-client", "GO")
    events = stream.events()
    assert (await events.__anext__()).event == "GO"
    await opening.__aexit__(None, None, None)
