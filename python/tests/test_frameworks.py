"""Our types in the frameworks of others: FastAPI, pydantic, pyarrow, polars, pandas, `typing`, `inspect`."""

from __future__ import annotations

import importlib
import inspect
import io
import json
import pkgutil
import typing
from collections.abc import Iterator
from typing import Any, Optional

import pytest
from conftest import LOOP

import rstmdb
from rstmdb import _members, sync, tables, types


@pytest.fixture
def db() -> Iterator[sync.Database]:
    with sync.open("mem:", manual_clock_ms=1_700_000_000_000) as database:
        yield database


def filled(db: sync.Database) -> None:
    db.put_machine("m", 1, LOOP)
    db.create_instance("m", 1, "i", {"a": 1})
    db.apply_event("i", "GO", {"n": 2**63})


def pages(db: sync.Database) -> dict[str, Any]:
    """A page of each class; what they are about may be empty."""
    batch = db.batch([rstmdb.GetInstance("i")] if db.info().instances else [])
    found: dict[str, Any] = {
        "ListInstancesResult": db.list_instances(),
        "ListMachinesResult": db.list_machines(),
        "CountInstancesResult": db.count_instances(),
        "WalReadResult": db.wal_read(1),
        "BatchResult": batch,
    }
    if db.info().instances:
        found["HistoryResult"] = db.history("i")
        found["PermittedResult"] = db.permitted("i")
        db.snapshot_instance("i")
        found["ListSnapshotsResult"] = db.list_snapshots("i")
    return found


def test_columns_depend_on_the_class_alone(db: sync.Database, tmp_path: Any) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    empty = pages(db)
    filled(db)
    full = pages(db)
    # What tells of a group is empty without one.
    assert set(full) == set(_members.ROWS) - {"ClusterStatusResult", "ClusterVerifyResult"}
    for name, page in full.items():
        first = empty.get(name) or getattr(types, name).from_json(_emptied(page))
        assert len(first.to_arrow()) == 0
        together = pa.concat_tables([first.to_arrow(), page.to_arrow()])
        assert together.num_rows == len(page) > 0
        with parquet.ParquetWriter(tmp_path / f"{name}.parquet", first.to_arrow().schema) as file:
            for part in (first, page, first):
                file.write_table(part.to_arrow())
        read = parquet.read_table(tmp_path / f"{name}.parquet")
        assert read.to_pylist() == page.to_arrow().to_pylist()


def _emptied(page: Any) -> str:
    value = page.to_dict()
    (rows,) = (name for name, member in value.items() if isinstance(member, list))
    return json.dumps({**value, rows: []})


def test_a_page_is_taken_as_a_stream(db: sync.Database) -> None:
    pa = pytest.importorskip("pyarrow")
    polars = pytest.importorskip("polars")
    empty = pages(db)
    filled(db)
    for name, page in pages(db).items():
        assert pa.table(page).equals(page.to_arrow())
        assert pa.schema(page) == page.to_arrow().schema
        frame = polars.DataFrame(page)
        assert frame.height == len(page)
        assert frame.columns == page.to_arrow().column_names
        if name in empty:
            none = polars.DataFrame(empty[name])
            assert none.schema == frame.schema
            assert polars.concat([none, frame]).equals(frame)


def test_frames_go_together(db: sync.Database) -> None:
    pd = pytest.importorskip("pandas")
    empty = pages(db)
    filled(db)
    for name, page in pages(db).items():
        frame = page.to_pandas()
        none = (empty.get(name) or getattr(types, name).from_json(_emptied(page))).to_pandas()
        assert list(none.dtypes) == list(frame.dtypes), name
        together = pd.concat([none, frame], ignore_index=True)
        assert list(together.dtypes) == list(frame.dtypes), name
        assert len(together) == len(page)
    # Columns in which nothing is there.
    created = db.history("i", order="oldest", limit=1)
    assert created[0].event is None
    frame = pd.concat([created.to_pandas(), db.history("i").to_pandas()], ignore_index=True)
    assert frame["event"].tolist()[1] == "GO"


def test_events_of_a_watch_are_a_table_too(db: sync.Database) -> None:
    pa = pytest.importorskip("pyarrow")
    pd = pytest.importorskip("pandas")
    watch = db.watch_all(include_lifecycle=True)
    filled(db)
    events = [next(watch), next(watch)]
    watch.close()
    kind = types.InstanceEvent
    table = tables.to_arrow(iter(events), kind)
    assert table.schema == tables.schema(kind) == db.history("i").to_arrow().schema
    together = pa.concat_tables([tables.to_arrow([], kind), table, db.history("i").to_arrow()])
    assert together.column("event").to_pylist() == [None, "GO", "GO", None]
    frames = [tables.to_pandas([], kind), tables.to_pandas(events, kind)]
    assert list(pd.concat(frames).dtypes) == list(frames[0].dtypes)
    for wrong in (int, "InstanceEvent", None):
        with pytest.raises(TypeError, match="kind"):
            tables.to_arrow(events, wrong)  # type: ignore[arg-type]


def results(db: sync.Database) -> dict[str, Any]:
    """A result of each class that a database gives."""
    filled(db)
    found: list[Any] = [
        db.get_instance("i"),
        db.get_machine("m", 1),
        db.ping(),
        db.info(),
        db.wal_stats(),
        db.apply_event("i", "GO"),
        db.create_instance("m", 1, "j"),
        *pages(db).values(),
        db.delete_instance("j"),
        rstmdb.ApplyEvent("i", "GO", {"a": 1}),
        rstmdb.GetInstance("i"),
    ]
    found += [row for page in pages(db).values() for row in page]
    found += [record.entry for record in db.wal_read(1)]
    return {type(value).__name__: value for value in found}


