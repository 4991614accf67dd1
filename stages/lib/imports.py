"""Which of the project's files a stage depends on: those that its import statements reach, wherever they stand.

Read from the files, not from what has been imported: a module imported late, such as a rasterizer, counts as well.
"""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# A pattern, since parsing all files takes a third of a second of every start; a test holds it to Python's own parser.
IMPORT = re.compile(
    r"^[ \t]*(?:import[ \t]+(stages[\w., \t]*)|from[ \t]+(stages[\w.]*)[ \t]+import[ \t]+(\([^)]*\)|.*))", re.M
)


@functools.cache
def _imports(file: Path) -> list[str]:
    """The project's modules that a file names in import statements, wherever they stand."""
    found = []
    for plain, module, names in IMPORT.findall(file.read_text(encoding="utf-8")):
        listed = [name.split()[0] for name in re.sub(r"#.*|[()]", "", plain or names).split(",") if name.strip()]
        found += [f"{module}.{name}" for name in listed] + [module] if module else listed
    return found


@functools.cache
def code(stage: str) -> list[str]:
    """The project files a stage imports, itself first, found by walking import statements."""
    found: dict[Path, None] = {}
    waiting = [f"stages.{stage}"]
    while waiting:
        place = ROOT.joinpath(*waiting.pop().split("."))
        file = next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.exists()), None)
        if file is not None and file not in found:
            found[file] = None
            waiting += _imports(file)
    # Relative to where Snakemake runs: a copied folder must name the same inputs as the original.
    return [os.path.relpath(file) for file in found]
