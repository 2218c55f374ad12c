"""The boundary under stress: panics, forks, exits, floods, misuse. The process lives on."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from conftest import LOOP, Server

import rstmdb
from rstmdb import sync


def run(code: str, *arguments: str, **environment: str) -> str:
    """What a new interpreter prints, which must end well and say nothing on its error output."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_a_panic_of_the_core_is_an_internal_error() -> None:
    with sync.open("echo:") as db:
        with pytest.raises(rstmdb.InternalError) as caught:
            db.apply_event("i", "GO", {"$panic": True})
        assert caught.value.code == "INTERNAL_ERROR"
        with pytest.raises(rstmdb.InternalError):
            db.call("PING", {"$panic": 1})
        assert db.call("PING", {"still": "there"}) == {"still": "there"}


async def test_a_panic_in_a_loop_is_an_internal_error() -> None:
    async with rstmdb.open("echo:") as db:
        for _ in range(3):
            with pytest.raises(rstmdb.InternalError):
                await db.apply_event("i", "GO", {"$panic": True})
            with pytest.raises(rstmdb.InternalError):
                await db.call("PING", {"$panic": 1, "$wait": 1})
        answers = await asyncio.gather(*(db.call("PING", {"$wait": n}) for n in range(500)))
        assert [answer["$wait"] for answer in answers] == list(range(500))


def test_huge_and_deep_values_are_refused_or_kept() -> None:
    with sync.open("mem:") as db:
        db.put_machine("m", 1, LOOP)
        db.create_instance("m", 1, "i", {"text": "x" * 1_000_000})
        assert len(db.get_instance("i").ctx["text"]) == 1_000_000
        for payload in ({"text": "x" * 5_000_000}, {"list": list(range(1_000_000))}):
            with pytest.raises(rstmdb.InvalidError) as caught:
                db.apply_event("i", "GO", payload)
            assert caught.value.reason == "limit_exceeded"
        deep: Any = 1
        for _ in range(100_000):
            deep = [deep]
        with pytest.raises(rstmdb.ArgumentError, match="nests deeper"):
            db.apply_event("i", "GO", deep)
        # Freeing it takes as many steps as making it: not by recursion.
        while isinstance(deep, list):
            deep = deep.pop()


def test_an_exception_in_an_iterated_argument_passes_through() -> None:
    def operations() -> Any:
        yield rstmdb.ApplyEvent("i", "GO")
        raise LookupError("mine")

    with sync.open("mem:") as db, pytest.raises(LookupError, match="mine"):
        db.batch(operations())


async def test_a_done_callback_that_raises_harms_nobody(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    told: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: told.append(context))
    async with rstmdb.open(tmp_path / "data") as db:
        await db.put_machine("m", 1, LOOP)
        task = asyncio.ensure_future(db.create_instance("m", 1, "a"))
        task.add_done_callback(lambda _: 1 / 0)
        await task
        await db.create_instance("m", 1, "b")
        await asyncio.sleep(0)
    assert [type(context.get("exception")) for context in told] == [ZeroDivisionError]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["mem:", "file:", "rstmdb://"])
