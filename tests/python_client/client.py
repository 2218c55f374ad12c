"""What a user of the published client 0.2.1 does, one function for each kind of server.

Arguments: scenario host port [name=value ...]. Prints the names of the parts that passed.
"""

import asyncio
import sys

import rstmdb
from rstmdb import Client, ConnectionError, ErrorCode, Operation, RstmdbError, ServerError

ORDER = {
    "states": ["created", "paid", "shipped"],
    "initial": "created",
    "transitions": [
        {"from": "created", "event": "PAY", "to": "paid"},
        {"from": ["paid"], "event": "SHIP", "to": "shipped", "guard": "ctx.amount >= 10"},
    ],
    "meta": {"owner": "grün"},
}


async def fails(code, awaitable):
    """The call must fail with this code."""
    try:
        result = await awaitable
    except ServerError as error:
        assert error.code == code, f"{error.code} instead of {code}"
        assert error.message
        return error
    raise AssertionError(f"{result} instead of {code}")


async def machines(client):
    assert await client.ping()
    info = await client.info()
    assert info["protocol_version"] == 1 and info["max_batch_ops"] == 100, info
    put = await client.put_machine("order", 1, ORDER)
    assert put.created and put.machine == "order" and len(put.stored_checksum) == 8
    again = await client.put_machine("order", 1, ORDER)
    assert not again.created and again.stored_checksum == put.stored_checksum
    got = await client.get_machine("order", 1)
    assert got.definition["meta"] == {"owner": "grün"} and got.checksum == put.stored_checksum
    assert got.definition["transitions"][0]["from"] == ["created"]
    assert await client.list_machines() == [{"machine": "order", "versions": [1]}]
    other = dict(ORDER, initial="paid")
    await fails(ErrorCode.MACHINE_VERSION_EXISTS, client.put_machine("order", 1, other))
    await fails(ErrorCode.MACHINE_NOT_FOUND, client.get_machine("order", 9))
    broken = dict(ORDER, initial="nowhere")
    await fails(ErrorCode.BAD_REQUEST, client.put_machine("broken", 1, broken))


async def instances(client):
    made = await client.create_instance("order", 1, "o-1", {"customer": "Zoë"})
    assert made.instance_id == "o-1" and made.state == "created" and made.wal_offset > 0
    nameless = await client.create_instance("order", 1)
    assert len(nameless.instance_id) == 36
    bare = await client.get_instance(nameless.instance_id)
    assert bare.ctx == {}, bare
    keyed = await client.create_instance("order", 1, "o-2", idempotency_key="k")
    assert await client.create_instance("order", 1, "o-2", idempotency_key="k") == keyed
    await fails(ErrorCode.INSTANCE_EXISTS, client.create_instance("order", 1, "o-1"))
    await fails(ErrorCode.MACHINE_NOT_FOUND, client.create_instance("nothing", 1, "o-3"))
    await fails(ErrorCode.INSTANCE_NOT_FOUND, client.get_instance("o-9"))

    paid = await client.apply_event("o-1", "PAY", {"amount": 99.5}, "created", "pay-1")
    assert (paid.from_state, paid.to_state, paid.applied) == ("created", "paid", True)
    assert paid.ctx == {"customer": "Zoë", "amount": 99.5}
    replay = await client.apply_event("o-1", "PAY", {"amount": 99.5}, "created", "pay-1")
    assert replay.wal_offset == paid.wal_offset and replay.to_state == "paid"
    got = await client.get_instance("o-1")
    assert (got.state, got.ctx, got.last_wal_offset) == ("paid", paid.ctx, paid.wal_offset)
    await fails(ErrorCode.CONFLICT, client.apply_event("o-1", "SHIP", expected_state="created"))
    await fails(ErrorCode.INVALID_TRANSITION, client.apply_event("o-1", "PAY"))
    await client.apply_event("o-2", "PAY", {"amount": 1})
    await fails(ErrorCode.GUARD_FAILED, client.apply_event("o-2", "SHIP"))
    assert (await client.apply_event("o-1", "SHIP")).to_state == "shipped"

    page = await client.list_instances()
    assert page.total == 3 and not page.has_more
    assert all(one.created_at > 1_600_000_000_000 for one in page.instances)
    page = await client.list_instances(machine="order", state="paid")
    assert [one.id for one in page.instances] == ["o-2"]
    page = await client.list_instances(limit=1, offset=1)
    assert len(page.instances) == 1 and page.total == 3 and page.has_more
    assert (await client.delete_instance("o-2"))["deleted"] is True
    await fails(ErrorCode.INSTANCE_NOT_FOUND, client.get_instance("o-2"))
    await fails(ErrorCode.INSTANCE_NOT_FOUND, client.delete_instance("o-9"))


