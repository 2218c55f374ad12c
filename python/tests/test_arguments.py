"""Arguments that do not fit are refused by their name, with what they should be."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import inspect
import json
import os
import re
import subprocess
import sys
import tracemalloc
import warnings
import weakref
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import CoroutineType
from typing import Any, NamedTuple

import pytest
from conftest import LOOP, ROOT

import rstmdb
from rstmdb import sync

SURFACE: dict[str, Any] = json.loads((ROOT / "tests/conformance/surface.json").read_text("utf-8"))
OPERATIONS = SURFACE["operations"]

# A value that fits, and those that do not, by the type in the table.
_INT: tuple[Any, list[Any]] = (1, ["1", -1, 1.5, True, {}, [1], object()])
FORMS: dict[str, tuple[Any, list[Any]]] = {
    "Text": ("x", [1, True, {}, [], 1.5, b"x", object(), "\ud800"]),
    "u32": (1, [*_INT[1], 2**32]),
    "u64": _INT,
    "usize": _INT,
    "Offset": _INT,
    "bool": (True, ["yes", 1, {}, []]),
    "Json": ({}, [object(), {1, 2}, b"x", {"a": {1: 2}}, float("nan")]),
    "Vec<Text>": ([], ["x", 1, {}, [1], ["x", {}]]),
    "Vec<BatchOperation>": ([], ["x", 1, {}, [1], [{"op": "NOPE"}]]),
    "BatchMode": ("atomic", ["all", 1, {}]),
    "HistoryOrder": ("newest", ["last", 1, {}]),
}


@pytest.mark.parametrize(
    "row", [row for row in OPERATIONS if row["request"]], ids=lambda r: r["name"]
)
def test_every_argument_of_every_operation_is_named(row: dict[str, Any]) -> None:
    fitting = {member["name"]: FORMS[member["type"]][0] for member in row["request"]}
    with sync.open("mem:") as db:
        for member in row["request"]:
            for value in FORMS[member["type"]][1]:
                with pytest.raises(rstmdb.ArgumentError) as caught:
                    getattr(db, row["name"])(**{**fitting, member["name"]: value})
                assert caught.value.message.startswith(member["name"]), (member, value)
                assert caught.value.context["path"].startswith(member["name"])


@pytest.mark.parametrize(
    "row", [row for row in OPERATIONS if row["request"]], ids=lambda r: r["name"]
)
def test_every_member_of_a_call_by_name_is_named(row: dict[str, Any]) -> None:
    if row["name"].startswith("watch_"):
        return
    fitting = {member["name"]: FORMS[member["type"]][0] for member in row["request"]}
    with sync.open("mem:") as db:
        for member in row["request"]:
            if member["type"] == "Json":
                continue
            for value in (
                v for v in FORMS[member["type"]][1] if isinstance(v, (int, list, dict, float))
            ):
                with pytest.raises(rstmdb.InvalidError) as caught:
                    db.call(row["name"], {**fitting, member["name"]: value})
                assert f" request: {member['name']}" in caught.value.message, caught.value
                assert caught.value.context["field"].startswith(member["name"])
                assert "column" not in caught.value.message


def test_a_batch_names_the_member_of_its_operation() -> None:
    with sync.open("mem:") as db:
        wrong = [{"op": "GET_INSTANCE", "params": {"instance_id": 7}}]
        with pytest.raises(
            rstmdb.ArgumentError, match=r"ops\[0\]: params\.instance_id must be a string"
        ):
            db.batch(wrong)
        with pytest.raises(rstmdb.ArgumentError, match=r"params\.event is missing"):
            db.batch([{"op": "APPLY_EVENT", "params": {"instance_id": "x"}}])
        with pytest.raises(rstmdb.ArgumentError, match="instance_id: expected str"):
            rstmdb.GetInstance(7)  # type: ignore[arg-type]


@dataclasses.dataclass
class Order:
    total: int


class Typed(NamedTuple):
    total: int


def test_objects_of_other_libraries_get_a_way_out() -> None:
    pydantic = pytest.importorskip("pydantic")
    model = pydantic.create_model("Model", total=(int, ...))(total=1)
    with sync.open("mem:") as db:
        db.put_machine("m", 1, LOOP)
        for value, way_out, plain in [
            (Order(1), "dataclasses.asdict(x)", dataclasses.asdict(Order(1))),
            (model, 'x.model_dump(mode="json")', model.model_dump(mode="json")),
        ]:
            for place in (value, {"deep": [value]}):
                with pytest.raises(rstmdb.ArgumentError) as caught:
                    db.create_instance("m", 1, "i", place)
                assert caught.value.message.startswith("initial_ctx")
                assert way_out in caught.value.message
            db.create_instance("m", 1, None, plain)
        with pytest.raises(rstmdb.ArgumentError, match="not its class"):
            db.create_instance("m", 1, "i", Order)


async def test_what_was_not_awaited_is_called_so() -> None:
    async def late() -> str:
        return "m"

    async with rstmdb.open("mem:") as db:
        await db.put_machine("m", 1, LOOP)
        forgotten = late()
        for call in (
            lambda: db.get_instance(forgotten),  # type: ignore[arg-type]
            lambda: db.create_instance("m", forgotten),  # type: ignore[arg-type]
            lambda: db.create_instance("m", 1, "i", forgotten),
            lambda: db.create_instance("m", 1, "i", {"deep": [forgotten]}),
            lambda: db.batch([forgotten]),  # type: ignore[list-item]
            lambda: db.apply_event("i", "GO", asyncio.get_running_loop().create_future()),
        ):
            with pytest.raises(rstmdb.ArgumentError, match="await it first"):
                await call()
        forgotten.close()
        opening: Any = rstmdb.open("mem:")
        with pytest.raises(
            AttributeError, match="Opening was not awaited, so there is no 'get_instance'"
        ):
            opening.get_instance("i")
        with pytest.raises(TypeError, match="not awaited: use `async with`"), opening:
            pass
        events: Any = db.watch_all()
        with pytest.raises(TypeError, match="not awaited: use `async for`"):
            next(iter(events))
        with pytest.raises(AttributeError, match="not awaited"):
            events.resume_offset  # noqa: B018
        with pytest.raises(TypeError, match="not awaited"), events["x"]:
            pass


@pytest.mark.skipif(sys.version_info < (3, 11), reason="calls are plain coroutines in Python 3.10")
async def test_a_call_that_was_not_awaited_says_so_wherever_it_is_used() -> None:
    async with rstmdb.open("mem:") as db:
        await db.put_machine("m", 1, LOOP)
        order: Any = db.machine("m", 1)
        calls: list[tuple[str, Callable[[], Any]]] = [
            ("Operations.create_instance", lambda: db.create_instance("m", 1)),
            ("Database.call", lambda: db.call("info")),
            ("MachineHandle.list", lambda: order.list()),
            ("MachineHandle.put", lambda: order.put(LOOP)),
            ("MachineHandle.definition", lambda: order.definition()),
            ("MachineHandle.create", lambda: order.create("i")),
        ]
        for name, begin in calls:
            uses: list[tuple[str, Callable[[Any], Any]]] = [
                ("so there is no 'state' yet: write `\\(await ...\\).state`", lambda it: it.state),
                ("so there is nothing in it yet", lambda it: it["state"]),
                ("so there is nothing to loop over yet", list),
                ("NotAwaited", lambda it: "x" in it),
                ("NotAwaited", len),
                ("NotAwaited", lambda it: it > 1),
                # It asks for the class, and gets what `inspect.iscoroutine` gets.
                ("type coroutine is not", json.dumps),
            ]
            for said, use in uses:
                # Python itself says which was never awaited, too.
                with warnings.catch_warnings(record=True) as told:
                    warnings.simplefilter("always")
                    message, text = _refusal(begin(), use)
                    gc.collect()
                assert text == f"<{name} was not awaited>"
                assert re.search(said, message)
                assert name in message or said in ("NotAwaited", "type coroutine is not")
                assert any(f"{name}' was never awaited" in str(each.message) for each in told)
        call = db.info()
        with pytest.raises(rstmdb.ArgumentError, match="await it first"):
            await db.create_instance("m", 1, "i", call)
        call.close()


async def test_a_call_is_a_coroutine_to_whoever_takes_one() -> None:
    async with rstmdb.open("mem:") as db:
        call = db.ping()
        assert inspect.isawaitable(call)
        assert inspect.iscoroutine(call)
        assert inspect.getcoroutinestate(call) == inspect.CORO_CREATED
        assert asyncio.iscoroutine(call)
        assert isinstance(call, CoroutineType)
        assert isinstance(call, Coroutine)
        assert (await call).pong
        with pytest.raises(RuntimeError, match="already awaited"):
            await call
        assert (await asyncio.create_task(db.ping(), name="x")).pong
        future = asyncio.ensure_future(db.ping())
        assert "Operations.ping" in repr(future)
        assert (await future).pong
        assert all(each.pong for each in await asyncio.gather(db.ping(), db.ping()))
        assert (await asyncio.wait_for(db.ping(), 60)).pong
        assert (await asyncio.shield(db.ping())).pong
        assert [(await each).pong for each in asyncio.as_completed([db.ping()])] == [True]
        if sys.version_info >= (3, 11):
            async with asyncio.TaskGroup() as group:
                task = group.create_task(db.ping())
            assert task.result().pong
        loop = asyncio.get_running_loop()
        elsewhere = await asyncio.to_thread(
            lambda: asyncio.run_coroutine_threadsafe(db.ping(), loop).result(60)
        )
        assert elsewhere.pong
        assert (await asyncio.to_thread(lambda: asyncio.run(_pong()))).pong
        # Being cancelled reaches it.
        await db.put_machine("m", 1, LOOP)
        async with db.watch_all() as events:
            waiting = asyncio.create_task(events.next())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        with pytest.raises(rstmdb.NotFoundError):
            await asyncio.create_task(db.get_instance("nobody"))


@pytest.mark.skipif(sys.version_info < (3, 11), reason="calls are plain coroutines in Python 3.10")
async def test_a_call_tells_how_far_it_has_come_as_coroutines_do(tmp_path: Path) -> None:
    async with rstmdb.open(tmp_path / "db") as db:
        await db.put_machine("m", 1, LOOP)
        call: Any = db.create_instance("m", 1, "i")
        assert call.cr_code.co_name == call.cr_frame.f_code.co_name == "create_instance"
        assert call.__qualname__ == "Operations.create_instance"
        assert not call.cr_running
        assert weakref.ref(call)() is call
        with pytest.raises(TypeError, match="just-started"):
            call.send("x")
        # It waits for the disk.
        waits_for = call.send(None)
        assert asyncio.isfuture(waits_for)
        assert inspect.getcoroutinestate(call) == inspect.CORO_SUSPENDED
        assert call.cr_await is not None
        assert call.cr_frame is not None
        await asyncio.wait([waits_for])
        with pytest.raises(StopIteration) as returned:
            call.send(None)
        assert returned.value.value.instance_id == "i"
        assert inspect.getcoroutinestate(call) == inspect.CORO_CLOSED
        assert call.cr_frame is None
        for again in (lambda: call.send(None), lambda: call.throw(ValueError("why"))):
            with pytest.raises(RuntimeError, match="already awaited"):
                again()
        call.close()
        # An error is raised into it, begun or not, and closing ends it: it is not begun any more.
        for end in (lambda it: it.throw(ValueError("why")), lambda it: it.close()):
            for steps in (0, 1):
                call = db.apply_event("i", "GO")
                for _ in range(steps):
                    call.send(None)
                with contextlib.suppress(ValueError):
                    end(call)
                with pytest.raises(RuntimeError, match="already awaited"):
                    await call
        with pytest.raises(TypeError):
            db.apply_event("i", "GO").throw(1)
        # Those that had begun are done; those that had not never were.
        events = (await db.history("i")).events
        assert [event.event for event in events] == ["GO", "GO", None]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="calls are plain coroutines in Python 3.10")
async def test_a_call_of_a_machines_handle_is_that_of_the_operation_under_its_name(
    tmp_path: Path,
) -> None:
    async with rstmdb.open(tmp_path / "db") as db:
        await db.put_machine("m", 1, LOOP)
        order = db.machine("m", 1)
        call: Any = order.create("i", {"n": 1}, idempotency_key="k")
        assert call.__qualname__ == "MachineHandle.create"
        assert call.cr_code is rstmdb.MachineHandle.create.__wrapped__.__code__  # type: ignore[attr-defined]
        shown = {"self": order, "instance_id": "i", "initial_ctx": {"n": 1}}
        shown |= {"initial_state": None, "idempotency_key": "k"}
        assert call.cr_frame.f_locals == shown
        # Nothing stands between it and the future that it waits for.
        waits_for = call.send(None)
        assert asyncio.isfuture(waits_for)
        assert type(call.cr_await) is type(iter(waits_for))
        await asyncio.wait([waits_for])
        with pytest.raises(StopIteration) as returned:
            call.send(None)
        assert returned.value.value.instance_id == "i"
        task = asyncio.create_task(order.apply("i", "GO"))
        assert "MachineHandle.apply" in repr(task)
        await task


async def test_a_machines_handle_calls_the_operations_of_its_database() -> None:
    came: list[object] = []

    class Noting(rstmdb.Database):
        async def apply_event(self, *arguments: Any, **named: Any) -> Any:
            came.append((arguments, {name: it for name, it in named.items() if it is not None}))
            return await super().apply_event(*arguments, **named)

        def get_instance(self, instance_id: str) -> Any:
            came.append(instance_id)
            return super().get_instance(instance_id)

    async with rstmdb.open("mem:") as db:
        await db.put_machine("m", 1, LOOP)
        order = Noting(db._handle, "mem:").machine("m", 1)
        await order.create("i")
        assert (await order.apply("i", "GO", {"n": 1}, event_id="e")).applied
        assert (await order.get("i")).ctx == {"n": 1}
        assert (await order.get(instance_id="i")).ctx == {"n": 1}
        assert came == [(("i", "GO", {"n": 1}), {"event_id": "e"}), "i", "i"]
        forgotten: Any = order.apply("i", "GO")
        with pytest.raises(AttributeError, match="apply_event was not awaited"):
            forgotten.state  # noqa: B018
        forgotten.close()
        with pytest.raises(TypeError, match="missing 1 required positional argument: 'event'"):
            await order.apply("i")  # type: ignore[call-arg]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="calls are plain coroutines in Python 3.10")
async def test_what_was_never_awaited_has_its_place() -> None:
    async with rstmdb.open("mem:") as db:
        await db.put_machine("m", 1, LOOP)
        depth = sys.get_coroutine_origin_tracking_depth()
        # What other tests left.
        gc.collect()
        for traced, origins in ((False, 0), (False, 8), (True, 0)):
            sys.set_coroutine_origin_tracking_depth(origins)
            if traced:
                tracemalloc.start(8)
            try:
                for name, forget in (
                    ("Operations.info", lambda: db.info()),
                    ("Operations.create_instance", lambda: db.create_instance("m", 1, "i")),
                    ("MachineHandle.create", lambda: db.machine("m", 1).create("i")),
                ):
                    with warnings.catch_warnings(record=True) as told:
                        warnings.simplefilter("always")
                        forget()
                        gc.collect()
                    (warning,) = told
                    assert warning.category is RuntimeWarning
                    assert f"'{name}' was never awaited" in str(warning.message)
                    if origins:
                        assert "Coroutine created at" in str(warning.message)
                        assert "test_arguments.py" in str(warning.message)
                    if traced:
                        made = tracemalloc.get_object_traceback(warning.source)
                        assert made is not None
                        assert any("test_arguments.py" in frame.filename for frame in made)
            finally:
                tracemalloc.stop()
                sys.set_coroutine_origin_tracking_depth(depth)
        # None of them was begun.
        assert not (await db.list_instances()).instances


ASKED = """
import sys, rstmdb
assert not {"inspect", "asyncio"} & set(sys.modules)
import asyncio, functools, inspect
from unittest.mock import AsyncMock, create_autospec, patch
asked = [rstmdb.Database.get_instance, rstmdb.Database.close, rstmdb.MachineHandle.create,
    rstmdb.Watch.next, rstmdb.Client.ping]
