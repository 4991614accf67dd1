"""Imports are found wherever statements may stand."""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

from stages.lib.imports import ROOT, _imports


def imports_twin(file: Path) -> set[str]:
    """The same by Python's own parser."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("stages")}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stages"):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_the_pattern_finds_what_the_parser_finds():
    files = sorted((ROOT / "stages").rglob("*.py"))
    assert len(files) > 100
    assert {file: set(_imports(file)) for file in files} == {file: imports_twin(file) for file in files}


def test_imports_are_found_in_every_kind_of_block(tmp_path):
    file = tmp_path / "module.py"
    text = """
        import stages.top
        from stages import one, two as second  # a word
        from stages.lib import (
            long,  # another, with a comma
            longer as short,
        )
        if True:
            import stages.then
        else:
            from stages.lib import otherwise
        try:
            import stages.tried
        except ImportError:
            import stages.caught
        finally:
            import stages.last
        match 1:
            case 1:
                import stages.case
        class Kind:
            def method(self):
                with open("x"):
                    for _ in ():
                        import stages.deep
        import numpy
    """
    file.write_text(textwrap.dedent(text))
    names = "top one two lib.long lib.longer then lib.otherwise tried caught last case deep"
    found = set(_imports(file))
    assert {f"stages.{name}" for name in names.split()} <= found
    assert found == imports_twin(file)
