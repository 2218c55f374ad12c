"""Runs the conformance scenarios and programs through `rstmdb` or `rstmdb.sync`.

`python runner.py async` or `python runner.py sync`; SPEC.md says what it reads and prints.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

import rstmdb
import rstmdb.sync
from rstmdb import _native

START_MS = 1_767_225_600_000
EVENT_SECONDS = 10
OPTIONS: dict[str, Any] = {"retention": "forever", "free_bytes_min": 0}
WATCHES = ("WATCH_INSTANCE", "WATCH_ALL")
# The user's values: nothing in them is reduced.
VERBATIM = ("ctx", "payload", "initial_ctx", "definition")
# Each database has its own: only whether there is one counts.
OWN = ("next_cursor", "history_id")


class StepFailed(Exception):
    """A step did not do what the scenario says."""


async def done(value: Any) -> Any:
    """What a call gives, waited for where there is something to wait for."""
    return await value if inspect.isawaitable(value) else value


class Host:
    """The connection to the host of servers: one line there, one line back."""

    def __init__(self) -> None:
        name, _, port = os.environ["RSTMDB_HOST"].rpartition(":")
        self.socket = socket.create_connection((name, int(port)))
        self.lines = self.socket.makefile("rw", encoding="utf-8", newline="\n")

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self.lines.write(json.dumps(request) + "\n")
        self.lines.flush()
        answer: dict[str, Any] = json.loads(self.lines.readline())
        if "error" in answer:
            raise RuntimeError(f"the host of servers says: {answer['error']}")
        return answer

    def close(self) -> None:
        self.lines.close()
        self.socket.close()


class Target:
    """An empty database of its own, that can be reopened and whose clock can be moved."""

    def __init__(self, module: Any, options: dict[str, Any], exact: bool) -> None:
        self.module = module
        self.kind = os.environ.get("RSTMDB_TARGET", "mem:")
        self.options = options if exact else {**OPTIONS, **options}
        self.now_ms = int(options.get("manual_clock_ms", START_MS))
        self.host: Host | None = None
        self.folder: tempfile.TemporaryDirectory[str] | None = None
        self.watches: dict[str, Any] = {}
        self.db: Any = None

    async def open(self) -> None:
        if self.kind == "rstmdb://":
            self.host = Host()
            url = self.host.ask({"start": self.options})["url"]
            self.db = await done(self.module.open(url))
            return
        if self.kind == "file:":
            self.folder = tempfile.TemporaryDirectory(prefix="rstmdb-")
        await self.open_here()

    async def open_here(self) -> None:
        url = "mem:" if self.folder is None else self.folder.name
        options = {**self.options, "manual_clock_ms": self.now_ms}
        self.db = await done(self.module.open(url, **options))

    async def reopen(self) -> None:
        if self.kind == "mem:":
            return
        self.watches.clear()
        await done(self.db.close())
        if self.host is not None:
            self.db = await done(self.module.open(self.host.ask({"reopen": True})["url"]))
        else:
            await self.open_here()

    def advance(self, ms: int) -> None:
        self.now_ms += ms
        if self.host is not None:
            self.host.ask({"advance_ms": ms})
        else:
            self.db.advance_clock(ms)

    async def close(self) -> None:
        if self.db is not None:
            await done(self.db.close())
        if self.host is not None:
            self.host.close()
        if self.folder is not None:
            self.folder.cleanup()

    async def call(self, operation: str, args: dict[str, Any]) -> Any:
        """The result as plain values; watches give what they said of their beginning."""
        method = getattr(self.db, operation.lower())
        try:
            inspect.signature(method).bind(**args)
        except TypeError as error:
            raise rstmdb.ArgumentError(
                str(error), code="BAD_REQUEST", reason="invalid_request"
            ) from None
        return await done(method(**args))

    async def events(self, name: str, count: int) -> list[Any]:
        watch = self.watches[name]
        found = []
        for _ in range(count):
            if self.module is rstmdb:
                event = await asyncio.wait_for(watch.next(), EVENT_SECONDS)
            else:
                event = watch.next(timeout=EVENT_SECONDS)
            if event is None:
                raise StepFailed("the stream ended")
            found.append(event.to_dict())
        return found


def error_dict(error: rstmdb.RstmdbError) -> dict[str, Any]:
    found = {
        "code": error.code,
        "kind": error.kind,
        "retryable": error.retryable,
        "context": error.context,
    }
    return found if error.reason is None else {**found, "reason": error.reason}


class Scenario:
    """One scenario on one target."""

    def __init__(self, target: Target, values: dict[str, Any]) -> None:
        self.target = target
        self.saved = dict(values)

    async def step(self, step: dict[str, Any]) -> None:
        op = step["op"]
        if op == "REOPEN":
            await self.target.reopen()
        elif op == "ADVANCE_CLOCK":
            self.target.advance(step["ms"])
        elif op == "EXPECT_EVENTS":
            events = await self.target.events(step["watch"], len(step["events"]))
            self.match(step["events"], events, "events")
        else:
            await self.operation(op, step)

    async def operation(self, op: str, step: dict[str, Any]) -> None:
        try:
            result = await self.target.call(op, self.filled(step.get("args", {})))
        except rstmdb.RstmdbError as error:
            found = error_dict(error)
            if "error" not in step:
                raise StepFailed(f"unexpected error {found}: {error}") from error
            self.match(step["error"], found, "error")
            return
        if op in WATCHES:
            if "watch" in step:
                self.target.watches[step["watch"]] = result
            result = result.result
        result = result.to_dict()
        if "error" in step:
            raise StepFailed(f"expected an error, got {result}")
        if "expect" in step:
            self.match(step["expect"], result, "result")
        for name, path in step.get("save", {}).items():
            self.saved[name] = followed(result, path)

    def filled(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.filled(element) for element in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((key, inner),) = value.items()
            if key == "$ref":
                return self.saved[inner]
            if key == "$repeat":
                return inner[0] * inner[1]
        return {key: self.filled(inner) for key, inner in value.items()}

    def match(self, expected: Any, found: Any, path: str) -> None:
        if isinstance(expected, dict):
            matcher = next(iter(expected)) if len(expected) == 1 else ""
            if matcher.startswith("$"):
                self.special(matcher, expected[matcher], found, path)
                return
            if not isinstance(found, dict):
                raise StepFailed(f"{path}: expected an object, got {found!r}")
            for key, inner in expected.items():
                here = f"{path}.{key}"
                if key in found:
                    self.match(inner, found[key], here)
                elif inner != {"$absent": True}:
                    raise StepFailed(f"{here} is absent in {found!r}")
        elif isinstance(expected, list):
            if not isinstance(found, list) or len(found) != len(expected):
                raise StepFailed(f"{path}: expected {len(expected)} elements, got {found!r}")
            for index, (inner, element) in enumerate(zip(expected, found)):
                self.match(inner, element, f"{path}[{index}]")
        elif not same(expected, found):
            raise StepFailed(f"{path}: expected {expected!r}, got {found!r}")

    def special(self, matcher: str, wanted: Any, found: Any, path: str) -> None:
        is_int = isinstance(found, int) and not isinstance(found, bool)
        if matcher == "$any":
            fits = True
        elif matcher == "$int":
            fits = is_int
        elif matcher == "$string":
            fits = isinstance(found, str)
        elif matcher == "$absent":
            fits = False
        elif matcher == "$ref":
            fits = same(self.saved[wanted], found)
        elif matcher == "$exact":
            fits = same(wanted, found)
        elif matcher == "$len":
            fits = isinstance(found, (list, dict, str)) and len(found) == wanted
        elif matcher == "$gt":
            fits = is_int and found > self.filled(wanted)
        elif matcher == "$contains":
            fits = isinstance(found, list)
            for element in wanted:
                fits = fits and any(self.fits(element, one, path) for one in found)
        else:
            raise StepFailed(f"{path}: unknown matcher {matcher}")
        if not fits:
            raise StepFailed(f"{path}: expected {{{matcher}: {wanted!r}}}, got {found!r}")

    def fits(self, expected: Any, found: Any, path: str) -> bool:
        try:
            self.match(expected, found, path)
        except StepFailed:
            return False
        return True


def same(expected: Any, found: Any) -> bool:
    """Equal, and of the same type: Python takes True for 1."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return expected.keys() == found.keys() and all(
            same(value, found[key]) for key, value in expected.items()
        )
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(map(same, expected, found))
    return isinstance(expected, bool) == isinstance(found, bool) and bool(expected == found)


