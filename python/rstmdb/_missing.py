"""Says why the native module can't be imported, and what helps. Imported when it can't."""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import platform
import sysconfig
from pathlib import Path

from ._names import __version__


def missing(error: ImportError) -> ImportError:
    """The error to raise in the place of one that speaks of modules and not of platforms."""
    folder = Path(__file__).parent
    found = sorted(path.name for path in folder.glob("_native*") if path.suffix != ".pyi")
    loadable = [name for name in found if _fits(name)]
    again = "python -m pip install --force-reinstall rstmdb"
    if loadable:
        said = (
            f"could not load its native module {loadable[0]} for {_here()}: {error}. "
            f"{_installed()}If it came from another machine or image, install it anew on this one: {again}"
        )
    elif found:
        said = (
            f"has no native module for {_here()}: {', '.join(found)} is for another Python or platform, "
            f"this one loads {', '.join(importlib.machinery.EXTENSION_SUFFIXES)}. {_installed()}"
            f"Install it anew with this Python, CPython 3.9 or newer: {again}"
        )
    elif not folder.is_dir():
        said = (
            f"can't load its native module from within {folder.parent}: "
            "unpack the archive, systems load native modules from files"
        )
    elif (folder.parent / "pyproject.toml").is_file():
        said = (
            f"found its sources in {folder.parent}, which have no native module: run Python in another "
            "folder, with the package installed; in the repository `make wheels` builds it, for "
            "python -m pip install target/python/dist/rstmdb-*.whl"
        )
    else:
        said = (
            f"has no native module for {_here()}: {folder} lacks it. {_installed()}It was installed for "
            f"another platform, or copied or frozen without it. Install it anew on this one: {again}"
        )
    return ImportError(f"rstmdb {__version__} {said}", name="rstmdb._native", path=str(folder))


def _fits(name: str) -> bool:
    suffix = name[len("_native") :]
    return suffix in importlib.machinery.EXTENSION_SUFFIXES


def _here() -> str:
    libc = " ".join(platform.libc_ver())
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{python} on {sysconfig.get_platform()}" + (f" ({libc})" if libc.strip() else "")


def _installed() -> str:
    """Which wheel was installed, when that is known."""
    try:
        wheel = importlib.metadata.distribution("rstmdb").read_text("WHEEL") or ""
    except importlib.metadata.PackageNotFoundError:
        return ""
    tags = [line[len("Tag:") :].strip() for line in wheel.splitlines() if line.startswith("Tag:")]
    return f"Installed is the wheel for {', '.join(tags)}. " if tags else ""
