"""`Client`, as the users of the client published as rstmdb 0.2.1 know it."""

from __future__ import annotations

import asyncio
import importlib
import pickle
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ORDER, Server

import rstmdb
from rstmdb import Client


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that wants a token."""
    folder = tmp_path_factory.mktemp("secured")
    running = Server(
        folder / "data",
        "--set",
        "auth.required=true",
        "--set",
        # SHA-256 of "my-secret-token".
        "auth.token_hashes=ea5add57437cbf20af59034d7ed17968dcc56767b41965fcc5b376d45db8b4a3",
    )
    yield running
    running.stop()


async def test_everything_it_offers_works(server: Server) -> None:
    async with Client("127.0.0.1", server.port) as client:
        assert client.is_connected
        assert await client.ping() is True
        assert (await client.info())["server_name"] == "rstmdb"
        put = await client.put_machine("client", 1, ORDER)
        assert isinstance(put, rstmdb.PutMachineResult)
        assert put.created
        found = await client.get_machine("client", 1)
        assert found.definition["initial"] == "created"
        assert {"machine": "client", "versions": [1]} in await client.list_machines()
        made = await client.create_instance("client", 1, "c-1", {"total": 5}, "key-1")
        assert (made.instance_id, made.state) == ("c-1", "created")
        subscription = await client.watch_all(machines=["client"])
        assert isinstance(subscription, rstmdb.WatchAllResult)
        one = await client.watch_instance("c-1", include_ctx=False)
        assert one.current_state == "created"
        result = await client.apply_event("c-1", "PAY", {"amount": 99.99}, "created")
        assert isinstance(result, rstmdb.ApplyEventResult)
        assert (result.from_state, result.to_state) == ("created", "paid")
        assert result.ctx == {"total": 5, "amount": 99.99}
        seen = {}
        async for event in client.events():
            assert isinstance(event, rstmdb.StreamEvent)
            assert (event.event, event.from_state, event.to_state) == ("PAY", "created", "paid")
            seen[event.subscription_id] = event.ctx
            if len(seen) == 2:
                break
        assert seen == {subscription.subscription_id: result.ctx, one.subscription_id: None}
        assert (await client.unwatch(subscription.subscription_id)).removed
        assert not (await client.unwatch("nope")).removed
        instance = await client.get_instance("c-1")
        assert (instance.state, instance.last_wal_offset) == ("paid", result.wal_offset)
        page = await client.list_instances(machine="client", state="paid", limit=1)
        assert [row.id for row in page.instances] == ["c-1"]
        assert isinstance(page.instances[0].created_at, int)
        assert (await client.delete_instance("c-1"))["deleted"] is True
        assert (await client.wal_read(0, limit=2))["records"][0]["offset"] == 1
        assert (await client.wal_stats()).io_stats.writes > 0
        assert "segments_deleted" in await client.compact(force_snapshot=True)
        with pytest.raises(rstmdb.ServerError):
            await client.flush_all()
        await client.reconnect()
        assert await client.ping()
    assert not client.is_connected
    with pytest.raises(rstmdb.ConnectionError):
        await client.ping()


async def test_a_watch_is_a_stream_too(server: Server) -> None:
    async with Client(port=server.port) as client:
        await client.put_machine("stream", 1, ORDER)
        await client.create_instance("stream", 1, "s-1", {"total": 1})
        async with client.watch_all(machines=["stream"], to_states=["paid"]) as stream:
            await client.apply_event("s-1", "PAY")
            async for event in stream.events():
                assert event.instance_id == "s-1"
                break
        # It is a coroutine, as it was: tasks can be made of it.
        task: asyncio.Task[Any] = asyncio.create_task(client.watch_all())
        assert (await task).wal_offset > 0


async def test_errors_are_those_that_were_raised(server: Server) -> None:
    async with Client(port=server.port) as client:
        with pytest.raises(rstmdb.ServerError) as caught:
            await client.get_instance("nope")
        assert caught.value.code is rstmdb.ErrorCode.INSTANCE_NOT_FOUND
        assert caught.value.code == "INSTANCE_NOT_FOUND"
        assert caught.value.message == 'instance "nope" not found'
        assert isinstance(caught.value, rstmdb.RstmdbError)
    with pytest.raises(rstmdb.ConnectionError):
        await Client(port=1, connect_timeout=0.5).connect()


async def test_a_bare_connection_works(server: Server) -> None:
    connection = rstmdb.Connection("127.0.0.1", server.port)
    with pytest.raises(rstmdb.ConnectionError):
        await connection.request(rstmdb.Operation.PING, {})
    await connection.connect()
    assert connection.is_connected
    answer = await connection.request(rstmdb.Operation.PING, {})
    assert answer.status == "ok"
    missing = await connection.request(rstmdb.Operation.GET_INSTANCE, {"instance_id": "nope"})
    assert missing.error is not None
    assert missing.error.code is rstmdb.ErrorCode.INSTANCE_NOT_FOUND
    await connection.request(
        rstmdb.Operation.PUT_MACHINE, {"machine": "bare", "version": 1, "definition": ORDER}
    )
    await connection.request(rstmdb.Operation.WATCH_ALL, {"machines": ["bare"]})
    for op, params in [
        (
            rstmdb.Operation.CREATE_INSTANCE,
            {"machine": "bare", "version": 1, "instance_id": "b-1", "initial_ctx": {"total": 1}},
        ),
        (rstmdb.Operation.APPLY_EVENT, {"instance_id": "b-1", "event": "PAY"}),
    ]:
        assert (await connection.request(op, params)).status == "ok"
    async for event in connection.events():
        assert (event.instance_id, event.to_state) == ("b-1", "paid")
        break
    await connection.close()
    assert not connection.is_connected


def test_frames_are_read_as_they_are_written() -> None:
    frame = rstmdb.Frame(b"payload", header_extension=b"more").encode()
    assert rstmdb.Frame.decode(frame[:-1]) == (None, frame[:-1])
    decoded, rest = rstmdb.Frame.decode(frame + b"next")
    assert decoded is not None
    assert (decoded.payload, decoded.header_extension, rest) == (b"payload", b"more", b"next")
    with pytest.raises(rstmdb.ProtocolError, match="CRC"):
        rstmdb.Frame.decode(frame[:-1] + b"?")
    with pytest.raises(rstmdb.ProtocolError, match="magic"):
        rstmdb.Frame.decode(b"HTTP" + frame[4:])


def test_models_work_without_pydantic(monkeypatch: pytest.MonkeyPatch) -> None:
    import rstmdb.models

    data = {
        "instances": [
            {
                "id": "i",
                "machine": "m",
                "version": 1,
                "state": "s",
                "created_at": 1,
                "updated_at": 2,
                "last_wal_offset": 3,
                "unknown": 1,
            }
        ],
        "total": 1,
        "has_more": False,
    }
    with_pydantic = rstmdb.models.ListInstancesResult.model_validate(data).model_dump()
    monkeypatch.setitem(sys.modules, "pydantic", None)
    monkeypatch.delitem(sys.modules, "rstmdb.models")
    models = importlib.import_module("rstmdb.models")
    plain = models.ListInstancesResult.model_validate(data)
    assert plain.model_dump() == with_pydantic
    assert plain.instances[0].id == "i"
    assert plain == models.ListInstancesResult.model_validate_json(plain.model_dump_json())
    assert plain.model_copy(update={"total": 5}).total == 5
    assert models.Request(id="1", op="PING").op is models.Operation.PING
    with pytest.raises(ValueError, match="missing checksum"):
        models.GetMachineResult(definition={})


# The examples of the published package's README, which is MIT, as they stand there.
QUICK_START = """
import asyncio
from rstmdb import Client

