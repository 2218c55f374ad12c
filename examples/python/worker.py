"""A worker that ships what is paid, and goes on where it stopped, however it stopped.

    python worker.py rstmdb://127.0.0.1:7401 worker.offset

It keeps its place in a file: the offset to go on from, and the history that it was told in, so that
a server whose data was put back from a copy is an error and not a gap. An event that it was at when it
stopped comes again; shipping has a key made of the order and the offset, so it happens once.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import rstmdb


async def ship(db: rstmdb.Database, event: rstmdb.InstanceEvent) -> None:
    """The work; here, one more event."""
    key = f"ship-{event.instance_id}-{event.wal_offset}"
    try:
        await db.apply_event(event.instance_id, "SHIP", {"carrier": "ACME"}, idempotency_key=key)
        print(f"shipped {event.instance_id}", flush=True)
    except (rstmdb.RejectedError, rstmdb.NotFoundError) as error:
        # Shipped by somebody else meanwhile, or deleted, say: that is no fault of the worker.
        print(f"left {event.instance_id}: {error}", flush=True)


async def work(db: rstmdb.Database, kept: Path) -> None:
    offset, *history = kept.read_text().split() if kept.exists() else ["1"]
    async with db.watch_all(
        machines=["order"],
        to_states=["paid"],
        from_offset=int(offset),
        history_id=history[0] if history else None,
    ) as events:
        print(f"working from offset {offset}", flush=True)
        async for event in events:
            await ship(db, event)
            new = kept.with_suffix(".new")
            new.write_text(f"{event.wal_offset + 1} {event.history_id or ''}")
            # Whole or not at all, wherever the process ends.
            new.replace(kept)


async def main() -> None:
    if len(sys.argv) != 3:
        sys.exit("usage: worker.py URL PLACE-FILE")
    _, url, place = sys.argv
    async with rstmdb.open(url) as db:
        task = asyncio.ensure_future(work(db, Path(place)))
        for name in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(name, task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            print("stopped", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
