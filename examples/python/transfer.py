"""An atomic batch over two instances: both change, or neither. In memory, or in the directory given."""

from __future__ import annotations

import sys

import rstmdb
import rstmdb.sync
from rstmdb import ApplyEvent, CreateInstance


def main() -> None:
    with rstmdb.sync.open(sys.argv[1] if len(sys.argv) > 1 else "mem:") as db:
        db.put_machine(
            "seat",
            1,
            {
                "states": ["free", "taken"],
                "initial": "free",
                "transitions": [
                    {"from": "free", "event": "TAKE", "to": "taken"},
                    {"from": "taken", "event": "LEAVE", "to": "free"},
                ],
            },
        )
        # Their ids are random, or of your own.
        made = db.batch([CreateInstance("seat", 1) for _ in range(3)], mode="atomic")
        aisle, window, middle = (outcome.result.instance_id for outcome in made)
        db.apply_event(aisle, "TAKE")

        change = [ApplyEvent(aisle, "LEAVE"), ApplyEvent(window, "TAKE")]
        print([outcome.status for outcome in db.batch(change, mode="atomic")])

        # The window is taken by now, so nobody leaves the middle for it.
        db.apply_event(middle, "TAKE")
        change = [ApplyEvent(middle, "LEAVE"), ApplyEvent(window, "TAKE")]
        try:
            db.batch(change, mode="atomic")
        except rstmdb.RejectedError as error:
            print(f"refused: {error}")
        seats = {"aisle": aisle, "window": window, "middle": middle}
        print({name: db.get_instance(seat).state for name, seat in seats.items()})


if __name__ == "__main__":
    main()
