"""The public interface against the table of operations, and against the published client."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

import rstmdb
from rstmdb import _names, errors, sync, types

SURFACE: dict[str, Any] = json.loads((ROOT / "tests/conformance/surface.json").read_text("utf-8"))
OPERATIONS = SURFACE["operations"]
OPTIONS = SURFACE["options"]


@pytest.mark.parametrize("row", OPERATIONS, ids=lambda row: row["name"])
@pytest.mark.parametrize("database", [rstmdb.Database, sync.Database], ids=["async", "sync"])
def test_every_operation_is_a_method(row: dict[str, Any], database: type) -> None:
    method = getattr(database, row["name"])
    assert method.__doc__
    parameters = dict(inspect.signature(method).parameters)
    del parameters["self"]
    assert set(parameters) == {member["name"] for member in row["request"]}
    required = [m["name"] for m in row["request"] if m["required"]]
    without_default = [n for n, p in parameters.items() if p.default is inspect.Parameter.empty]
    assert without_default == required
    assert list(parameters)[: len(required)] == required
    is_watch = row["name"].startswith("watch_")
    is_async = database is rstmdb.Database and not is_watch
    assert inspect.iscoroutinefunction(method) == is_async
    assert row["name"] in _names.OPERATIONS
    assert rstmdb.Operation(row["wire_name"])


@pytest.mark.parametrize("row", OPERATIONS, ids=lambda row: row["name"])
def test_results_have_the_members_of_the_table(row: dict[str, Any]) -> None:
    hint = inspect.signature(getattr(sync.Database, row["name"])).return_annotation
    name = re.sub(r"Watch\[(.*)\]", r"\1", hint)
    result = getattr(types, name)
    assert result.__match_args__ == tuple(member["name"] for member in row["result"])
    for member in row["result"]:
        assert inspect.isgetsetdescriptor(getattr(result, member["name"]))


@pytest.mark.parametrize("opener", [rstmdb.open, sync.open], ids=["async", "sync"])
def test_every_option_is_an_argument_of_open(opener: Any) -> None:
    parameters = dict(inspect.signature(opener).parameters)
    del parameters["url"]
    assert list(parameters) == [row["name"] for row in OPTIONS]
    for name, parameter in parameters.items():
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        assert parameter.default is None
        assert f"\n        {name}: " in opener.__doc__


def test_every_option_reaches_its_kind_of_database() -> None:
    ours = {row["name"]: row["default"] for row in OPTIONS if row["for"] == "embedded"}
    sync.open("mem:", **ours).close()
    for row in OPTIONS:
        if row["for"] == "server":
            with pytest.raises(rstmdb.InvalidError, match=row["name"]) as caught:
                sync.open("mem:", **{row["name"]: 1})  # type: ignore[arg-type]
            assert caught.value.reason == "invalid_option"


def test_errors_are_those_of_the_table() -> None:
    assert [code.value for code in rstmdb.ErrorCode] == [r["code"] for r in SURFACE["error_codes"]]
    assert sorted(_names.KINDS) == sorted(row["kind"] for row in SURFACE["error_kinds"])
    assert sorted(_names.REASONS) == sorted(row["reason"] for row in SURFACE["error_reasons"])
    for kind in _names.KINDS:
        name = "".join(word.capitalize() for word in kind.split("_")) + "Error"
        error = getattr(rstmdb, name)
        assert error is getattr(errors, name)
        assert error.kind == kind
        assert issubclass(error, rstmdb.RstmdbError)
        made = errors._from_native(kind, "m", "CONFLICT", None, False, None, {}, False)
        assert type(made) is error


def test_all_names_can_be_imported() -> None:
    for name in [*rstmdb.__all__, *dir(rstmdb)]:
        assert getattr(rstmdb, name) is not None, name
    with pytest.raises(AttributeError):
        rstmdb.nope  # noqa: B018


REFLECT = """
import inspect, json, rstmdb, rstmdb.models, rstmdb.protocol, rstmdb.client, rstmdb.tls
def plain(default):
    return "-" if default is inspect.Parameter.empty else repr(default)
def signature(function):
    parameters = inspect.signature(function).parameters.values()
    return [[p.name, str(p.kind), plain(p.default)] for p in parameters]
def methods(kind):
    found = {}
    for name in dir(kind):
        member = inspect.getattr_static(kind, name)
        if name.startswith("_") and name not in ("__init__", "__aenter__", "__aexit__"):
            continue
        if isinstance(member, property):
            found[name] = "property"
        elif isinstance(member, classmethod):
            found[name] = signature(member.__func__)
        elif inspect.isfunction(member):
            found[name] = signature(member)
    return found
