"""Define, create, apply, read, be refused. In memory, or in the directory given as an argument."""

from __future__ import annotations

import sys

import rstmdb
import rstmdb.sync

ORDER = {
    "states": ["created", "paid", "shipped", "delivered", "cancelled"],
    "initial": "created",
    "transitions": [
        {"from": "created", "event": "PAY", "to": "paid", "guard": "ctx.total > 0"},
        {"from": "paid", "event": "SHIP", "to": "shipped"},
        {"from": "shipped", "event": "DELIVER", "to": "delivered"},
        {"from": "created", "event": "CANCEL", "to": "cancelled"},
    ],
}


def main() -> None:
    with rstmdb.sync.open(sys.argv[1] if len(sys.argv) > 1 else "mem:") as db:
        db.put_machine("order", 1, ORDER)
        order = db.create_instance("order", 1, initial_ctx={"total": 40})
        paid = db.apply_event(order.instance_id, "PAY", {"method": "card"})
        print(f"{paid.from_state} -> {paid.to_state}, context {paid.ctx}")
        try:
            db.apply_event(order.instance_id, "CANCEL")
        except rstmdb.RejectedError as error:
            print(f"refused with {error.code}: {error.context['accepted_events']} would do")
        for event in db.history(order.instance_id, order="oldest"):
            print(f"{event.wal_offset}  {event.kind:8} {event.event or ''}")


if __name__ == "__main__":
    main()
