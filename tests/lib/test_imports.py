"""Imports are found wherever statements may stand."""

from __future__ import annotations

import textwrap

from stages.lib.imports import _imports


def test_imports_are_found_in_every_kind_of_block(tmp_path):
    file = tmp_path / "module.py"
    text = """
        import stages.top
        from stages import one, two
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
    names = "top one two then lib.otherwise tried caught last case deep"
    found = set(_imports(file))
    assert {f"stages.{name}" for name in names.split()} <= found
    assert not any(name.startswith("numpy") for name in found)