async def main():
    async with Client("127.0.0.1", 7401, token="my-secret-token") as client:
        # Create machine
        await client.put_machine("order", 1, {
            "states": ["created", "paid", "shipped"],
            "initial": "created",
            "transitions": [
                {"from": "created", "event": "PAY", "to": "paid"},
                {"from": "paid", "event": "SHIP", "to": "shipped"},
            ]
        })

        # Create instance
        result = await client.create_instance("order", 1, "order-001")
        print(f"Created: {result.instance_id} in state {result.state}")

        # Apply event
        result = await client.apply_event("order-001", "PAY", {"amount": 99.99})
        print(f"Transition: {result.from_state} -> {result.to_state}")

asyncio.run(main())
"""
WATCH = """
import asyncio
from rstmdb import Client

async def main():
    async with Client("127.0.0.1", 7401, token="my-secret-token") as client:
        # Start watching
        sub = await client.watch_all(machines=["order"], to_states=["shipped"])
        print(f"Subscription: {sub.subscription_id}")

        # Process events
        async for event in client.events():
            print(f"Event: {event.instance_id} {event.from_state} -> {event.to_state}")

asyncio.run(main())
"""


def test_its_documented_examples_run(secured: Server, capsys: pytest.CaptureFixture[str]) -> None:
    exec(QUICK_START.replace("7401", str(secured.port)), {})
    assert capsys.readouterr().out == (
        "Created: order-001 in state created\nTransition: created -> paid\n"
    )
    # The other one never ends by itself: it is cancelled when it has seen its event.
    code = WATCH.replace("7401", str(secured.port)).replace("asyncio.run(main())", "")
    names: dict[str, Any] = {}
    exec(code, names)

    async def drive() -> None:
        shown = asyncio.Event()
        lines: list[str] = []
        names["print"] = lambda line: (lines.append(line), shown.set())
        task = asyncio.create_task(names["main"]())
        await shown.wait()
        shown.clear()
        async with Client("127.0.0.1", secured.port, token="my-secret-token") as client:
            await client.apply_event("order-001", "SHIP")
        await shown.wait()
        task.cancel()
        await asyncio.wait([task])
        assert re.match("Subscription: .", lines[0])
        assert lines[1:] == ["Event: order-001 paid -> shipped"]

    asyncio.run(drive())


async def test_a_wrong_token_is_refused(secured: Server) -> None:
    with pytest.raises(rstmdb.ServerError) as caught:
        async with Client("127.0.0.1", secured.port, token="wrong") as client:
            await client.ping()
    assert caught.value.kind == "unauthorized"


def test_certificates_are_options(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"ca\.pem"):
        Client("h", tls=True, ca_cert=str(tmp_path / "ca.pem"), insecure=False)
    (tmp_path / "ca.pem").write_text("no certificate")
    client = Client("h", tls=True, ca_cert=str(tmp_path / "ca.pem"), insecure=False)
    with pytest.raises(rstmdb.RstmdbError, match=r"ca\.pem"):
        asyncio.run(client.connect())
    assert rstmdb.create_ssl_context(insecure=True).verify_mode.name == "CERT_NONE"


async def test_keys_become_text_as_json_makes_them(server: Server) -> None:
    async with Client(port=server.port) as client:
        await client.put_machine("keys", 1, ORDER)
        given: Any = {1: {True: [{None: 2}]}, 1.5: "x"}
        made = await client.create_instance("keys", 1, initial_ctx=given)
        found = await client.get_instance(made.instance_id)
        assert found.ctx == {"1": {"true": [{"null": 2}]}, "1.5": "x"}


def test_an_error_without_an_answer_has_no_code() -> None:
    error = rstmdb.ConnectionError("Not connected to server")
    assert error.code is None
    assert repr(error) == "ConnectionError('Not connected to server')"
    assert str(pickle.loads(pickle.dumps(error))) == "Not connected to server"


class Between:
    """A way to a server that can be cut, and opened again at the same port."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.port = 0
        self.connections: list[asyncio.StreamWriter] = []
        self.tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self.listener = await asyncio.start_server(self.join, "127.0.0.1", self.port)
        self.port = self.listener.sockets[0].getsockname()[1]

    async def join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        self.connections += [writer, far_writer]
        for start, end in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self.copy(start, end))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def copy(self, start: asyncio.StreamReader, end: asyncio.StreamWriter) -> None:
        try:
            while data := await start.read(65536):
                end.write(data)
        except OSError:
            pass
        end.close()

    async def cut(self) -> None:
        self.listener.close()
        for connection in self.connections:
            connection.close()
        self.connections.clear()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def test_events_end_when_the_server_is_gone(server: Server) -> None:
    between = Between(server.port)
    await between.open()
    async with Client(port=between.port) as client:
        await client.put_machine("gone", 1, ORDER)
        await client.create_instance("gone", 1, "gone", {"total": 1})
        await client.watch_all(machines=["gone"])
        await client.apply_event("gone", "PAY")
        seen = []
        async for event in client.events():
            seen.append(event.event)
            await between.cut()
        assert seen == ["PAY"]
        assert not client.is_connected
        assert [event async for event in client.events()] == []
        with pytest.raises(rstmdb.ConnectionError):
            await client.ping()
        assert not client.is_connected