for method in asked:
    for function in (method, functools.partial(method, None), method.__get__(object())):
        assert inspect.iscoroutinefunction(function), function
        assert asyncio.iscoroutinefunction(function), function
    assert inspect.isfunction(method), method
    assert not inspect.isgeneratorfunction(method), method
    assert not inspect.isasyncgenfunction(method), method
    assert list(inspect.signature(method).parameters)[0] == "self", method
for function in (rstmdb.Database.watch_all, rstmdb.Database.machine, rstmdb.open):
    assert not inspect.iscoroutinefunction(function), function
for mock in (create_autospec(rstmdb.Database), create_autospec(rstmdb.Database, instance=True)):
    assert isinstance(mock.get_instance, AsyncMock), mock.get_instance
with patch.object(rstmdb.Database, "ping") as mock:
    assert isinstance(mock, AsyncMock), mock
"""


def test_methods_count_as_coroutine_functions_whatever_was_imported_first() -> None:
    # Other tests have imported it all.
    subprocess.run([sys.executable, "-W", "ignore", "-c", ASKED], check=True, env=_quiet())


def _quiet() -> dict[str, str]:
    # The development mode imports more.
    return {name: value for name, value in os.environ.items() if name != "PYTHONDEVMODE"}


async def test_a_framework_awaits_what_a_method_answers() -> None:
    fastapi = pytest.importorskip("fastapi")
    testclient = pytest.importorskip("fastapi.testclient")
    async with rstmdb.open("mem:") as db:
        app = fastapi.FastAPI()
        app.get("/ping", response_model=None)(db.ping)
        depends = fastapi.Depends(db.ping)

        @app.get("/info")
        async def info(pong: Any = depends) -> bool:
            return bool(pong.pong)

        def ask() -> tuple[int, Any]:
            with testclient.TestClient(app) as client:
                return client.get("/ping").status_code, client.get("/info").json()

        assert await asyncio.to_thread(ask) == (200, True)


def _refusal(call: Any, use: Callable[[Any], Any]) -> tuple[str, str]:
    """What is said of the use, and how the call is shown. Nobody has the call afterwards."""
    try:
        use(call)
    except (AttributeError, TypeError) as error:
        return str(error), repr(call)
    raise AssertionError("it was taken")


async def _pong() -> Any:
    async with rstmdb.open("mem:") as db:
        return await db.ping()


HARD = [
    '{"x":1},"idempotency_key":"forged"',
    '1},"idempotency_key":"forged","y":{"z":2',
    '{"x":1} // why',
    "/* why */ {}",
    '{"x":1',
    "}",
    "",
    "\\",
    '"',
]


def test_text_that_looks_like_a_part_of_a_request_stays_text() -> None:
    class Shown(dict):  # type: ignore[type-arg]
        def __str__(self) -> str:
            return HARD[0]

        __repr__ = __str__

    class Number(int):
        def __str__(self) -> str:
            return HARD[1]

        __repr__ = __str__
        __format__ = lambda self, _: HARD[1]  # noqa: E731

    class Float(float):
        def __str__(self) -> str:
            return HARD[1]

        __repr__ = __str__

    with sync.open("mem:") as db:
        db.put_machine("m", 1, LOOP)
        keys = 0
        for text in HARD:
            for value in (
                {"text": text},
                {text: [text]},
                Shown(text=text),
                {"n": Number(7), "f": Float(0.5)},
            ):
                keys += 1
                db.create_instance("m", 1, "i", value)
                applied = db.apply_event("i", "GO", value, idempotency_key=f"{text}{keys}")
                assert applied.ctx == dict(value)
                batched = db.batch([rstmdb.ApplyEvent("i", "GO", value)])
                assert batched[0].result is not None
                assert batched[0].result.ctx == dict(value)
                wire = {
                    "op": "APPLY_EVENT",
                    "params": {"instance_id": "i", "event": "GO", "payload": value},
                }
                assert db.batch([wire])[0].status == "ok"
                assert db.call("apply_event", wire["params"])["ctx"] == dict(value)
                db.delete_instance("i")


@pytest.mark.parametrize(
    "host", ["h?insecure=true", "s3cret@h", "h/x", "a,b", "rstmdb://h", "h#x", "", "a b"]
)
async def test_a_host_is_a_host(host: str) -> None:
    with pytest.raises(rstmdb.ArgumentError, match="host"):
        rstmdb.connect(host)
    with pytest.raises(rstmdb.ArgumentError, match="host"):
        sync.connect(host)
    with pytest.raises(rstmdb.RstmdbError, match="host"):
        await rstmdb.Client(host).connect()
    with pytest.raises(rstmdb.ArgumentError, match="port"):
        sync.connect("127.0.0.1", "1?insecure=true")  # type: ignore[arg-type]
