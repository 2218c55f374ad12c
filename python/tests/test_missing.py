"""Where the native module is missing or can't be loaded, the error says so, and what helps."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT

import rstmdb

INSTALLED = Path(rstmdb.__file__).parent
(NATIVE,) = (path.name for path in INSTALLED.glob("_native.*") if path.suffix in (".so", ".pyd"))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package as files, without its native module."""
    hidden = shutil.ignore_patterns("_native.*so", "_native.pyd", "__pycache__")
    shutil.copytree(INSTALLED, tmp_path / "copy/rstmdb", ignore=hidden)
    return tmp_path / "copy/rstmdb"


def said(path: Path) -> str:
    """The last line of an import that fails."""
    program = [
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {str(path)!r}); import rstmdb",
    ]
    done = subprocess.run(program, cwd=path.parent, env={}, capture_output=True, text=True)
    assert done.returncode != 0, "it was imported"
    assert "circular" not in done.stderr.splitlines()[-1]
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"ImportError: rstmdb {rstmdb.__version__} "), done.stderr
    return line


def test_a_missing_one_is_said_with_platform_cause_and_remedy(copy: Path) -> None:
    line = said(copy.parent)
    assert f"on {sysconfig.get_platform()}" in line
    assert f"{copy} lacks it" in line
    assert "pip install --force-reinstall rstmdb" in line


def test_one_of_another_python_is_named(copy: Path) -> None:
    (copy / "_native.pypy39-pp73-darwin.so").write_bytes(b"")
    line = said(copy.parent)
    assert "_native.pypy39-pp73-darwin.so is for another Python or platform" in line
    assert "CPython 3.9 or newer" in line


def test_one_that_the_system_refuses_says_why(copy: Path) -> None:
    (copy / NATIVE).write_bytes(b"this is no library")
    line = said(copy.parent)
    assert f"could not load its native module {NATIVE}" in line
    assert sysconfig.get_platform() in line


def test_sources_say_that_they_are_sources() -> None:
    line = said(ROOT / "python")
    assert "sources" in line
    assert "make wheels" in line


def test_an_archive_is_to_be_unpacked(copy: Path, tmp_path: Path) -> None:
    archive = tmp_path / "site.zip"
    with zipfile.ZipFile(archive, "w") as written:
        for path in copy.rglob("*.py"):
            written.write(path, path.relative_to(copy.parent))
    assert "unpack the archive" in said(archive)
