"""`rstmdb.Database` in event loops: waiting, cancelling, closing, many loops."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
import weakref
from pathlib import Path
from typing import Any

import pytest
from conftest import LOOP, ORDER

import rstmdb
import rstmdb.sync


async def filled(url: str, machine: str = "order") -> rstmdb.Database:
    db = await rstmdb.open(url)
    await db.put_machine(machine, 1, ORDER)
    return db


async def test_both_ways_to_open_work(url: str) -> None:
    async with await rstmdb.open(url) as db:
        assert (await db.ping()).pong
    async with rstmdb.open(url) as db:
        assert (await db.ping()).pong
    assert db.is_closed


async def test_an_event_moves_an_instance(url: str, request: pytest.FixtureRequest) -> None:
    name = request.node.name
    async with await filled(url, name) as db:
        made = await db.create_instance(name, 1, initial_ctx={"total": 40})
        result = await db.apply_event(
            made.instance_id, "PAY", {"method": "card"}, idempotency_key=made.instance_id
        )
        assert (result.from_state, result.to_state, result.applied) == ("created", "paid", True)
        assert result.ctx == {"method": "card", "total": 40}
        again = await db.apply_event(
            made.instance_id, "PAY", {"method": "card"}, idempotency_key=made.instance_id
        )
        assert not again.applied
        assert again.wal_offset == result.wal_offset
        with pytest.raises(rstmdb.ConflictError) as caught:
            await db.apply_event(made.instance_id, "SHIP", expected_state="shipped")
        assert caught.value.code == "CONFLICT"
        assert caught.value.reason == "expected_state"
        assert caught.value.context["instance_id"] == made.instance_id


async def test_many_tasks_share_a_database(url: str, request: pytest.FixtureRequest) -> None:
    name = request.node.name
    async with rstmdb.open(url) as db:
        await db.put_machine(name, 1, LOOP)
        instances = [f"{name}-{i}" for i in range(64)]
        await asyncio.gather(*(db.create_instance(name, 1, i) for i in instances))
        results = await asyncio.gather(
            *(db.apply_event(i, "GO", {"n": n}) for n in range(5) for i in instances)
        )
        assert len({result.wal_offset for result in results}) == len(results)


async def test_what_a_turn_of_the_loop_begins_is_synced_together(tmp_path: Path) -> None:
    with rstmdb.sync.open(tmp_path / "data") as prepared:
        prepared.put_machine("loop", 1, LOOP)
        prepared.create_instance("loop", 1, "one")
    syncs: list[int] = []
    # A machine that pauses within the turn ends it early, so one of several is enough.
    while len(syncs) < 20 and 1 not in syncs:
        async with rstmdb.open(tmp_path / "data") as db:
            before = (await db.wal_stats()).io_stats.fsyncs
            await asyncio.gather(*(db.apply_event("one", "GO", {"n": n}) for n in range(32)))
            syncs.append((await db.wal_stats()).io_stats.fsyncs - before)
    assert 1 in syncs, syncs


async def test_events_are_watched_in_order(url: str, request: pytest.FixtureRequest) -> None:
    name = request.node.name
    async with rstmdb.open(url) as db:
        await db.put_machine(name, 1, LOOP)
        await db.create_instance(name, 1, name)
        async with db.watch_all(machines=[name]) as events:
            for n in range(1000):
                await db.apply_event(name, "GO", {"n": n})
            seen = [await events.next() for _ in range(1000)]
        assert [event.payload["n"] for event in seen if event] == list(range(1000))
        resumed = []
        async for event in db.watch_instance(name, from_offset=seen[989].wal_offset + 1):
            resumed.append(event.payload["n"])
            if len(resumed) == 10:
                break
        assert resumed == list(range(990, 1000))


async def test_resuming_goes_on_after_the_last_event_taken() -> None:
    async with rstmdb.open("mem:") as db:
        await db.put_machine("m", 1, LOOP)
        await db.create_instance("m", 1, "i")
        watch = await db.watch_all()
        offsets = [(await db.apply_event("i", "GO")).wal_offset for _ in range(10)]
        for _ in range(3):
            await watch.next()
        # The others were fetched with them, and are not taken yet.
        assert watch.resume_offset == offsets[3]
        await watch.close()
        assert await watch.next() is None
        assert watch.resume_offset == offsets[3]
        async with db.watch_all(from_offset=offsets[5]) as other:
            async for event in other:
                assert event.wal_offset == offsets[5]
                break
        assert other.resume_offset == offsets[6]


async def test_an_event_that_a_cancelled_wait_had_is_not_behind_the_resume_offset() -> None:
    async with rstmdb.open("mem:") as db:
        await db.put_machine("m", 1, LOOP)
        await db.create_instance("m", 1, "i")
        watch = await db.watch_all()
        before = watch.resume_offset
        waiting = asyncio.ensure_future(watch.next())
        await asyncio.sleep(0)
        offset = (await db.apply_event("i", "GO")).wal_offset
        # The event is on its way, and nobody has it until the task runs.
        assert before == offset == watch.resume_offset
        await watch.close()
        event = await waiting
        assert watch.resume_offset == (offset if event is None else offset + 1)


async def test_no_event_comes_after_the_database_was_closed(tmp_path: Path) -> None:
    async with rstmdb.open(tmp_path / "data") as db:
        await db.put_machine("m", 1, LOOP)
        await db.create_instance("m", 1, "i")
        watch = await db.watch_all()
        for _ in range(5):
            await db.apply_event("i", "GO")
        event = await watch.next()
        assert event is not None
    assert await watch.next() is None
    assert watch.resume_offset == event.wal_offset + 1


async def test_cancelling_a_wait_loses_no_event(url: str, request: pytest.FixtureRequest) -> None:
    name = request.node.name
    async with rstmdb.open(url) as db:
        await db.put_machine(name, 1, LOOP)
        await db.create_instance(name, 1, name)
        watch = await db.watch_instance(name)
        seen = []
        for n in range(100):
            waiting = asyncio.ensure_future(watch.next())
            await asyncio.sleep(0)
            if n % 3 == 0:
                waiting.cancel()
                await asyncio.wait([waiting])
            await db.apply_event(name, "GO", {"n": n})
            if n % 3 == 1:
                # Perhaps the event is on its way already.
                waiting.cancel()
                await asyncio.wait([waiting])
            if waiting.cancelled():
                event = await watch.next()
            else:
                event = await waiting
            assert event is not None
            seen.append(event.payload["n"])
        assert seen == list(range(100))


async def test_a_cancelled_write_goes_on(tmp_path: Path) -> None:
    async with rstmdb.open(tmp_path / "data") as db:
        await db.put_machine("m", 1, LOOP)
        task = asyncio.ensure_future(db.create_instance("m", 1, "i"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # Written behind it, so it is answered after it.
        await db.create_instance("m", 1, "j")
        assert (await db.get_instance("i")).state == "on"


async def test_two_waits_on_one_watch_are_refused() -> None:
    async with rstmdb.open("mem:") as db:
        await db.put_machine("m", 1, LOOP)
        await db.create_instance("m", 1, "i")
        watch = await db.watch_all()
        first = asyncio.ensure_future(watch.next())
        await asyncio.sleep(0)
        with pytest.raises(rstmdb.InvalidError):
            await watch.next()
        await db.apply_event("i", "GO")
        assert (await first) is not None


async def test_closing_ends_watches_and_requests(tmp_path: Path) -> None:
    db = await rstmdb.open(tmp_path / "data")
    await db.put_machine("m", 1, LOOP)
    watch = await db.watch_all()
    waiting = asyncio.ensure_future(watch.next())
    writes = [asyncio.ensure_future(db.create_instance("m", 1, f"i{n}")) for n in range(50)]
    await asyncio.sleep(0)
    await db.close()
    await db.close()
    for outcome in await asyncio.gather(*writes, return_exceptions=True):
        if isinstance(outcome, BaseException):
            assert isinstance(outcome, rstmdb.ClosedError)
        else:
            assert outcome.state == "on"
    try:
        ended = await waiting
        # It may have seen what was written before the end.
        assert ended is None or ended.kind == "created"
    except rstmdb.ClosedError:
        pass
    with pytest.raises(rstmdb.ClosedError):
        await db.ping()


def test_several_loops_and_threads_share_a_database(tmp_path: Path) -> None:
    db = asyncio.run(_open(str(tmp_path / "data")))
    failures: list[BaseException] = []

    async def work(number: int) -> None:
        for n in range(20):
            await asyncio.gather(
                *(db.create_instance("m", 1, f"{number}-{n}-{i}") for i in range(5))
            )

    def run(number: int) -> None:
        try:
            asyncio.run(work(number))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []

    async def count() -> int:
        total = (await db.list_instances(limit=1)).total
        await db.close()
        return total

    assert asyncio.run(count()) == 400


async def _open(url: str) -> rstmdb.Database:
    db = await rstmdb.open(url)
    await db.put_machine("m", 1, LOOP)
    return db


def test_a_loop_may_be_closed_with_requests_in_flight(tmp_path: Path) -> None:
    loop = asyncio.new_event_loop()
    db = loop.run_until_complete(_open(str(tmp_path / "data")))

    left: list[Any] = []

    async def leave() -> None:
        left.append(db.create_instance("m", 1, "left"))
        left[0].send(None)

    loop.run_until_complete(leave())
    loop.close()

    async def read() -> str:
        await db.create_instance("m", 1, "other")
        state = (await db.get_instance("left")).state
        await db.close()
        return state

    assert asyncio.run(read()) == "on"


def test_uvloop_works(tmp_path: Path) -> None:
    uvloop: Any = pytest.importorskip("uvloop", reason="uvloop is not there for this system")

    async def work() -> int:
        async with rstmdb.open(tmp_path / "data") as db:
            await db.put_machine("m", 1, LOOP)
            watch = await db.watch_all(include_lifecycle=True)
            await asyncio.gather(*(db.create_instance("m", 1, f"i{n}") for n in range(100)))
            seen = [await watch.next() for _ in range(100)]
            return len(seen)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert uvloop.run(work()) == 100


async def test_without_a_loop_a_wait_is_an_error(tmp_path: Path) -> None:
    async with rstmdb.open(tmp_path / "data") as db:
        await db.put_machine("m", 1, LOOP)
        raised: list[BaseException] = []

        def call() -> None:
            coroutine = db.create_instance("m", 1)
            try:
                coroutine.send(None)
            except RuntimeError as error:
                raised.append(error)
            finally:
                coroutine.close()

        thread = threading.Thread(target=call)
        thread.start()
        await asyncio.to_thread(thread.join)
        assert "no running event loop" in str(raised[0])


async def test_forgetting_to_close_is_a_warning() -> None:
    db = await rstmdb.open("mem:")
    kept = [db]
    del db
    with pytest.warns(ResourceWarning, match="unclosed database 'mem:'"):
        kept.clear()


async def test_a_failed_opening_names_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(rstmdb.UnavailableError, match=r"127\.0\.0\.1"):
        await rstmdb.open("rstmdb://127.0.0.1:1", connect_timeout_ms=200)
    with pytest.raises(rstmdb.InvalidError, match="fsync") as caught:
        await rstmdb.open("mem:", fsync="sometimes")
    assert caught.value.reason == "invalid_option"
    with pytest.raises(rstmdb.InvalidError, match="token"):
        await rstmdb.open("mem:", token="t")
    async with rstmdb.open(tmp_path / "data"):
        with pytest.raises(rstmdb.UnavailableError) as locked:
            await rstmdb.open(tmp_path / "data")
        assert locked.value.reason == "locked"
    with pytest.raises(TypeError):
        await rstmdb.open(5)  # type: ignore[arg-type]


async def test_an_operation_can_be_called_by_name() -> None:
    async with rstmdb.open("mem:") as db:
        await db.call("PUT_MACHINE", {"machine": "m", "version": 1, "definition": LOOP})
        assert (await db.call("list_machines"))["items"] == [{"machine": "m", "versions": [1]}]
        assert (await db.replication_status()).role == "standalone"
        with pytest.raises(rstmdb.ArgumentError, match="NOPE"):
            await db.call("NOPE")


def test_a_task_that_a_loop_left_behind_is_collected(tmp_path: Path) -> None:
    loop = asyncio.new_event_loop()
    db = loop.run_until_complete(_open(str(tmp_path / "data")))
    watch = loop.run_until_complete(_watched(db))
    task = loop.create_task(watch.next())
    loop.run_until_complete(asyncio.sleep(0))
    gone = weakref.ref(task)
    # What asyncio says of such a task is true, and not the question here.
    loop.set_exception_handler(lambda *_: None)
    loop.close()
    del task
    asyncio.run(db.close())
    # The loop itself is known until another one is there.
    del loop
    gc.collect()
    assert gone() is None


async def _watched(db: rstmdb.Database) -> rstmdb.Watch[Any]:
    return await db.watch_all()


class WithoutReaders(asyncio.SelectorEventLoop):
    """A loop that can't look at sockets, as the one that Windows has."""

    def add_reader(self, fd: Any, callback: Any, *args: Any) -> None:
        raise NotImplementedError


def test_a_loop_without_readers_is_woken_too(tmp_path: Path) -> None:
    async def work() -> int:
        async with rstmdb.open(tmp_path / "data") as db:
            await db.put_machine("m", 1, LOOP)
            watch = await db.watch_all(include_lifecycle=True)
            await asyncio.gather(*(db.create_instance("m", 1, f"i{n}") for n in range(200)))
            return len([await watch.next() for _ in range(200)])

    loop = WithoutReaders()
    try:
        assert loop.run_until_complete(work()) == 200
    finally:
        loop.close()