found = {"names": sorted(rstmdb.__all__), "classes": {}, "models": {}, "errors": {}, "enums": {}}
for name in rstmdb.__all__:
    value = getattr(rstmdb, name)
    if isinstance(value, type) and issubclass(value, Exception):
        found["errors"][name] = [base.__name__ for base in value.__mro__]
        if "__init__" in vars(value):
            found["errors"][name + "()"] = signature(value.__init__)
    elif hasattr(value, "model_fields"):
        found["models"][name] = {
            field: [str(info.annotation), info.is_required(), repr(info.default)]
            for field, info in value.model_fields.items()
        }
    elif hasattr(value, "__members__"):
        found["enums"][name] = {key: member.value for key, member in value.__members__.items()}
    elif isinstance(value, type):
        found["classes"][name] = methods(value)
    else:
        found["classes"][name] = signature(value)
for module in ("client", "connection", "errors", "models", "protocol", "tls"):
    names = vars(__import__("rstmdb." + module, fromlist=["x"]))
    found["module " + module] = sorted(
        n for n, v in names.items() if getattr(v, "__module__", "") == "rstmdb." + module and n[0] != "_"
    )
print(json.dumps(found))
"""


def reflected(python: str, **environment: str) -> dict[str, Any]:
    cleaned = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONDEVMODE")}
    code = REFLECT
    if environment:
        code = f"import json\nNAMES = json.loads('''{environment.pop('NAMES')}''')\n" + code
        code = code.replace("rstmdb.__all__", "NAMES")
    done = subprocess.run(
        [python, "-c", code], env={**cleaned, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_published_client_can_be_replaced() -> None:
    import sys

    peer = os.environ.get("RSTMDB_PEER_PYTHON")
    assert peer, "RSTMDB_PEER_PYTHON names a Python that has rstmdb==0.2.1; `make test` makes one"
    theirs = reflected(peer)
    names = json.dumps(theirs["names"])
    ours = reflected(sys.executable, NAMES=names, PYTHONPATH=os.environ["PYTHONPATH"])
    for name, members in theirs["classes"].items():
        if isinstance(members, dict):
            for method, signature in members.items():
                assert ours["classes"][name][method] == signature, f"{name}.{method}"
        else:
            assert ours["classes"][name] == members, name
    for name, fields in theirs["models"].items():
        for field, (_, is_required, default) in fields.items():
            assert ours["models"][name][field][1:] == [is_required, default], f"{name}.{field}"
        assert list(ours["models"][name]) == list(fields), name
    for name, members in theirs["enums"].items():
        assert members.items() <= ours["enums"][name].items(), name
    for name, mro in theirs["errors"].items():
        if name.endswith("()"):
            assert ours["errors"][name] == mro, name
        else:
            assert [c for c in ours["errors"][name] if c in mro] == mro, name
    for module, found in theirs.items():
        if module.startswith("module "):
            loaded = importlib.import_module(f"rstmdb.{module.removeprefix('module ')}")
            assert [name for name in found if not hasattr(loaded, name)] == [], module


def test_the_version_is_one() -> None:
    manifest = (ROOT / "Cargo.toml").read_text("utf-8")
    version = re.search(r'^version = "(.*)"$', manifest, re.MULTILINE)
    assert version is not None
    assert rstmdb.__version__ == version.group(1)


@pytest.mark.parametrize("name", ["LICENSE", "NOTICE"])
def test_the_package_has_the_licence_of_the_repository(name: str) -> None:
    # Packages can't take files from above their folder.
    assert (ROOT / "python" / name).read_bytes() == (ROOT / name).read_bytes()


def test_packages_that_are_optional_are_not_imported() -> None:
    import sys

    code = (
        "import sys, rstmdb; "
        "print([n for n in ('pydantic', 'pyarrow', 'pandas', 'asyncio', 'ssl', 'json', 'logging', "
        "'inspect', 'dataclasses', 'pathlib') "
        "if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={k: v for k, v in os.environ.items() if k != "PYTHONDEVMODE"},
    )
    assert done.stdout == "[]\n", done.stderr


def test_the_documentation_of_the_stub_is_there() -> None:
    stub = Path(rstmdb.__file__).with_name("_native.pyi").read_text("utf-8")
    for name in types.__all__:
        if name not in ("Name", "BatchOperation"):
            assert getattr(types, name).__doc__, name
            assert f"class {name}:" in stub
