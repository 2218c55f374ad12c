"""Arguments that do not fit are refused by their name, with what they should be."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import warnings
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
        with pytest.raises(TypeError, match="not awaited"):
            events["x"]
        # A call is a coroutine, and Python itself says which was never awaited.
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            call: Any = db.create_instance("m", 1)
            with pytest.raises(AttributeError, match="coroutine"):
                call.state  # noqa: B018
            with pytest.raises(TypeError, match="coroutine"):
                call["state"]
            del call
        assert any("create_instance' was never awaited" in str(warning.message) for warning in told)


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
