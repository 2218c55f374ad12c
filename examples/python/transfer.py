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
        db.batch([CreateInstance("seat", 1, name) for name in ("1a", "1b", "2a")], mode="atomic")
        db.apply_event("1a", "TAKE")

        change = [ApplyEvent("1a", "LEAVE"), ApplyEvent("1b", "TAKE")]
        print([outcome.status for outcome in db.batch(change, mode="atomic")])

        # 1b is taken by now, so nobody leaves 2a for it.
        db.apply_event("2a", "TAKE")
        change = [ApplyEvent("2a", "LEAVE"), ApplyEvent("1b", "TAKE")]
        try:
            db.batch(change, mode="atomic")
        except rstmdb.RejectedError as error:
            print(f"refused: {error}")
        print({row.id: row.state for row in db.list_instances(machine="seat")})


if __name__ == "__main__":
    main()
