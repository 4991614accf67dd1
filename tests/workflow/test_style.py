"""Lint, format and the house's own rules."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BIN = Path(sys.executable).parent


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_snakemake_lint():
    run(sys.executable, "-m", "snakemake", "--lint")


def test_snakefmt():
    run(str(BIN / "snakefmt"), "--check", "Snakefile", "rules")


def test_ruff():
    run(str(BIN / "ruff"), "check", ".")
    run(str(BIN / "ruff"), "format", "--check", ".")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module or ""}
    return found


STAGES = (
    "weights",
    "picture",
    "clip",
    "frames",
    "anchors",
    "canonical",
    "dynamic",
    "bake",
    "speed",
    "renders",
    "assets",
    "compact",
    "player",
    "outside",
    "spz",
    "mesh",
    "turntable",
    "usd",
    "videos",
    "metrics",
    "networks",
    "tables",
    "protocol",
    "ablations",
    "sudden",
    "growth",
    "likeness",
    "fusion",
    "claims",
    "curves",
    "gallery",
    "page",
    "study",
    "preferences",
    "moments",
    "webtables",
    "report",
    "corpus",
    "autoencoder",
    "denoiser",
    "holdout",
    "promote",
)


def test_stages_do_not_import_each_other():
    for stage in STAGES:
        others = {f"stages.{other}" for other in STAGES if other != stage}
        assert not others & imports(ROOT / "stages" / f"{stage}.py"), stage


def test_the_library_imports_no_stage():
    for path in (ROOT / "stages" / "lib").rglob("*.py"):
        assert not {f"stages.{stage}" for stage in STAGES} & imports(path), path


def test_one_word_a_stage():
    for stage in STAGES:
        rule = (ROOT / "rules" / f"{stage}.smk").read_text()
        assert f"python -m stages.{stage} " in rule
        assert f'code=code("{stage}")' in rule
        for directive in ("log:", "benchmark:", "resources:", "mem_mb=", "runtime=", "params:", "settings="):
            assert directive in rule, (stage, directive)
