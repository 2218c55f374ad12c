"""Follow events, stop, and resume where it stopped. In memory, or in the directory given."""

from __future__ import annotations

import asyncio
import sys

import rstmdb


async def main() -> None:
    async with rstmdb.open(sys.argv[1] if len(sys.argv) > 1 else "mem:") as db:
        await db.put_machine(
            "lamp",
            1,
            {
                "states": ["off", "on"],
                "initial": "off",
                "transitions": [
                    {"from": "off", "event": "PRESS", "to": "on"},
                    {"from": "on", "event": "PRESS", "to": "off"},
                ],
            },
        )
        lamp = (await db.create_instance("lamp", 1)).instance_id

        async with db.watch_instance(lamp) as events:
            await db.apply_event(lamp, "PRESS")
            first = await events.next()
            assert first is not None  # it would be, had the watch ended
            print(f"live: {first.from_state} -> {first.to_state}")
            # A number alone would be taken for the same place in a copy that was put back.
            seen_until, history = events.resume_offset, events.history_id

        # Nobody watches now.
        await db.apply_event(lamp, "PRESS")
        await db.apply_event(lamp, "PRESS")

        async with db.watch_instance(lamp, from_offset=seen_until, history_id=history) as events:
            for _ in range(2):
                event = await events.next()
                assert event is not None
                print(f"resumed: {event.from_state} -> {event.to_state}")


if __name__ == "__main__":
    asyncio.run(main())
