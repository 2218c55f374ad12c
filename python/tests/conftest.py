"""What the tests share: databases, a server, and coroutines as tests."""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
ORDER: dict[str, Any] = {
    "states": ["created", "paid", "shipped", "cancelled"],
    "initial": "created",
    "transitions": [
        {"from": "created", "event": "PAY", "to": "paid", "guard": "ctx.total > 0"},
        {"from": "paid", "event": "SHIP", "to": "shipped"},
        {"from": "created", "event": "CANCEL", "to": "cancelled"},
    ],
}
# Any event, any number of times: for tests that are not about rules.
LOOP: dict[str, Any] = {
    "states": ["on"],
    "initial": "on",
    "transitions": [{"from": "on", "event": "GO", "to": "on"}],
}


def pytest_sessionstart() -> None:
    """The sources of the package, which have no native module, must not be found in its place."""
    os.chdir(Path(__file__).parent)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    """A coroutine is a test in a loop of its own, in debug mode: slow callbacks aside, it tells of misuse."""
    if inspect.iscoroutinefunction(pyfuncitem.obj):
        test = pyfuncitem.obj

        @functools.wraps(test)
        def run(*args: Any, **kwargs: Any) -> None:
            asyncio.run(test(*args, **kwargs), debug=True)

        pyfuncitem.obj = run


class Server:
    """The server, as its users start it."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        program = os.environ.get("RSTMDB_SERVER", str(ROOT / "target/debug/rstmdb"))
        self.process = subprocess.Popen(
            [
                program,
                "--data",
                str(folder),
                "--bind",
                "127.0.0.1:0",
                "--metrics-bind",
                "off",
                *arguments,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.port = self._port()
        self.url = f"rstmdb://127.0.0.1:{self.port}"

    def _port(self) -> int:
        assert self.process.stdout is not None
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            found = re.search(r"127\.0\.0\.1:(\d+)", line)
            if found:
                return int(found.group(1))
        self.stop()
        raise RuntimeError("the server did not start:\n" + "".join(lines))

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process.wait()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for tests that use names of their own."""
    running = Server(tmp_path_factory.mktemp("server") / "data")
    yield running
    running.stop()


@pytest.fixture(scope="session")
def newer_url() -> Iterator[str]:
    """A server of the future: `tests/newer/answers.json` is what it says."""
    yield from _scripted()


@pytest.fixture
def older_url() -> Iterator[str]:
    """A server of the past: `tests/older/answers.json` is what it says."""
    yield from _scripted("older")


def _scripted(*arguments: str) -> Iterator[str]:
    program = os.environ.get("RSTMDB_NEWER_SERVER", str(ROOT / "target/debug/newer_server"))
    with subprocess.Popen(
        [program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield "rstmdb://" + json.loads(process.stdout.readline())["listening"]
        process.stdin.close()


@pytest.fixture(params=["mem:", "file:", "rstmdb://"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind; a server is shared, but for its machines' names."""
    if request.param == "file:":
        return str(tmp_path / "data")
    if request.param == "rstmdb://":
        running: Server = request.getfixturevalue("server")
        return running.url
    return "mem:"
