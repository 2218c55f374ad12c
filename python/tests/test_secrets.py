"""A token is in no text that people, logs or tools get to see."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import traceback
import warnings
from pathlib import Path
from typing import Any

import pytest
from conftest import LOOP, Server

import rstmdb
from rstmdb import sync

SECRET = "s3cret-t0ken"


def with_token(server: Server) -> str:
    """A URL with a token in both places where one may stand; this server asks for none."""
    return f"rstmdb://{SECRET}@127.0.0.1:{server.port}"


def texts(value: Any) -> list[str]:
    """What there is to print of an object."""
    shown = [repr(value), str(value), f"{value}", f"{value!a}"]
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    members = {name: getattr(value, name, None) for name in slots if name != "__weakref__"}
    shown.append(repr(members) + repr(getattr(value, "__dict__", {})))
    bundle = getattr(value, "_repr_mimebundle_", None)
    if bundle is not None:
        shown.append(repr(bundle()))
    return shown


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server that asks for the token."""
    import hashlib

    folder = tmp_path_factory.mktemp("guarded")
    config = folder / "rstmdb.yaml"
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    config.write_text(f"auth:\n  required: true\n  token_hashes: ['{digest}']\n", "utf-8")
    running = Server(folder / "data", "--config", str(config))
    yield running
    running.stop()


def test_a_database_does_not_show_its_token(guarded: Server) -> None:
    for url, options in [
        (with_token(guarded), {}),
        (f"rstmdb://127.0.0.1:{guarded.port}?token={SECRET}", {}),
        (f"rstmdb://127.0.0.1:{guarded.port}", {"token": SECRET}),
    ]:
        with sync.open(url, **options) as db:
            db.put_machine("m", 1, LOOP)
            handle = db.machine("m", 1)
            for shown in [*texts(db), *texts(handle), *texts(db.watch_all()), db.url]:
                assert SECRET not in shown
            assert str(guarded.port) in db.url
            for copied in (pickle.dumps, copy.copy, copy.deepcopy):
                with pytest.raises(TypeError):
                    copied(db)


async def test_an_opening_does_not_show_its_token(guarded: Server) -> None:
    opening = rstmdb.open(with_token(guarded), token=None)
    connecting = rstmdb.connect("127.0.0.1", guarded.port, token=SECRET)
    client = rstmdb.Client("127.0.0.1", guarded.port, token=SECRET)
    for value in (opening, connecting, client):
        assert SECRET not in "".join(texts(value))
        with pytest.raises(TypeError):
            pickle.dumps(value)
    assert client.token == SECRET
    async with opening as db, connecting as other:
        assert (await db.ping()).pong
        assert (await other.ping()).pong
        assert SECRET not in "".join(texts(db) + texts(other))
    await client.connect()
    assert SECRET not in "".join(texts(client))
    await client.close()


def test_a_warning_does_not_show_a_token(guarded: Server) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        sync.open(with_token(guarded))
        gc.collect()
    told_of = [str(warning.message) for warning in told]
    assert f"unclosed database 'rstmdb://…@127.0.0.1:{guarded.port}'" in told_of
    assert SECRET not in "".join(told_of)


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("rstmdb://SECRET@127.0.0.1:1", {"connect_timeout_ms": 100}),
        ("rstmdb://127.0.0.1:1?token=SECRET", {}),
        ("rstmdb://127.0.0.1:1", {"token": "SECRET", "retry": {"attempts": 0}}),
        ("rstmdb://127.0.0.1:1", {"token": "SECRET", "pool_size": "many"}),
        ("rstmdb://127.0.0.1:1", {"token": "SECRET", "pool_size": object()}),
        ("rstmdb://SECRET@127.0.0.1:1", {"token": "SECRET"}),
        ("rstmdb://SECRET%zz@127.0.0.1:1", {}),
        ("SECRET@127.0.0.1:1", {}),
        ("rstmdb:SECRET@host", {}),
        ("mem:", {"token": "SECRET"}),
        ("rstmdb://127.0.0.1:1?nope=SECRET", {}),
        ("rstmdb://127.0.0.1:1", {"token": ["SECRET"]}),
    ],
)
def test_a_traceback_with_locals_does_not_show_a_token(url: str, options: dict[str, Any]) -> None:
    url = url.replace("SECRET", SECRET)
    options = {name: SECRET if value == "SECRET" else value for name, value in options.items()}
    if isinstance(options.get("token"), list):
        options["token"] = [SECRET]

    async def awaited() -> None:
        async with rstmdb.open(url, **options):
            pass

    for call in (lambda: sync.open(url, **options), lambda: asyncio.run(awaited())):
        with pytest.raises(rstmdb.RstmdbError) as caught:
            call()
        error = caught.value
        told = traceback.TracebackException.from_exception(error, capture_locals=True)
        # Frames of this file are not ours to hide.
        told.stack[:] = [frame for frame in told.stack if frame.filename != __file__]
        assert told.stack
        text = "".join(told.format()) + repr(error) + repr(vars(error)) + error.message
        assert SECRET not in "".join(traceback.format_exception_only(error)) + repr(error.context)
        assert SECRET not in pickle.dumps(error).decode("latin-1")
        if not isinstance(options.get("token"), list):
            assert SECRET not in text


def test_paths_are_shown_as_they_are(tmp_path: Path) -> None:
    path = f"{tmp_path}/a@b?c"
    with sync.open(path) as db:
        assert db.url == path
        assert repr(db) == f"<Database {path!r}>"
