"""Puts the package and a native module that cargo built into a folder that PYTHONPATH can name.

`python tools/stage.py debug|release FOLDER TARGET_DIR`
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

# What cargo calls the library, and what Python must find.
NAMES = {
    "librstmdb_native.so": "_native.abi3.so",
    "librstmdb_native.dylib": "_native.abi3.so",
    "rstmdb_native.dll": "_native.pyd",
}


def main() -> None:
    profile, folder, target = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    source = Path(__file__).parent.parent / "rstmdb"
    package = folder / "rstmdb"
    package.mkdir(parents=True, exist_ok=True)
    wanted = {
        path.name
        for path in source.iterdir()
        if path.suffix in (".py", ".pyi") or path.name == "py.typed"
    }
    for path in package.iterdir():
        if path.is_file() and path.suffix in (".py", ".pyi") and path.name not in wanted:
            path.unlink()
    for name in wanted:
        copy(source / name, package / name)
    found = [(target / profile / built, name) for built, name in NAMES.items()]
    library, name = next(((path, name) for path, name in found if path.is_file()), (None, ""))
    if library is None:
        sys.exit(f"stage: no native module in {target / profile}; cargo build -p rstmdb-python")
    copy(library, package / name)


def copy(source: Path, target: Path) -> None:
    """Copies by way of another name: a process may have the old file open."""
    if target.is_file() and target.read_bytes() == source.read_bytes():
        return
    new = target.with_name(f"{target.name}.new")
    shutil.copyfile(source, new)
    new.replace(target)


if __name__ == "__main__":
    main()