def followed(value: Any, path: str) -> Any:
    for part in path.split(".") if path else ():
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


class Report:
    """What is printed."""

    def __init__(self) -> None:
        self.counts = {"passed": 0, "failed": 0, "skipped": 0}

    def add(self, name: str, outcome: str, message: str = "") -> None:
        self.counts[outcome] += 1
        print(json.dumps({"scenario": name, "outcome": outcome, "message": message}), flush=True)

    def end(self) -> int:
        print(json.dumps(self.counts), flush=True)
        return 0 if self.counts["failed"] == 0 and self.counts["passed"] > 0 else 1


async def run_scenario(module: Any, scenario: dict[str, Any], values: dict[str, Any]) -> None:
    target = Target(module, scenario.get("options", {}), exact=False)
    number = 0
    try:
        await target.open()
        running = Scenario(target, values)
        for number, step in enumerate(scenario["steps"], 1):
            try:
                await running.step(step)
            except Exception as error:
                kind = "" if isinstance(error, StepFailed) else f"{type(error).__name__}: "
                raise StepFailed(f"step {number} ({step['op']}): {kind}{error}") from error
    finally:
        await target.close()


async def run_scenarios(module: Any, report: Report) -> None:
    wanted = os.environ.get("RSTMDB_SCENARIO", "")
    for path in sorted(Path(os.environ["RSTMDB_SCENARIOS"]).glob("*.json")):
        file = json.loads(path.read_text(encoding="utf-8"))
        for scenario in file["scenarios"]:
            name = f"{path.stem}/{scenario['name']}"
            if wanted not in name:
                continue
            if (
                "reopen" in scenario.get("requires", ())
                and os.environ.get("RSTMDB_TARGET", "mem:") == "mem:"
            ):
                report.add(name, "skipped", "the target can't be reopened")
                continue
            try:
                await run_scenario(module, scenario, file.get("values", {}))
            except Exception as error:
                report.add(name, "failed", str(error) or type(error).__name__)
            else:
                report.add(name, "passed")
    if wanted in "values/table":
        try:
            await run_table(module)
        except Exception as error:
            report.add("values/table", "failed", f"{type(error).__name__}: {error}")
        else:
            report.add("values/table", "passed")


