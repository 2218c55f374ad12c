"""Idempotency keys: a retry gets the first answer. In memory, or in the directory given."""

from __future__ import annotations

import sys
import uuid

import rstmdb
import rstmdb.sync


def withdraw(db: rstmdb.sync.Database, account: str, request_id: str) -> int:
    """May be called again and again with the same id: the money is gone once."""
    while True:
        try:
            result = db.apply_event(
                account, "WITHDRAW", {"last": request_id}, idempotency_key=request_id
            )
        except rstmdb.RstmdbError as error:
            if error.retryable:
                continue
            raise
        print(f"{'done' if result.applied else 'was done already'} at offset {result.wal_offset}")
        return result.wal_offset


def main() -> None:
    with rstmdb.sync.open(sys.argv[1] if len(sys.argv) > 1 else "mem:") as db:
        db.put_machine(
            "withdrawals",
            1,
            {
                "states": ["open"],
                "initial": "open",
                "transitions": [{"from": "open", "event": "WITHDRAW", "to": "open"}],
            },
        )
        account = db.create_instance("withdrawals", 1).instance_id
        request = str(uuid.uuid4())
        first = withdraw(db, account, request)
        assert withdraw(db, account, request) == first
        print(f"{len(db.history(account)) - 1} withdrawal")


if __name__ == "__main__":
    main()
