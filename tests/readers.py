"""Programs of others that read our files: npm packages that `bootstrap.py pytest` puts into .venv/node.

Their pins are in tests/node; $NODE_READERS names another folder in which `npm ci` was typed.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

FOLDER = Path(os.environ.get("NODE_READERS") or Path(__file__).resolve().parent.parent / ".venv" / "node")


def missing(package: str) -> str | None:
    """Why a package cannot be used here, with what to type; None if it can."""
    if shutil.which("node") is None:
        return "node is not on PATH; install Node.js 18 or later with npm, then type `python3 bootstrap.py pytest`"
    if not (FOLDER / "node_modules" / package).is_dir():
        return f"{package} is not in {FOLDER}; type `python3 bootstrap.py pytest` where npm is installed"
    return None