def test_a_child_opens_its_own(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = {"mem:": "mem:", "file:": str(tmp_path / "parent")}.get(kind)
    url = url or request.getfixturevalue("server").url
    code = """
import os, sys, rstmdb, rstmdb.sync as sync
LOOP = {"states": ["on"], "initial": "on", "transitions": []}
db = sync.open(sys.argv[1])
db.put_machine("forked", 1, LOOP)
watch = db.watch_all()
child = os.fork()
if child == 0:
    for call in (db.ping, watch.next, db.info):
        try:
            call()
            os._exit(1)
        except rstmdb.ClosedError as error:
            assert "fork" in str(error), error
    with sync.open(sys.argv[2]) as own:
        own.put_machine("m", 1, LOOP)
        own.create_instance("m", 1)
        assert own.list_instances().total == 1
    del db, watch
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
db.create_instance("forked", 1)
watch.close()
db.close()
"""
    run(code, url, str(tmp_path / "child"), PYTHONWARNINGS="ignore::DeprecationWarning")


@pytest.mark.parametrize("kind", ["mem:", "file:", "rstmdb://"])
def test_the_interpreter_may_end_with_everything_open(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = {"mem:": "mem:", "file:": str(tmp_path / "data")}.get(kind)
    url = url or request.getfixturevalue("server").url
    code = """
import asyncio, sys, threading, rstmdb, rstmdb.sync
LOOP = {"states": ["on"], "initial": "on", "transitions": []}
kept = []
async def main():
    db = await rstmdb.open(sys.argv[1])
    await db.put_machine("m", 1, LOOP)
    watch = await db.watch_all()
    tasks = [asyncio.ensure_future(watch.next())]
    tasks += [asyncio.ensure_future(db.create_instance("m", 1)) for n in range(100)]
    await asyncio.sleep(0)
    kept.extend([db, watch, tasks])
asyncio.run(main())
other = rstmdb.sync.open("mem:")
waiting = other.watch_all()
threading.Thread(target=waiting.next, daemon=True).start()
rstmdb.set_log("trace")
print("end")
"""
    # A database that was forgotten is worth a warning, and nothing worse.
    assert run(code, url, PYTHONWARNINGS="ignore", PYTHONDEVMODE="") == "end\n"


def test_messages_reach_logging() -> None:
    code = """
import logging, sys, threading, rstmdb, rstmdb.sync
seen = threading.Event()
class Handler(logging.Handler):
    def emit(self, record):
        if record.name == "rstmdb" and "opened" in record.getMessage():
            seen.set()
logging.getLogger("rstmdb").addHandler(Handler())
logging.getLogger("rstmdb").setLevel("DEBUG")
rstmdb.set_log("debug")
with rstmdb.sync.open(sys.argv[1]):
    assert seen.wait(60)
rstmdb.set_log(None)
print("seen")
"""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        assert run(code, folder) == "seen\n"
    with pytest.raises(rstmdb.ArgumentError):
        rstmdb.set_log("loud")


def resident_bytes() -> int:
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="sizes are read from /proc")
def test_ten_thousand_databases_leave_nothing_behind() -> None:
    async def some(count: int) -> None:
        for _ in range(count):
            async with rstmdb.open("mem:") as db:
                await db.put_machine("m", 1, LOOP)
                watch = await db.watch_all()
                await db.create_instance("m", 1, "i", {"text": "x" * 100})
                assert (await db.apply_event("i", "GO")).to_state == "on"
                await watch.close()

    def other(count: int) -> None:
        for _ in range(count):
            with sync.open("mem:") as db:
                db.put_machine("m", 1, LOOP)
                db.watch_all()

    asyncio.run(some(1000))
    other(1000)
    gc.collect()
    threads = len(list(Path("/proc/self/task").iterdir()))
    before = resident_bytes()
    asyncio.run(some(5000))
    other(5000)
    gc.collect()
    grown = resident_bytes() - before
    # A leak of a few hundred bytes a cycle would be as much.
    assert grown < 4_000_000, f"{grown} bytes more after 10,000 databases"
    assert len(list(Path("/proc/self/task").iterdir())) <= threads + 20  # some come and go


def test_handles_can_be_dropped_anywhere() -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(50):
                db = sync.open("mem:")
                db.put_machine("m", 1, LOOP)
                watch = db.watch_all()
                db.close()
                del db, watch
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


async def test_errors_nobody_asks_for_make_no_noise(server: Server) -> None:
    loop = asyncio.get_running_loop()
    told: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: told.append(context))
    async with rstmdb.open(server.url) as db:
        await db.put_machine("quiet", 1, LOOP)
        await db.create_instance("quiet", 1, "quiet")
        # Begun, refused later, and never asked what came.
        call: Any = None
        waits_for: Any = None
        while waits_for is None:
            call = db.create_instance("quiet", 1, "quiet")
            # The answer is there at once now and then.
            with contextlib.suppress(rstmdb.AlreadyExistsError):
                waits_for = call.send(None)
        await asyncio.wait([waits_for])
        del call, waits_for
        gc.collect()
        await db.create_instance("quiet", 1)
    gc.collect()
    assert told == []
