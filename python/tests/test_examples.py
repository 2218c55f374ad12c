"""The programs of examples/python run, each as its users run it."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ORDER, ROOT, Server

import rstmdb
from rstmdb import sync

EXAMPLES = ROOT / "examples/python"


@pytest.mark.parametrize("name", ["quickstart", "watch", "retry", "transfer"])
@pytest.mark.parametrize("kept", [False, True], ids=["mem", "file"])
def test_small_programs_run(name: str, kept: bool, tmp_path: Path) -> None:
    program = [sys.executable, str(EXAMPLES / f"{name}.py")]
    command = [*program, str(tmp_path / "data")] if kept else program
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert {
        "quickstart": "refused with INVALID_TRANSITION",
        "watch": "resumed: off -> on",
        "retry": "1 withdrawal",
        "transfer": "{'aisle': 'free', 'window': 'taken', 'middle': 'taken'}",
    }[name] in done.stdout


def loaded(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Annotations of routes are looked up in their module.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


async def test_the_order_service_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    httpx = pytest.importorskip("httpx")
    uvicorn = pytest.importorskip("uvicorn")
    monkeypatch.setenv("ORDERS_URL", str(tmp_path / "orders"))
    config = uvicorn.Config(loaded("order_service").app, port=0, log_level="warning")
    served = uvicorn.Server(config)
    running = asyncio.create_task(served.serve())
    while not served.started:
        assert not running.done()
        await asyncio.sleep(0)
    port = served.servers[0].sockets[0].getsockname()[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
        assert "<svg" in (await http.get("/")).text
        async with http.stream("GET", "/events") as stream:
            lines = stream.aiter_lines()
            assert await lines.__anext__() == ": watching"
            order = {"customer": "Ann", "total": 40}
            key = {"idempotency-key": "k-1"}
            made = await http.post("/orders", json=order, headers=key)
            assert made.status_code == 201
            again = await http.post("/orders", json=order, headers=key)
            assert again.json() == made.json()
            path = f"/orders/{made.json()['id']}"
            paid = await http.post(f"{path}/PAY", json={"method": "card"})
            assert paid.json()["state"] == "paid"
            refused = await http.post(f"{path}/PAY")
            assert (refused.status_code, refused.json()["code"]) == (409, "INVALID_TRANSITION")
            assert (await http.get("/orders/nope")).status_code == 404
            assert (await http.post(f"{path}/EAT")).status_code == 422
            seen = {}
            async for line in lines:
                name, _, value = line.partition(": ")
                seen[name] = value
                if name == "data":
                    break
            assert json.loads(seen["data"])["state"] == "paid"
        await http.post(f"{path}/SHIP")
        # A browser that comes back says what it saw last.
        async with http.stream("GET", "/events", headers={"last-event-id": seen["id"]}) as stream:
            async for line in stream.aiter_lines():
                if line.startswith("data: "):
                    assert json.loads(line[6:])["state"] == "shipped"
                    break
    served.should_exit = True
    await running


def started(url: str, kept: Path) -> subprocess.Popen[str]:
    program = [sys.executable, str(EXAMPLES / "worker.py"), url, str(kept)]
    return subprocess.Popen(program, stdout=subprocess.PIPE, text=True)


def test_the_worker_goes_on_where_it_stopped(tmp_path: Path) -> None:
    # A server of its own: the worker reads the whole log.
    server = Server(tmp_path / "data")
    try:
        with sync.open(server.url) as db:
            drive(db, server, tmp_path / "offset")
    finally:
        server.stop()


def drive(db: sync.Database, server: Server, kept: Path) -> None:
    db.put_machine("order", 1, ORDER)
    for n in range(6):
        db.create_instance("order", 1, f"o-{n}", {"total": 1})
    for n, sent in [(0, signal.SIGTERM), (2, signal.SIGKILL), (4, signal.SIGTERM)]:
        for instance in (n, n + 1):
            db.apply_event(f"o-{instance}", "PAY")
        with started(server.url, kept) as worker:
            assert worker.stdout is not None
            seen: list[str] = []
            while not {f"shipped o-{n}", f"shipped o-{n + 1}"} <= set(seen):
                line = worker.stdout.readline().strip()
                assert line, seen
                seen.append(line)
            # The offset is written right behind it; a kill before that only repeats the last one.
            worker.send_signal(sent)
    for n in range(6):
        events = [event.event for event in db.history(f"o-{n}", order="oldest")]
        assert events == [None, "PAY", "SHIP"]


@pytest.mark.parametrize("given", [[], ["mem:"], ["mem:", "place", "more"]])
def test_the_worker_says_what_it_needs(given: list[str]) -> None:
    program = [sys.executable, str(EXAMPLES / "worker.py"), *given]
    done = subprocess.run(program, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "usage: worker.py URL PLACE-FILE\n")


@pytest.mark.filterwarnings("ignore")
def test_the_notebook_runs() -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.read(EXAMPLES / "orders.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    pictures = [o["data"]["image/svg+xml"] for o in outputs if "image/svg+xml" in o.get("data", {})]
    assert len(pictures) == 2
    assert 'class="here"' in pictures[1]
    assert any("GUARD_FAILED" in output.get("text", "") for output in outputs)
    assert rstmdb.__version__
