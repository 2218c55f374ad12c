"""Values in and out: nothing is lost, and what can't be kept is refused by its path."""

from __future__ import annotations

import copy
import datetime as dt
import enum
import json
import math
import pickle
import sys
import types as builtin_types
import uuid
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import pytest
from conftest import LOOP
from hypothesis import given, settings
from hypothesis import strategies as st

import rstmdb
from rstmdb import _native, sync, types

KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=30,
)


def equal(a: Any, b: Any) -> bool:
    """Equal, with types: Python takes 1 for 1.0 and for True."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, float):
        # The canonical form has one zero.
        return a == b
    return bool(a == b)


@settings(max_examples=300, deadline=None)
@given(VALUES)
def test_values_come_back_as_they_were(value: Any) -> None:
    text = _native.json_text(value)
    assert equal(_native.json_value(text), value)
    assert equal(json.loads(text), value)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_contexts_come_back_as_they_were(ctx: dict[str, Any]) -> None:
    with sync.open("mem:") as db:
        db.put_machine("m", 1, LOOP)
        db.create_instance("m", 1, "i", ctx)
        assert equal(db.get_instance("i").ctx, ctx)


class Colour(enum.Enum):
    RED = "red"
    DEEP = {"r": [1, 2]}  # noqa: RUF012


class Level(enum.IntEnum):
    HIGH = 3


class Kind(str, enum.Enum):
    A = "a"


class Index:
    def __index__(self) -> int:
        return 7


UTC = dt.timezone.utc


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), '"2026-01-02T03:04:05+00:00"'),
        (dt.date(2026, 1, 2), '"2026-01-02"'),
        (Colour.RED, '"red"'),
        (Colour.DEEP, '{"r":[1,2]}'),
        (Level.HIGH, "3"),
        (Kind.A, '"a"'),
        (uuid.UUID(int=5), '"00000000-0000-0000-0000-000000000005"'),
        (OrderedDict(b=1, a=2), '{"a":2,"b":1}'),
        (builtin_types.MappingProxyType({"a": (1, 2)}), '{"a":[1,2]}'),
        (Index(), "7"),
        (2**64 - 1, "18446744073709551615"),
        (-(2**63), "-9223372036854775808"),
        (1e300, "1e+300"),
        (2.0, "2.0"),
        ('\x00\x1f"\\é\n', '"\\u0000\\u001f\\"\\\\é\\n"'),
    ],
)
def test_other_values_become_json(value: Any, text: str) -> None:
    assert _native.json_text(value) == text


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    ("value", "path", "problem"),
    [
        (2**64, "payload", "64 bits"),
        ({"a": [0, -(2**63) - 1]}, "payload.a[1]", "64 bits"),
        (math.nan, "payload", "NaN"),
        ([math.inf], "payload[0]", "inf"),
        ({1: 2}, "payload", "key is a int"),
        ({"a": b"x"}, "payload.a", "bytes"),
        ({1, 2}, "payload", "set"),
        ({"d": Decimal("1.5")}, "payload.d", r"str\(x\)"),
        (dt.datetime(2026, 1, 1), "payload", "time zone"),
        ("\ud800", "payload", "surrogate"),
        ({"\udfff": 1}, "payload", "surrogate"),
        (object(), "payload", "object"),
        ({"x": nested(127)}, "payload", "127"),
        (CIRCLE, "payload", "contains itself"),
    ],
)
def test_what_json_cannot_say_is_refused(value: Any, path: str, problem: str) -> None:
    with sync.open("mem:") as db:
        db.put_machine("m", 1, LOOP)
        db.create_instance("m", 1, "i")
        with pytest.raises(rstmdb.ArgumentError, match=problem) as caught:
            db.apply_event("i", "GO", value)
        assert caught.value.context["path"].startswith(path)
        assert caught.value.code == "BAD_REQUEST"
        assert isinstance(caught.value, TypeError)
        assert isinstance(caught.value, rstmdb.InvalidError)
        # Nothing of it arrived.
        assert db.get_instance("i").last_wal_offset == 2


def test_an_exception_of_the_callers_own_code_passes_through() -> None:
    class Broken(dict):  # type: ignore[type-arg]
        def __index__(self) -> int:
            raise AssertionError

    class Sly:
        def __index__(self) -> int:
            raise LookupError("mine")

    assert _native.json_text(Broken()) == "{}"
    with pytest.raises(LookupError, match="mine"):
        _native.json_text({"a": Sly()})


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda db: db.apply_event(5, "GO"), "instance_id: expected str"),
        (lambda db: db.apply_event("i", None), "event: expected str"),
        (lambda db: db.put_machine("m", "1", LOOP), "version: expected int"),
        (lambda db: db.put_machine("m", True, LOOP), "version: expected int"),
        (lambda db: db.put_machine("m", -1, LOOP), "version: expected 0 to 4294967295"),
        (lambda db: db.put_machine("m", 2**32, LOOP), "version: expected 0 to"),
        (lambda db: db.put_machine("m", 1, LOOP, strict=1), "strict: expected bool"),
        (lambda db: db.watch_all(machines="m"), "machines: expected a list"),
        (lambda db: db.watch_all(machines=["a", 5]), r"machines\[1\]: expected str"),
        (lambda db: db.history("i", order="up"), "order: expected"),
        (lambda db: db.batch([5]), r"ops\[0\]: expected ApplyEvent"),
        (lambda db: db.batch([{"op": "NOPE"}]), r"ops\[0\]: op is"),
        (
            lambda db: db.batch([{"op": "APPLY_EVENT", "parms": {}}]),
            r'ops\[0\]: there is no member "parms"; did you mean "params"\?',
        ),
        (
            lambda db: db.batch([{"op": "GET_INSTANCE", "params": {"instanceId": "a"}}]),
            r'ops\[0\]: .*"params.instanceId"; did you mean "instance_id"\?',
        ),
        (lambda db: db.batch([], mode="some"), "mode: expected"),
        (lambda db: db.get_instance("\ud800"), "instance_id: text has a lone surrogate"),
        (lambda _: rstmdb.ApplyEvent("i", "GO", object()), "payload: a object"),
    ],
)
def test_arguments_are_checked_and_named(call: Any, problem: str) -> None:
    with sync.open("mem:") as db, pytest.raises(rstmdb.ArgumentError, match=problem):
        call(db)


def test_enums_stand_for_their_values() -> None:
    class State(enum.Enum):
        ON = "on"

    class Event(str, enum.Enum):
        GO = "GO"

    with sync.open("mem:") as db:
        db.put_machine("m", 1, LOOP)
        db.create_instance("m", 1, "i", initial_state=State.ON)
        assert db.apply_event("i", Event.GO, expected_state=State.ON).to_state == "on"
        assert db.list_instances(state=State.ON).total == 1
        with pytest.raises(rstmdb.ArgumentError):
            db.apply_event("i", Colour.DEEP)


def test_text_may_have_any_character() -> None:
    with sync.open("mem:") as db:
        db.put_machine("m", 1, LOOP)
        for name in ["\x00", "é\n", "名前", "🎉", "a b", '"']:
            db.create_instance("m", 1, name, {name: name})
            assert db.get_instance(name).ctx == {name: name}


def results() -> list[Any]:
    with sync.open("mem:", manual_clock_ms=1_700_000_000_000) as db:
        found: list[Any] = [db.put_machine("m", 1, {**LOOP, "extra": 1})]
        found.append(db.create_instance("m", 1, "i", {"a": [1, 2.5, None]}))
        found.append(db.apply_event("i", "GO", {"b": "x"}, event_id="e"))
        found.append(db.get_instance("i"))
        found.append(db.list_instances())
        found.append(db.count_instances())
        found.append(db.permitted("i"))
        found.append(db.history("i"))
        found.append(db.wal_read(1))
        found.append(db.wal_stats())
        found.append(db.info())
        found.append(db.list_machines())
        found.append(db.get_machine("m", 1))
        operations = [
            rstmdb.ApplyEvent("i", "GO", {"n": 1}),
            rstmdb.GetInstance("i"),
            rstmdb.CreateInstance("m", 1, "j"),
            rstmdb.DeleteInstance("j"),
            rstmdb.ApplyEvent("nope", "GO"),
        ]
        found.extend(operations)
        found.append(db.batch(operations))
        found.append(db.wal_read(1).records[-1].entry)
        found.append(db.watch_all().result)
        found.append(db.ping())
        return found


@pytest.mark.parametrize("result", results(), ids=lambda result: type(result).__name__)
def test_results_can_be_kept_compared_and_matched(result: Any) -> None:
    again = pickle.loads(pickle.dumps(result))
    assert again == result
    assert hash(again) == hash(result)
    assert copy.copy(result) == copy.deepcopy(result) == result
    assert result != object()
    assert repr(again) == repr(result)
    assert repr(result).startswith(type(result).__name__ + "(")
    name = type(result).__match_args__[0] if type(result).__match_args__ else None
    if name is not None:
        getattr(result, name)
        with pytest.raises(AttributeError):
            setattr(result, name, 1)
    if hasattr(result, "to_json"):
        assert json.loads(result.to_json()) == result.to_dict()


def test_pages_are_sequences() -> None:
    with sync.open("mem:") as db:
        db.put_machine("m", 1, LOOP)
        assert not db.list_instances()
        for n in range(5):
            db.create_instance("m", 1, f"i{n}")
        page = db.list_instances()
        assert len(page) == 5
        assert [row.id for row in page] == [f"i{n}" for n in range(5)]
        assert page[-1].id == "i4"
        assert [row.id for row in page[1:3]] == ["i1", "i2"]
        assert page.instances is page.instances
        with pytest.raises(IndexError):
            page[5]


def test_times_are_datetimes_and_numbers() -> None:
    with sync.open("mem:", manual_clock_ms=1_700_000_000_123) as db:
        db.put_machine("m", 1, LOOP)
        db.create_instance("m", 1, "i")
        instance = db.get_instance("i")
        assert instance.created_at == dt.datetime(2023, 11, 14, 22, 13, 20, 123000, tzinfo=UTC)
        assert instance.created_at_ms == 1_700_000_000_123
        assert db.history("i")[0].timestamp == instance.created_at


def test_log_entries_have_a_class_for_each_kind() -> None:
    with sync.open("mem:", allow_flush_all=True) as db:
        db.put_machine("m", 1, LOOP)
        db.create_instance("m", 1, "i", idempotency_key="k")
        db.apply_event("i", "GO", {"n": 1})
        db.delete_instance("i")
        db.flush_all()
        entries = [record.entry for record in db.wal_read(1)]
        assert [type(entry) for entry in entries] == [
            types.PutMachineEntry,
            types.CreateInstanceEntry,
            types.ApplyEventEntry,
            types.DeleteInstanceEntry,
            types.FlushAllEntry,
        ]
        created = entries[1]
        assert isinstance(created, types.CreateInstanceEntry)
        assert (created.instance_id, created.idempotency_key) == ("i", "k")


def test_errors_can_be_kept() -> None:
    with sync.open("mem:") as db:
        with pytest.raises(rstmdb.NotFoundError) as caught:
            db.get_instance("nope")
        error = caught.value
        for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
            assert type(again) is rstmdb.NotFoundError
            assert again.args == error.args
            assert vars(again) == vars(error)
        assert str(error) == error.message == 'instance "nope" not found'
        assert (error.code, error.kind, error.reason) == ("INSTANCE_NOT_FOUND", "not_found", None)
        assert error.operation == "GET_INSTANCE"
        assert not error.retryable


def test_rows_become_tables() -> None:
    pa = pytest.importorskip("pyarrow")
    pytest.importorskip("pandas")
    with sync.open("mem:", manual_clock_ms=1_700_000_000_000) as db:
        db.put_machine("m", 1, LOOP)
        assert db.list_instances().to_arrow().num_rows == 0
        db.create_instance("m", 1, "i", {"a": 1})
        db.apply_event("i", "GO", {"n": 2**63})
        table = db.list_instances().to_arrow()
        assert table.column("id").to_pylist() == ["i"]
        assert table.schema.field("created_at").type == pa.timestamp("ms", tz="UTC")
        history = db.history("i", order="oldest").to_arrow()
        assert history.column("event").to_pylist() == [None, "GO"]
        assert history.column("payload").to_pylist()[1] == '{"n":9223372036854775808}'
        frame = db.history("i", order="oldest").to_pandas()
        assert frame["payload"][1] == {"n": 2**63}
        assert str(frame["timestamp"].dt.tz) == "UTC"
        assert db.count_instances().to_pandas()["count"].tolist() == [1]
        assert "entry" in db.wal_read(1).to_arrow().column_names


def test_what_comes_out_of_our_own_frames_goes_in_again() -> None:
    np = pytest.importorskip("numpy")
    pd = pytest.importorskip("pandas")
    pa = pytest.importorskip("pyarrow")
    with sync.open("mem:") as db:
        db.put_machine("m", np.int64(1), LOOP, strict=np.bool_(False))
        for name in ("a", "b", "c"):
            db.create_instance("m", np.uint8(1), name, {"n": 2**60})
        frame = db.list_instances(limit=np.int32(2), offset=np.uint64(1)).to_pandas()
        row = frame.iloc[0]
        assert [type(row["version"]), row["id"]] == [np.int64, "b"]
        db.create_instance(row["machine"], row["version"], "d")
        payload = {
            "version": row["version"],
            "at": row["updated_at"],
            "fine": np.float32(0.1),
            "exact": np.float64(0.1),
            "half": np.float16(0.5),
            "long": np.longdouble(2),
            "yes": np.bool_(True),
            "small": np.int8(-1),
            "large": np.uint64(2**64 - 1),
            "text": np.str_("x"),
            "arrow": pa.scalar(5),
        }
        ctx = db.apply_event(row["id"], "GO", payload).ctx
        assert equal(
            {key: ctx[key] for key in payload},
            {
                "version": 1,
                "at": row["updated_at"].isoformat(),
                "fine": 0.10000000149011612,
                "exact": 0.1,
                "half": 0.5,
                "long": 2.0,
                "yes": True,
                "small": -1,
                "large": 2**64 - 1,
                "text": "x",
                "arrow": 5,
            },
        )
        head = np.int64(db.wal_stats().latest_offset)
        assert len(db.wal_read(row["last_wal_offset"])) > 0
        assert db.wal_read(head, limit=np.int16(1)).records[0].offset == head
        assert db.watch_all(from_offset=head).next(timeout=10).wal_offset == head
        for value, problem in [
            (np.float64("nan"), "NaN: JSON has no NaN"),
            (np.float32("inf"), "inf: JSON has no NaN"),
            (np.arange(3), r"a ndarray can't become JSON; use its tolist\(\)"),
            (
                np.datetime64("2026-01-01"),
                "a datetime64 can't become JSON; choose pandas.Timestamp",
            ),
            (np.complex128(1), "a complex128 can't become JSON"),
            (pd.NaT, "NaT is no time; write None"),
            (pd.NA, "a NAType can't become JSON; write None"),
            (pd.Timestamp("2026-01-01"), "without a time zone"),
            (pd.Timedelta(1, "s"), "choose a str or a number"),
            (frame, 'use its to_dict\\("records"\\)'),
            (frame["id"], r"use its tolist\(\)"),
            (pa.scalar(0.5), r"use its as_py\(\)"),
            (pa.array([1]), r"use its to_pylist\(\)"),
        ]:
            with pytest.raises(rstmdb.ArgumentError, match=problem) as caught:
                db.apply_event("a", "GO", {"v": [value]})
            assert caught.value.context["path"] == "payload.v[0]"
        for version in (np.float64(1), np.bool_(True), np.int64(-1), np.arange(2)):
            with pytest.raises(rstmdb.ArgumentError, match="version: expected"):
                db.put_machine("m", version, LOOP)
        with pytest.raises(rstmdb.ArgumentError, match="strict: expected bool"):
            db.put_machine("m", 1, LOOP, strict=np.int64(1))


def test_what_a_hint_recommends_goes_in() -> None:
    np = pytest.importorskip("numpy")
    pd = pytest.importorskip("pandas")
    pa = pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"a": [1, 2]})
    day = np.datetime64("2026-01-01")
    for value, text in [
        (np.arange(3).tolist(), "[0,1,2]"),
        (pd.Timestamp(day, tz="UTC"), '"2026-01-01T00:00:00+00:00"'),
        (str(day), '"2026-01-01"'),
        (frame.to_dict("records"), '[{"a":1},{"a":2}]'),
        (frame["a"].tolist(), "[1,2]"),
        (pa.scalar(5).as_py(), "5"),
        (pa.table({"a": [1]}).to_pylist(), '[{"a":1}]'),
        (str(2**64), '"18446744073709551616"'),
        (float(10**20), "1e+20"),
        (None, "null"),
    ]:
        assert _native.json_text(value) == text


def test_tables_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with sync.open("mem:") as db:
        with pytest.raises(ImportError, match=r"pip install 'rstmdb\[arrow\]'"):
            db.list_machines().to_arrow()
        with pytest.raises(ImportError, match=r"pip install 'rstmdb\[pandas\]'"):
            db.list_machines().to_pandas()


def test_exceptions_of_values_are_told_with_their_path() -> None:
    class Broken(Mapping[str, Any]):
        def __getitem__(self, key: str) -> Any:
            raise LookupError("mine")

        def __iter__(self) -> Iterator[str]:
            return iter(["a"])

        def __len__(self) -> int:
            return 1

    class Array:
        def __index__(self) -> int:
            raise TypeError("only arrays of one integer can be an index")

    with sync.open("mem:") as db:
        with pytest.raises(LookupError, match="mine") as caught:
            db.create_instance("m", 1, "i", {"rows": [1, Broken()]})
        if sys.version_info >= (3, 11):
            notes = caught.value.__notes__
            assert notes == ["while initial_ctx.rows[1] was converted to JSON"]
        with pytest.raises(rstmdb.ArgumentError, match=r"initial_ctx\.data: a Array can't become"):
            db.create_instance("m", 1, "i", {"data": Array()})


@pytest.mark.parametrize("operation", [5, "\ud800", None, "NOPE", b"PING"])
async def test_an_operation_that_is_none_is_named(operation: Any) -> None:
    with sync.open("mem:") as db, pytest.raises(rstmdb.ArgumentError, match="operation: "):
        db.call(operation)
    async with rstmdb.open("mem:") as other:
        with pytest.raises(rstmdb.ArgumentError, match="operation: "):
            await other.call(operation)


@pytest.mark.parametrize("url", [5, None, "\ud800", b"mem:"])
def test_a_url_that_is_none_is_named(url: Any) -> None:
    for opening in (sync.open, rstmdb.open):
        with pytest.raises(rstmdb.ArgumentError, match="url: "):
            opening(url)
