#!/usr/bin/env python3
"""Install the pinned packages into .venv, compile the kernels, then run one command in it.

    python3 bootstrap.py snakemake --cores 2 results/table1.csv
    python3 bootstrap.py pytest

Needs Python 3.11 or 3.12 and nothing else. Installed packages are kept; a changed pin installs again, a changed
kernel compiles again.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / "bin"
CONSTRAINTS = ROOT / "requirements" / "constraints.txt"
# Libraries that only tests compare with, in a folder that nothing else sees; the file says why.
BESIDE = ROOT / "requirements" / "beside.txt"
# Programs of others that read our files, for tests alone, pinned by npm's own lock file.
READERS = ROOT / "tests" / "node"
# pytest and the linters come along only when asked for.
DEVELOPMENT = ("pytest", "ruff", "snakefmt")


def pinned(package: str) -> str:
    """`package==version` as the constraints file has it."""
    for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{package}=="):
            return line
    raise SystemExit(f"{CONSTRAINTS} has no pin for {package}; expected a line {package}==VERSION.")


def install(extra: str) -> None:
    """Create .venv if needed and install the project with its pins, once per state of the pins."""
    stamp = VENV / f".installed{extra or '-base'}"
    files = (CONSTRAINTS, ROOT / "pyproject.toml", *([BESIDE] if extra else []))
    wanted = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return
    if not (BIN / "python").exists():
        print("creating .venv", file=sys.stderr)
        venv.create(VENV, with_pip=True)
    pip = [str(BIN / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    print("installing the pinned packages into .venv (a few minutes the first time)", file=sys.stderr)
    # torch first and by itself, so that a build of this version that is at hand is taken, not replaced.
    subprocess.run([*pip, pinned("torch"), "--constraint", str(CONSTRAINTS)], check=True)
    subprocess.run([*pip, "--constraint", str(CONSTRAINTS), "--editable", f"{ROOT}{extra}"], check=True)
    if extra:
        place = ["--no-deps", "--upgrade", "--target", str(VENV / "beside")]
        subprocess.run([*pip, *place, "--constraint", str(CONSTRAINTS), "--requirement", str(BESIDE)], check=True)
    stamp.write_text(wanted, encoding="utf-8")


def install_readers() -> None:
    """Put the packages of READERS into .venv/node with npm, once per state of their pins.

    Their tests are skipped without them, so that neither a missing npm nor a network that fails stops anything.
    """
    place, stamp = VENV / "node", VENV / ".installed-node"
    files = [READERS / name for name in ("package.json", "package-lock.json")]
    wanted = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    if not os.access(VENV, os.W_OK) or (stamp.exists() and stamp.read_text(encoding="utf-8") == wanted):
        return
    if shutil.which("npm") is None:
        why = "npm is not installed"
    else:
        print("installing Spark, three.js and splat-transform into .venv/node, for tests", file=sys.stderr)
        place.mkdir(exist_ok=True)
        for file in files:
            shutil.copy(file, place)
        # What the packages would run after their installation is not needed for reading files.
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]
        if not subprocess.run(command, cwd=place, stdout=subprocess.DEVNULL).returncode:
            stamp.write_text(wanted, encoding="utf-8")
            return
        why = "npm failed (message above)"
    print(f"{why}: tests that read our files with Spark, three.js and splat-transform are skipped", file=sys.stderr)


def compile_kernels() -> None:
    """Compile the Numba kernels, once per state of the pins and of the kernels' files; `stages/kernels.py` says how."""
    # A read-only checkout is used as its owner left it.
    if not os.access(VENV, os.W_OK):
        return
    stamp, stages = VENV / ".kernels", ROOT / "stages"
    files = [
        file
        for file in sorted(stages.rglob("*.py"))
        if re.search(r"^(from|import) numba\b", file.read_text("utf-8"), re.M)
    ]
    # Numba, too, compiles again when a file's time or size has changed.
    seen = [(str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in [*files, stages / "kernels.py"]]
    told = repr((seen, os.environ.get("NUMBA_CACHE_DIR"), CONSTRAINTS.read_bytes()))
    wanted = hashlib.sha256(told.encode()).hexdigest()
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return
    # But it does not see that a kernel of another file, which was compiled into this one, has changed.
    for index in stages.rglob("__pycache__/*.nbi"):
        index.unlink(missing_ok=True)
    if subprocess.run([str(BIN / "python"), "-m", "stages.kernels"], cwd=ROOT).returncode:
        print(
            "the kernels could not be compiled now (message above); the first jobs will compile them", file=sys.stderr
        )
    else:
        stamp.write_text(wanted, encoding="utf-8")


def main() -> None:
    """Install, compile, then become the command."""
    if not (3, 11) <= sys.version_info[:2] < (3, 13):
        raise SystemExit(
            f"this is Python {sys.version.split()[0]}; expected 3.11 or 3.12. Type `python3.11 bootstrap.py ...`."
        )
    command = sys.argv[1:]
    if not command:
        raise SystemExit(__doc__)
    try:
        install("[dev]" if command[0] in DEVELOPMENT else "")
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"pip failed with exit code {error.returncode}; its message is above.") from None
    if command[0] == "pytest":
        install_readers()
    compile_kernels()
    os.environ["PATH"] = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    os.environ["VIRTUAL_ENV"] = str(VENV)
    program = BIN / command[0]
    if not program.exists():
        raise SystemExit(f"{command[0]} is not in .venv; expected snakemake, pytest, python, ...")
    os.execv(program, [str(program), *command[1:]])


if __name__ == "__main__":
    main()