async def test_connecting_again_is_told(server: Server) -> None:
    between = Between(server.port)
    await between.open()
    told = asyncio.Event()
    client = Client(
        port=between.port,
        auto_reconnect=True,
        reconnect_base_delay=0.01,
        reconnect_max_delay=0.05,
        on_reconnect=told.set,
    )
    async with client:
        name = "again"
        await client.put_machine(name, 1, ORDER)
        await client.create_instance(name, 1, name, {"total": 1})
        await client.watch_all(machines=[name])
        events = client.events()
        await between.cut()
        request = asyncio.create_task(client.get_instance(name))
        while client.is_connected:  # noqa: ASYNC110 - there is nothing else to wait for
            await asyncio.sleep(0)
        await between.open()
        await told.wait()
        assert client.is_connected
        assert (await request).state == "created"
        # As there, watches are begun anew by who is told; each event comes once.
        again = await client.watch_all(machines=[name])
        await client.apply_event(name, "PAY")
        await client.apply_event(name, "SHIP")
        found = [await events.__anext__() for _ in range(2)]
        assert [event.event for event in found] == ["PAY", "SHIP"]
        assert {event.subscription_id for event in found} == {again.subscription_id}
        await between.cut()
    await between.cut()


async def test_trying_again_has_an_end(server: Server) -> None:
    between = Between(server.port)
    await between.open()
    client = Client(
        port=between.port,
        auto_reconnect=True,
        max_reconnect_attempts=2,
        reconnect_base_delay=0.01,
        reconnect_max_delay=0.01,
    )
    async with client:
        await client.watch_all()
        events = client.events()
        await between.cut()
        with pytest.raises(rstmdb.ConnectionError, match="after 2 attempts"):
            await client.ping()
        assert [event async for event in events] == []