async def watches(client, second):
    await client.create_instance("order", 1, "w-1", {"amount": 20})
    everything = await client.watch_all(machines=["order"], to_states=["paid", "shipped"])
    one = await client.watch_instance("w-1", include_ctx=False)
    assert (one.instance_id, one.current_state) == ("w-1", "created")
    await second.apply_event("w-1", "PAY", {"by": "card"})
    await second.apply_event("w-1", "SHIP")
    # Both subscriptions see both, in order.
    seen = {everything.subscription_id: [], one.subscription_id: []}
    async for event in client.events():
        seen[event.subscription_id].append(event)
        if all(len(events) == 2 for events in seen.values()):
            break
    for events in seen.values():
        assert [event.event for event in events] == ["PAY", "SHIP"]
        assert events[0].payload == {"by": "card"} and events[1].payload is None
        assert events[0].wal_offset < events[1].wal_offset
    assert seen[everything.subscription_id][0].ctx == {"amount": 20, "by": "card"}
    assert seen[one.subscription_id][0].ctx is None
    assert (await client.unwatch(one.subscription_id)).removed
    assert not (await client.unwatch(one.subscription_id)).removed
    assert (await client.unwatch(everything.subscription_id)).removed
    await fails(ErrorCode.INSTANCE_NOT_FOUND, client.watch_instance("nobody"))


async def batches(client):
    def ops(*elements):
        return [{"op": op, "params": params} for op, params in elements]

    create = ("CREATE_INSTANCE", {"instance_id": "b-1", "machine": "order", "version": 1})
    pay = ("APPLY_EVENT", {"instance_id": "b-1", "event": "PAY", "payload": {"amount": 5}})
    nobody = ("GET_INSTANCE", {"instance_id": "nobody"})
    wanted = {"ops": ops(create, pay, nobody, ("GET_INSTANCE", {"instance_id": "b-1"}))}
    response = await client._conn.request(Operation.BATCH, wanted)
    assert response.status == "ok", response
    statuses = [element["status"] for element in response.result["results"]]
    assert statuses == ["ok", "ok", "error", "ok"]
    assert response.result["results"][3]["result"]["state"] == "paid"
    failing = {"mode": "atomic", "ops": ops(("DELETE_INSTANCE", {"instance_id": "b-1"}), pay)}
    response = await client._conn.request(Operation.BATCH, failing)
    assert response.status == "error"
    assert (await client.get_instance("b-1")).state == "paid", "nothing of it happened"


async def storage(client):
    stats = await client.wal_stats()
    assert stats.entry_count > 0 and stats.latest_offset > 0 and stats.io_stats.writes > 0
    first = await client.wal_read(0, 2)
    assert len(first["records"]) == 2
    rest = await client.wal_read(first["next_offset"])
    assert rest["records"][0]["offset"] >= first["next_offset"]
    assert "segments_deleted" in await client.compact(True)
    await fails(ErrorCode.BAD_REQUEST, client.flush_all())


async def many(client):
    """Concurrent calls on one connection, and a large context."""
    await asyncio.gather(*(client.create_instance("order", 1, f"m-{n}") for n in range(300)))
    pays = (client.apply_event(f"m-{n}", "PAY", {"amount": n}) for n in range(300))
    results = await asyncio.gather(*pays)
    assert [result.ctx["amount"] for result in results] == list(range(300))
    await client.create_instance("order", 1, "large", {"text": "ü" * 100_000})
    assert len((await client.get_instance("large")).ctx["text"]) == 100_000


async def plain(host, port, options):
    async with Client(host, port) as client, Client(host, port) as second:
        for part in [machines, instances, batches, storage, many]:
            await part(client)
            print(part.__name__)
        await watches(client, second)
        print("watches")


async def token(host, port, options):
    async with Client(host, port, token=options["token"]) as client:
        assert (await client.put_machine("order", 1, ORDER)).created
        assert (await client.watch_all()).subscription_id
    for wrong in ["wrong", "grün"]:
        try:
            await Client(host, port, token=wrong).connect()
        except RstmdbError as error:
            assert options["token"] not in str(error)
        else:
            raise AssertionError("a wrong token was taken")
    async with Client(host, port) as client:
        assert await client.ping()
        await fails(ErrorCode.UNAUTHORIZED, client.info())
        await fails(ErrorCode.UNAUTHORIZED, client.watch_all())
    print("token")


async def tls(host, port, options):
    with_ca = {"tls": True, "ca_cert": options["ca"]}
    own = {"client_cert": options["cert"], "client_key": options["key"]}
    async with Client(host, port, **with_ca, **own) as client:
        assert (await client.put_machine("order", 1, ORDER)).created
    async with Client(host, port, tls=True, insecure=True, **own) as client:
        assert await client.ping()
    # Without a certificate of its own, without the authority, and without TLS.
    for refused in [with_ca, {"tls": True, **own}, {"connect_timeout": 3.0, "request_timeout": 3.0}]:
        try:
            async with Client(host, port, **refused) as client:
                await client.ping()
        except (RstmdbError, OSError, asyncio.TimeoutError):
            continue
        raise AssertionError(f"served with {refused}")
    print("tls")


async def restart(host, port, options):
    """Notices the server's end, which the caller brings about."""
    client = Client(host, port, request_timeout=5.0)
    await client.connect()
    await client.watch_all()
    print("connected", flush=True)
    # The stream of events of this client does not end by itself; its reader does.
    await client._conn._read_task
    assert not client.is_connected
    try:
        await client.ping()
    except (ConnectionError, OSError):
        print("restart")


def main():
    assert rstmdb.__version__ == "0.2.1", rstmdb.__version__
    scenario, host, port, *options = sys.argv[1:]
    known = {function.__name__: function for function in [plain, token, tls, restart]}
    asyncio.run(known[scenario](host, int(port), dict(option.split("=", 1) for option in options)))


main()
