"""`rstmdb.sync`: the same without waiting for loops; threads, signals, timeouts."""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from conftest import LOOP

import rstmdb
from rstmdb import sync


def test_the_methods_are_those_of_the_async_class() -> None:
    def public(kind: type) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    assert public(sync.Database) == public(rstmdb.Database)
    assert public(sync.MachineHandle) == public(rstmdb.MachineHandle)
    assert public(sync.Watch) == public(rstmdb.Watch)


def test_events_are_watched(url: str, request: pytest.FixtureRequest) -> None:
    name = request.node.name
    with sync.open(url) as db:
        db.put_machine(name, 1, LOOP)
        db.create_instance(name, 1, name)
        with db.watch_instance(name) as events:
            for n in range(300):
                db.apply_event(name, "GO", {"n": n})
            seen = [event.payload["n"] for _, event in zip(range(300), events)]
            assert seen == list(range(300))
            with pytest.raises(TimeoutError):
                events.next(timeout=0)
        assert events.next() is None
    with pytest.raises(rstmdb.ClosedError):
        db.ping()


def test_a_watch_goes_on_after_the_last_event_that_was_taken(
    url: str, request: pytest.FixtureRequest
) -> None:
    name = request.node.name
    with sync.open(url) as db:
        db.put_machine(name, 1, LOOP)
        db.create_instance(name, 1, name)
        start = db.wal_stats().latest_offset
        assert start is not None
        with db.watch_all(machines=[name], from_offset=start) as watch:
            for n in range(10):
                db.apply_event(name, "GO", {"n": n})
            assert watch.resume_offset == start
            event = watch.next()
            assert event is not None
            assert watch.resume_offset == event.wal_offset + 1
        # The others were fetched already, and nobody received them.
        assert watch.resume_offset == event.wal_offset + 1
        assert watch.next() is None
        with db.watch_all(machines=[name], from_offset=watch.resume_offset) as again:
            following = again.next()
            assert following is not None
            assert following.payload["n"] == event.payload["n"] + 1
        untouched = db.watch_all(machines=[name], from_offset=start)
        untouched.close()
        assert untouched.resume_offset == start


def test_no_event_comes_after_the_database_was_closed(
    url: str, request: pytest.FixtureRequest
) -> None:
    name = request.node.name
    with sync.open(url) as db:
        db.put_machine(name, 1, LOOP)
        db.create_instance(name, 1, name)
        watch = db.watch_all(machines=[name])
        for _ in range(5):
            db.apply_event(name, "GO")
        event = watch.next()
        assert event is not None
    assert watch.next() is None
    assert watch.resume_offset == event.wal_offset + 1


def test_a_waiting_thread_sees_the_end(url: str) -> None:
    with sync.open(url) as db:
        watch = db.watch_all()
        ended: list[object] = []
        waiting = threading.Thread(target=lambda: ended.append(watch.next()))
        waiting.start()
        watch.close()
        waiting.join()
        assert ended == [None]


def test_threads_share_a_database(tmp_path: Path) -> None:
    with sync.open(tmp_path / "data") as db:
        db.put_machine("m", 1, LOOP)

        def work(number: int) -> None:
            for n in range(25):
                db.create_instance("m", 1, f"{number}-{n}")

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert db.list_instances(limit=1).total == 200


INTERRUPTED = """
import signal, sys, threading, rstmdb.sync
db = rstmdb.sync.open(sys.argv[1])
watch = db.watch_all()
try:
    # Sent while the main thread waits, or just before: either way it must be seen.
    threading.Timer(0.0, signal.raise_signal, (signal.SIGINT,)).start()
    watch.next()
except KeyboardInterrupt:
    db.close()
    print("interrupted")
"""


@pytest.mark.parametrize("kind", ["mem:", "file:", "rstmdb://"])
def test_ctrl_c_interrupts_a_wait(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = {"mem:": "mem:", "file:": str(tmp_path / "data")}.get(kind)
    url = url or request.getfixturevalue("server").url
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, url], capture_output=True, text=True, check=True
    )
    assert done.stdout == "interrupted\n"


def test_durations_are_numbers_of_milliseconds_or_timedeltas(tmp_path: Path) -> None:
    options = {"idempotency_window_ms": timedelta(hours=1), "retention": {"age_ms": 10**9}}
    with sync.open(tmp_path / "data", **options) as db:  # type: ignore[arg-type]
        assert db.info().writable
    with pytest.raises(rstmdb.ArgumentError, match="fsync"):
        sync.open("mem:", fsync=timedelta(1))  # type: ignore[arg-type]


def test_a_manual_clock_stands_still() -> None:
    with sync.open("mem:", manual_clock_ms=1_700_000_000_000) as db:
        db.put_machine("m", 1, LOOP)
        db.create_instance("m", 1, "i")
        db.advance_clock(1500)
        db.apply_event("i", "GO")
        instance = db.get_instance("i")
        assert instance.created_at_ms == 1_700_000_000_000
        assert instance.updated_at - instance.created_at == timedelta(seconds=1.5)


def test_connect_takes_host_and_port(server: object) -> None:
    port = server.port  # type: ignore[attr-defined]
    with sync.connect("127.0.0.1", port, request_timeout_ms=timedelta(seconds=30)) as db:
        assert db.url == f"rstmdb://127.0.0.1:{port}"
        assert db.info().backend == "remote"


def test_one_of_several_hosts_is_enough(server: object) -> None:
    port = server.port  # type: ignore[attr-defined]
    # Nobody listens at the first.
    hosts = f"rstmdb://127.0.0.1:1,127.0.0.1:{port}"
    for reads in ("linearizable", "session&zone=here", "bounded&max_lag=1s"):
        with sync.open(f"{hosts}?read={reads}") as db:
            assert db.ping()
            assert db.list_machines() is not None
    for wrong, named in (("read=newest", "linearizable"), ("max_lag=1s", "read=bounded")):
        with pytest.raises(rstmdb.InvalidError, match=named):
            sync.open(f"{hosts}?{wrong}")
