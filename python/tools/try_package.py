"""Installs the wheel and the sdist in empty environments outside the repository and runs the quick start.

`python tools/try_package.py DIST SERVER`: embedded and on a server, with the wheel for this platform; the
sdist, if there is one, is built to a wheel from its own files, which needs Rust, and must contain the same.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def main() -> None:
    dist, server = Path(sys.argv[1]).resolve(), sys.argv[2]
    with tempfile.TemporaryDirectory(prefix="rstmdb-package-") as name:
        folder = Path(name)
        # Nothing of the repository may be found: no PYTHONPATH, and another working directory.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        python = made(folder / "wheel")
        # Of the wheels that are there, pip takes the one for this platform.
        offline = {**environment, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(dist)}
        only = ["--quiet", "--only-binary", ":all:"]
        must([python, "-m", "pip", "install", *only, "rstmdb"], folder, offline)
        quick_start(python, folder, environment, server)
        print("package: the wheel works, embedded and on a server")
        installed_anew(python, folder, offline)
        print("package: where the native module is missing, the error names what helps")
        for sdist in dist.glob("*.tar.gz"):
            (wheel,) = dist.glob("*.whl")
            built = from_sdist(sdist, folder, environment)
            if members(built) != members(wheel):
                sys.exit(f"package: {sdist.name} makes another wheel than the repository")
            print(f"package: {sdist.name} builds the same wheel outside the repository")


def made(folder: Path) -> Path:
    venv.create(folder, with_pip=True)
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def must(command: list[object], folder: Path, environment: dict[str, str]) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"package: {' '.join(words)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def quick_start(python: Path, folder: Path, environment: dict[str, str], server: str) -> None:
    text = README.read_text("utf-8")
    code, expected = re.findall(r"```(?:python|text)\n(.*?)```", text, re.DOTALL)[:2]
    script = folder / "quick_start.py"
    script.write_text(code, "utf-8")
    same(must([python, script], folder, environment), expected)
    command = [server, "--data", str(folder / "served"), "--bind", "127.0.0.1:0"]
    with subprocess.Popen(
        [*command, "--metrics-bind", "off"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            found = re.search(rb'"address":"([^"]+)"|(127\.0\.0\.1:\d+)', line)
            if found:
                address = (found.group(1) or found.group(2)).decode()
                script.write_text(code.replace('"./data"', f'"rstmdb://{address}"'), "utf-8")
                same(must([python, script], folder, environment), expected)
                break
        running.terminate()


def installed_anew(python: Path, folder: Path, environment: dict[str, str]) -> None:
    """Without its native module the package says which command helps, and that command does."""
    find = "import rstmdb._native as it; print(it.__file__)"
    Path(must([python, "-c", find], folder, environment).strip()).unlink()
    failed = subprocess.run(
        [str(python), "-c", "import rstmdb"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    command = re.search(r"python (-m pip install --force-reinstall rstmdb)$", failed.stderr.strip())
    if failed.returncode == 0 or command is None:
        sys.exit(f"package: without its native module it says\n{failed.stderr}")
    must([python, *command.group(1).split()], folder, environment)
    must([python, "-c", "import rstmdb"], folder, environment)


def same(shown: str, expected: str) -> None:
    if shown != expected:
        sys.exit(f"package: the quick start printed\n{shown}instead of\n{expected}")


def from_sdist(sdist: Path, folder: Path, environment: dict[str, str]) -> Path:
    out = folder / "built"
    target = {**environment, "CARGO_TARGET_DIR": str(sdist.parent.parent / "sdist-target")}
    must(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", out, sdist],
        folder,
        target,
    )
    (wheel,) = out.glob("*.whl")
    return wheel


def members(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if "dist-info" not in name}


if __name__ == "__main__":
    main()