def test_results_are_fields_of_models(db: sync.Database) -> None:
    pydantic = pytest.importorskip("pydantic")
    for name, value in results(db).items():
        kind = type(value)
        model = pydantic.create_model(f"With{name}", one=(kind, ...), more=(Optional[kind], None))
        made = model(one=value)
        assert made.one is value
        plain = value.to_dict()
        assert made.model_dump()["one"] == plain
        text = made.model_dump_json()
        assert json.loads(text)["one"] == plain
        read = model.model_validate_json(text)
        assert read.one == value, name
        assert isinstance(read.one, kind)
        assert model.model_validate({"one": plain, "more": value}).more is value
        for mode in ("validation", "serialization"):
            schema = json.dumps(model.model_json_schema(mode=mode))
            for member in plain if "params" not in plain else ():
                assert f'"{member}"' in schema, (name, member)
        for wrong in ({"nope": 1}, 7, "x", None):
            if name == "PingResult":
                continue
            with pytest.raises(pydantic.ValidationError, match=name):
                model.model_validate({"one": wrong})


def test_routes_return_results(db: sync.Database) -> None:
    fastapi = pytest.importorskip("fastapi")
    testclient = pytest.importorskip("fastapi.testclient")
    app = fastapi.FastAPI()
    expected = {}

    def plain(value: Any) -> Any:
        return lambda: value

    for number, (name, value) in enumerate(results(db).items()):
        # Operations of a batch are no results.
        if not hasattr(value, "keys"):
            continue
        typed = plain(value)
        typed.__annotations__["return"] = type(value)
        app.get(f"/plain/{number}")(plain(value))
        app.get(f"/typed/{number}")(typed)
        app.get(f"/many/{number}", response_model=list[type(value)])(plain([value, value]))  # type: ignore[misc]
        expected[number] = (name, value.to_dict())
    # Without a row, a page is a page all the same.
    app.get("/empty")(lambda: db.list_instances(state="nope"))
    client = testclient.TestClient(app)
    for number, (name, plain_value) in expected.items():
        assert client.get(f"/plain/{number}").json() == plain_value, name
        assert client.get(f"/typed/{number}").json() == plain_value, name
        assert client.get(f"/many/{number}").json() == [plain_value, plain_value], name
    assert client.get("/empty").json() == db.list_instances(state="nope").to_dict()
    document = client.get("/openapi.json").json()
    (number,) = (number for number, (name, _) in expected.items() if name == "GetInstanceResult")
    answer = document["paths"][f"/typed/{number}"]["get"]["responses"]["200"]["content"]
    shown = answer["application/json"]["schema"]
    assert shown["properties"]["state"] == {"type": "string"}
    assert "ctx" in shown["required"]


async def test_asynchronous_routes_return_results() -> None:
    fastapi = pytest.importorskip("fastapi")
    httpx = pytest.importorskip("httpx")
    app = fastapi.FastAPI()
    async with rstmdb.open("mem:") as db:
        await db.put_machine("m", 1, LOOP)

        @app.post("/{name}")
        async def create(name: str) -> types.CreateInstanceResult:
            return await db.create_instance("m", 1, name)

        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            answer = await client.post("/one")
        assert answer.json()["instance_id"] == "one"


def test_results_are_mappings_where_that_is_asked_for(db: sync.Database) -> None:
    for name, value in results(db).items():
        if not hasattr(value, "keys"):
            continue
        assert dict(value) == value.to_dict() == {**value}, name
        assert all(value[key] == member for key, member in value.to_dict().items())
        with pytest.raises(KeyError):
            value["nope"]
        if name not in _members.ROWS:
            with pytest.raises(TypeError):
                value[0]
    assert db.list_instances()[0].id == db.list_instances()["instances"][0]["id"]


def public() -> Iterator[tuple[str, Any]]:
    """Every public class and function, and their public methods."""
    for info in pkgutil.iter_modules(rstmdb.__path__):
        if info.name.startswith("_"):
            continue
        module = importlib.import_module(f"rstmdb.{info.name}")
        names = getattr(module, "__all__", vars(module))
        yield from members(module.__name__, {name: getattr(module, name) for name in names})
    yield from members("rstmdb", {name: getattr(rstmdb, name) for name in rstmdb.__all__})


def members(place: str, found: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in found.items():
        ours = getattr(value, "__module__", "") or ""
        if name.startswith("_") or not ours.startswith("rstmdb"):
            continue
        if inspect.isclass(value) or inspect.isfunction(value):
            yield f"{place}.{name}", value
        if inspect.isclass(value):
            for method, function in inspect.getmembers(value, inspect.isfunction):
                if (function.__module__ or "").startswith("rstmdb"):
                    yield f"{place}.{name}.{method}", function


@pytest.mark.parametrize(("name", "value"), [pytest.param(n, v, id=n) for n, v in public()])
def test_annotations_can_be_evaluated(name: str, value: Any) -> None:
    typing.get_type_hints(value)
    inspect.signature(value, eval_str=True)


def test_tables_are_written_and_read_in_memory(db: sync.Database) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    filled(db)
    page = db.history("i")
    file = io.BytesIO()
    parquet.write_table(page.to_arrow(), file)
    assert parquet.read_table(file).equals(page.to_arrow())