KEPT = {
    "states": ["kept"],
    "initial": "kept",
    "transitions": [{"from": "kept", "event": "SET", "to": "kept"}],
}


def native_value(native: dict[str, Any]) -> Any:
    """The value of Python that a row of the table stands for."""
    ((kind, value),) = native.items()
    if kind == "integer":
        # No power of ten is too long for Python's own limit.
        return int(value) if len(value) < 100 else 10 ** (len(value) - 1)
    if kind == "float":
        return float(value)
    if kind == "utf16":
        units = b"".join(int(unit, 16).to_bytes(2, "little") for unit in value)
        return units.decode("utf-16-le", "surrogatepass")
    if kind == "nested":
        nested: list[Any] = []
        for _ in range(value - 1):
            nested = [nested]
        return nested
    return value


async def run_table(module: Any) -> None:
    path = Path(os.environ["RSTMDB_SCENARIOS"]).parent / "values.json"
    target = Target(module, {}, exact=False)
    try:
        await target.open()
        await target.call("PUT_MACHINE", {"machine": "values", "version": 1, "definition": KEPT})
        await target.call(
            "CREATE_INSTANCE", {"instance_id": "value", "machine": "values", "version": 1}
        )
        for row in json.loads(path.read_text(encoding="utf-8"))["values"]:
            ways: list[tuple[str, Any]] = [
                ("text", lambda row=row: _native.json_value(f'{{"v":{row["text"]}}}'))
            ]
            if "native" in row:
                ways.append(("payload", lambda row=row: {"v": native_value(row["native"])}))
            for place, make in ways:
                try:
                    await check_row(target, row, place, make)
                except StepFailed as fault:
                    raise StepFailed(f"{row['name']}, {place}: {fault}") from None
    finally:
        await target.close()


