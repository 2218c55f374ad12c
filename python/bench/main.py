"""The Python rows of the benchmarks: `python bench/main.py async` or `python bench/main.py sync`.

Prints one JSON object a line. `RSTMDB_BENCH_SECONDS` says how long each measurement takes,
`RSTMDB_BENCH_DIR` where directories are made, and `RSTMDB_URL` names the server for the rows that compare
the published client, which runs in the Python that `RSTMDB_PEER_PYTHON` names.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import rstmdb

# The published client, which this file measures too, has none of these.
if hasattr(rstmdb, "open"):
    import rstmdb.sync
    from rstmdb import ApplyEvent, CreateInstance

INSTANCES = 1_000
BATCH = 1_000
IN_FLIGHT = 64
MACHINE = {
    "states": ["A", "B"],
    "initial": "A",
    "transitions": [
        {"from": "A", "event": "FLIP", "to": "B"},
        {"from": "B", "event": "FLOP", "to": "A"},
    ],
}
# The same with a guard: what SQLite is compared with.
GUARDED = {
    "states": ["A", "B"],
    "initial": "A",
    "transitions": [
        {"from": "A", "event": "FLIP", "to": "B", "guard": "ctx.total >= 0"},
        {"from": "B", "event": "FLOP", "to": "A", "guard": "ctx.total >= 0"},
    ],
}
# 100 bytes, with the `n` that events replace.
CONTEXT = {"customer": "c-0000001", "n": 0, "note": "-" * 48, "total": 100}
SECONDS = float(os.environ.get("RSTMDB_BENCH_SECONDS", "1"))


def show(name: str, value: float, unit: str = "ops/s") -> None:
    print(json.dumps({"name": name, "value": value, "unit": unit}), flush=True)


def requests(prefix: str = "instance") -> Iterator[tuple[str, str, dict[str, int]]]:
    """Events that let the instances go to and fro, each in turn."""
    ids = [f"{prefix}-{i}" for i in range(INSTANCES)]
    number = 0
    while True:
        for event in ("FLIP", "FLOP"):
            for instance in ids:
                yield instance, event, {"n": number}
                number += 1


def creations(prefix: str = "instance") -> list[CreateInstance]:
    return [CreateInstance("pingpong", 1, f"{prefix}-{i}", CONTEXT) for i in range(INSTANCES)]


def blocking(url: str) -> None:
    with rstmdb.sync.open(url) as db:
        db.put_machine("pingpong", 1, MACHINE)
        db.batch(creations(), mode="atomic")
        coming = requests()
        for name, seconds in (("", SECONDS / 4), ("mem_apply", SECONDS)):
            start, done = time.perf_counter(), 0
            while time.perf_counter() - start < seconds:
                for _ in range(32):
                    instance, event, payload = next(coming)
                    db.apply_event(instance, event, payload)
                done += 32
            if name:
                show(name, done / (time.perf_counter() - start))
    with rstmdb.sync.open(url) as db:
        db.put_machine("pingpong", 1, MACHINE)
        db.batch(creations(), mode="atomic")
        coming = requests()
        start, done = time.perf_counter(), 0
        while time.perf_counter() - start < SECONDS:
            db.batch([ApplyEvent(*next(coming)) for _ in range(BATCH)], mode="atomic")
            done += BATCH
        show("batch_1000", done / (time.perf_counter() - start))


def one_by_one(name: str, step: Callable[[str, str, dict[str, int]], object]) -> None:
    """Events one after the other, with a quarter of the time beforehand."""
    coming = requests()
    for seconds in (SECONDS / 4, SECONDS):
        start, done = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            for _ in range(8):
                step(*next(coming))
            done += 8
    show(name, done / (time.perf_counter() - start))


def guarded(name: str, folder: Path, **options: Any) -> None:
    with rstmdb.sync.open(folder / name, **options) as db:
        db.put_machine("pingpong", 1, GUARDED)
        db.batch(creations(), mode="atomic")
        one_by_one(name, db.apply_event)


def sqlite(name: str, folder: Path, synchronous: str) -> None:
    """The same guarded transition by the standard library: a transaction each, in WAL mode."""
    db = sqlite3.connect(folder / name, isolation_level=None)
    for pragma in ("journal_mode = WAL", f"synchronous = {synchronous}", "cache_size = -1000000"):
        db.execute(f"PRAGMA {pragma}")
    db.executescript(
        """CREATE TABLE instances (id TEXT PRIMARY KEY, state TEXT NOT NULL, ctx TEXT NOT NULL,
               updated_at INTEGER NOT NULL) WITHOUT ROWID;
           CREATE TABLE history (number INTEGER PRIMARY KEY, id TEXT NOT NULL, event TEXT NOT NULL,
               from_state TEXT NOT NULL, to_state TEXT NOT NULL, payload TEXT NOT NULL, at INTEGER NOT NULL);"""
    )
    rows = [(f"instance-{i}", "A", json.dumps(CONTEXT), 0) for i in range(INSTANCES)]
    db.execute("BEGIN")
    db.executemany("INSERT INTO instances VALUES (?, ?, ?, ?)", rows)
    db.execute("COMMIT")

    def apply(instance: str, event: str, payload: dict[str, int]) -> None:
        before, after = ("A", "B") if event == "FLIP" else ("B", "A")
        text, now = json.dumps(payload), time.time_ns() // 1_000_000
        db.execute("BEGIN IMMEDIATE")
        changed = db.execute(
            "UPDATE instances SET state = ?, ctx = json_patch(ctx, ?), updated_at = ?"
            " WHERE id = ? AND state = ? AND json_extract(ctx, '$.total') >= 0",
            (after, text, now, instance, before),
        )
        assert changed.rowcount == 1
        db.execute(
            "INSERT INTO history (id, event, from_state, to_state, payload, at)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (instance, event, before, after, text, now),
        )
        db.execute("COMMIT")

    one_by_one(name, apply)
    db.close()


async def in_flight(db: Any, seconds: float, coming: Iterator[Any]) -> float:
    """Events of 64 tasks."""
    loop_end = time.perf_counter() + seconds
    done = 0

    async def work() -> None:
        nonlocal done
        while time.perf_counter() < loop_end:
            instance, event, payload = next(coming)
            await db.apply_event(instance, event, payload)
            done += 1

    start = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    return done / (time.perf_counter() - start)


async def asynchronous(folder: Path) -> None:
    async with rstmdb.open("mem:") as db:
        await db.put_machine("pingpong", 1, MACHINE)
        await db.batch(creations(), mode="atomic")
        coming = requests()
        start, done = time.perf_counter(), 0
        while time.perf_counter() - start < SECONDS:
            for _ in range(32):
                instance, event, payload = next(coming)
                await db.apply_event(instance, event, payload)
            done += 32
        show("mem_apply", done / (time.perf_counter() - start))
        show("mem_apply_64", await in_flight(db, SECONDS, coming))
        start, done = time.perf_counter(), 0
        while time.perf_counter() - start < SECONDS:
            await db.batch([ApplyEvent(*next(coming)) for _ in range(BATCH)], mode="atomic")
            done += BATCH
        show("batch_1000", done / (time.perf_counter() - start))
    async with rstmdb.open(folder / "durable") as db:
        await db.put_machine("pingpong", 1, MACHINE)
        await db.batch(creations(), mode="atomic")
        coming = requests()
        await in_flight(db, SECONDS / 4, coming)
        show("durable_apply_64", await in_flight(db, SECONDS, coming))
    async with rstmdb.open(folder / "guarded") as db:
        await db.put_machine("pingpong", 1, GUARDED)
        await db.batch(creations(), mode="atomic")
        coming = requests()
        await in_flight(db, SECONDS / 4, coming)
        show("guarded_durable_64", await in_flight(db, SECONDS, coming))
    sqlite("sqlite_full", folder, "FULL")


async def on_server(url: str, prefix: str) -> None:
    """The same on a server, with the client that this Python has."""
    address = urlsplit(url)
    if hasattr(rstmdb, "open"):
        client: Any = rstmdb.open(url)
    else:
        client = rstmdb.Client(address.hostname or "127.0.0.1", address.port or 7401)
    async with client as db:
        await db.put_machine("pingpong", 1, MACHINE)
        await asyncio.gather(
            *(db.create_instance("pingpong", 1, f"{prefix}-{i}", CONTEXT) for i in range(INSTANCES))
        )
        coming = requests(prefix)
        await in_flight(db, SECONDS / 4, coming)
        name = "ours_64" if hasattr(rstmdb, "open") else "peer_64"
        show(name, await in_flight(db, SECONDS, coming))


def peer(url: str) -> None:
    """Runs `on_server` with the published client, in its own Python."""
    python = os.environ.get("RSTMDB_PEER_PYTHON")
    if python is None:
        return
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    subprocess.run([python, __file__, "peer", url], env=environment, check=True)


def open_ms(folder: Path) -> float:
    """From the opening of a directory that is not there to the first answer."""
    start = time.perf_counter()
    db = rstmdb.sync.open(folder / "empty")
    db.ping()
    took = time.perf_counter() - start
    db.close()
    return took * 1000


async def open_ms_async(folder: Path) -> float:
    start = time.perf_counter()
    db = await rstmdb.open(folder / "empty")
    await db.ping()
    took = time.perf_counter() - start
    await db.close()
    return took * 1000


def import_ms(folder: Path) -> float:
    """What `import rstmdb` takes in a new interpreter, beyond what it has imported by itself."""
    code = "import time; t = time.perf_counter(); import rstmdb; print(time.perf_counter() - t)"
    times = []
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=folder
        )
        times.append(float(done.stdout))
    return min(times) * 1000


def main() -> None:
    mode = sys.argv[1] if len(sys.argv) > 1 else "sync"
    if mode == "peer":
        asyncio.run(on_server(sys.argv[2], f"peer-{uuid.uuid4()}"))
        return
    with tempfile.TemporaryDirectory(dir=os.environ.get("RSTMDB_BENCH_DIR")) as name:
        folder = Path(name)
        if mode == "sync":
            show("open_ms", open_ms(folder), "ms")
            show("import_ms", import_ms(folder), "ms")
            blocking("mem:")
            guarded("guarded_never", folder, fsync="never")
            sqlite("sqlite_normal", folder, "NORMAL")
            guarded("guarded_durable", folder)
            sqlite("sqlite_full", folder, "FULL")
            return
        show("open_ms", asyncio.run(open_ms_async(folder)), "ms")
        asyncio.run(asynchronous(folder))
    url = os.environ.get("RSTMDB_URL")
    if url:
        asyncio.run(on_server(url, f"ours-{uuid.uuid4()}"))
        peer(url)


if __name__ == "__main__":
    main()
