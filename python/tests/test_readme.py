"""The blocks of the README and of the guide, in their order, as somebody would try them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import ROOT

PAGES = [ROOT / "python/README.md", ROOT / "docs/guide/python.md"]
BLOCKS = [
    pytest.param(code, id=f"{page.name}-{number}")
    for page in PAGES
    for number, code in enumerate(
        re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL), 1
    )
]


@pytest.mark.parametrize("code", BLOCKS)
def test_blocks_run(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.chdir(tmp_path)
    if "localhost:7401" in code.replace('or "rstmdb://localhost:7401"', ""):
        server = request.getfixturevalue("server")
        code = code.replace("localhost:7401", f"127.0.0.1:{server.port}")
    exec(compile(code, "block", "exec"), {"__name__": "__main__"})


def test_the_quick_start_prints_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = PAGES[0].read_text("utf-8")
    code, expected = re.findall(r"```(?:python|text)\n(.*?)```", text, re.DOTALL)[:2]
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "block", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out == expected
