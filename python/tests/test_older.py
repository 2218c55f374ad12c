"""A server of 0.3.0: what it tells is there, and nothing is made up for what it does not."""

from __future__ import annotations

import rstmdb
from rstmdb import sync, types


def told(info: types.InfoResult, instance: types.GetInstanceResult) -> None:
    assert info.server_version == "0.3.0"
    assert info.limits.batch_operations_max == 100
    assert (info.limits.states_max, info.database_id, info.health) == (None, None, None)
    assert (info.writable, info.instances, info.machines, info.latest_offset) == (None,) * 4
    assert info.to_dict()["limits"] == {"batch_operations_max": 100}
    assert (instance.state, instance.ctx) == ("s", {"n": 1})
    assert (instance.created_at, instance.created_at_ms, instance.updated_at) == (None,) * 3
    assert "created_at" not in instance.to_dict()
    assert "1970" not in repr(instance)
    assert types.GetInstanceResult.from_json(instance.to_json()) == instance


def test_what_an_older_server_tells_is_there_and_the_rest_is_none(older_url: str) -> None:
    with sync.open(older_url) as db:
        told(db.info(), db.get_instance("a"))
        stats = db.wal_stats()
        assert (stats.latest_offset, stats.first_offset) == (2**40 + 100, None)
        assert db.wal_read(1)[0].timestamp is None
        page = db.list_instances()
        assert (page.total, page[0].created_at_ms) == (3, 1_700_000_000_000)
        with db.watch_all() as watch:
            event = next(iter(watch))
        assert (event.to_state, event.timestamp, event.timestamp_ms) == ("t", None, None)


async def test_an_older_server_with_asyncio(older_url: str) -> None:
    async with rstmdb.open(older_url) as db:
        told(await db.info(), await db.get_instance("a"))
