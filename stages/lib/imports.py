"""Which of the project's files a stage depends on: those that its import statements reach, wherever they stand.

Read from the files, not from what has been imported: a module imported late, such as a rasterizer, counts as well.
"""

from __future__ import annotations

import ast
import functools
import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


# Where a statement holds further ones.
BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")


def _statements(nodes: list[ast.AST]) -> Iterator[ast.AST]:
    """All statements below some; not their expressions, which are ten times as many and import nothing."""
    for node in nodes:
        yield node
        for block in BLOCKS:
            yield from _statements(getattr(node, block, []))


@functools.cache
def _imports(file: Path) -> list[str]:
    """The project's modules that a file names in import statements, wherever they stand."""
    found = []
    for node in _statements(ast.parse(file.read_text(encoding="utf-8")).body):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.startswith("stages")]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stages"):
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
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