async def check_row(target: Target, row: dict[str, Any], place: str, make: Any) -> None:
    try:
        args = {"instance_id": "value", "event": "SET", "payload": make()}
        result = await target.call("APPLY_EVENT", args)
    except rstmdb.RstmdbError as error:
        refused = row.get("refused")
        if refused is None:
            raise StepFailed(f"was refused: {error} {error.context}") from None
        path = refused.get("path")
        if (
            (error.code, error.reason) != ("BAD_REQUEST", refused.get("reason", "invalid_request"))
            or refused.get("said", "") not in error.message
            or (path is not None and error.context.get("path") != f"{place}.v{path}")
        ):
            raise StepFailed(f"{error} {error.context} is not {refused}") from None
        return
    kept = _native.json_text(result.ctx)
    if "stored" not in row or kept != f'{{"v":{row["stored"]}}}':
        raise StepFailed(f"became {kept}")


def reduced(value: Any) -> Any:
    """Leaves out what differs from run to run or from version to version."""
    if isinstance(value, list):
        return [reduced(element) for element in value]
    if not isinstance(value, dict):
        return value
    if "code" in value and "kind" in value:
        return {key: value.get(key) for key in ("code", "kind", "reason", "retryable")}
    return {
        key: inner if key in VERBATIM else True if key in OWN else reduced(inner)
        for key, inner in value.items()
        if key != "message"
    }


async def answer_of(target: Target, step: dict[str, Any]) -> Any:
    op = step["op"]
    if op == "REOPEN":
        await target.reopen()
        return None
    if op == "ADVANCE_CLOCK":
        target.advance(step["ms"])
        return None
    if op == "EVENTS":
        return reduced(await target.events(step["watch"], step["count"]))
    args = dict(step.get("args", {}))
    answers: list[Any] = []
    while True:
        try:
            result = await target.call(op, args)
        except rstmdb.RstmdbError as error:
            facts = error_dict(error)
            found = {key: facts.get(key) for key in ("code", "kind", "reason", "retryable")}
            if "index" in error.context:
                found["index"] = error.context["index"]
            answer: Any = {"error": found}
            cursor = None
        else:
            if op in WATCHES:
                target.watches[step["watch"]] = result
                result = result.result
            answer = result.to_dict()
            cursor = answer.get("next_cursor") if isinstance(answer, dict) else None
            if "keep" in step:
                answer = {key: answer[key] for key in step["keep"] if key in answer}
            answer = reduced(answer)
        if not step.get("pages"):
            return answer
        answers.append(answer)
        if cursor is None:
            return answers
        args["cursor"] = cursor


async def run_programs(module: Any, report: Report) -> None:
    out = Path(os.environ["RSTMDB_OUT"])
    for path in sorted(Path(os.environ["RSTMDB_PROGRAMS"]).glob("seed-*.json")):
        name = f"programs/{path.stem}"
        program = json.loads(path.read_text(encoding="utf-8"))
        target = Target(module, program["options"], exact=True)
        try:
            try:
                await target.open()
                answers = [await answer_of(target, step) for step in program["steps"]]
            finally:
                await target.close()
            text = "".join(_native.json_text(answer) + "\n" for answer in answers)
            (out / f"{path.stem}.jsonl").write_bytes(text.encode())
        except Exception as error:
            report.add(name, "failed", f"{type(error).__name__}: {error}")
        else:
            report.add(name, "passed")


async def answer_calls(module: Any, url: str) -> None:
    """Answers steps as they come, until there are no more."""
    target = Target(module, {}, exact=True)
    target.db = await done(module.open(url))
    try:
        for line in sys.stdin:
            answer = await answer_of(target, json.loads(line))
            print(_native.json_text(answer), flush=True)
    finally:
        await target.close()


def main() -> int:
    modules = {"async": rstmdb, "sync": rstmdb.sync}
    if len(sys.argv) != 2 or sys.argv[1] not in modules:
        sys.exit("usage: python runner.py async|sync")
    if "RSTMDB_URL" in os.environ:
        asyncio.run(answer_calls(modules[sys.argv[1]], os.environ["RSTMDB_URL"]))
        return 0
    report = Report()
    run = run_programs if "RSTMDB_PROGRAMS" in os.environ else run_scenarios
    asyncio.run(run(modules[sys.argv[1]], report))
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
