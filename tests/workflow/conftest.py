"""A copy of the project in which the tests may edit code, run the real workflow and kill it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SMOKE = Path(__file__).parent / "smoke.yaml"
PARTS = ("Snakefile", "environment.yml", "rules", "stages", "config", "workflow")


class Project:
    """A folder in which snakemake runs, with the workflow in `home`."""

    def __init__(self, folder: Path, home: Path | None = None) -> None:
        self.folder = folder
        self.home = home or folder

    def command(self, *arguments: str) -> list[str]:
        where = ["--snakefile", str(self.home / "Snakefile"), "--directory", str(self.folder)]
        return [sys.executable, "-m", "snakemake", *where, *arguments, "--configfile", "smoke.yaml"]

    def run(self, *arguments: str, ok: bool = True) -> str:
        """Run snakemake here; its output, after checking the exit code."""
        done = subprocess.run(self.command(*arguments), cwd=self.folder, capture_output=True, text=True, timeout=600)
        output = done.stdout + done.stderr
        assert (done.returncode == 0) == ok, output
        return output

    def planned(self, *arguments: str) -> dict[str, int]:
        """The jobs a dry run would start, by rule."""
        output = self.run(*arguments, "-n", "--quiet", "reason")
        if "Nothing to be done" in output:
            return {}
        table = output.split("Job stats:")[1].split("\n\n")[0]
        rows = [line.split() for line in table.splitlines() if len(line.split()) == 2 and line.split()[1].isdigit()]
        return {name: int(count) for name, count in rows if name != "total"}


def copy_project(folder: Path) -> Project:
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder / part)
    shutil.copy(SMOKE, folder / "smoke.yaml")
    return Project(folder)


@pytest.fixture(scope="session")
def make_workplace(tmp_path_factory):
    """A function from a name to an empty folder that runs this repository's own, already compiled, workflow."""

    def make(name: str) -> Project:
        folder = tmp_path_factory.mktemp(name)
        shutil.copy(SMOKE, folder / "smoke.yaml")
        return Project(folder, ROOT)

    return make


@pytest.fixture
def project(tmp_path) -> Project:
    """A fresh copy without results."""
    return copy_project(tmp_path / "project")


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Project:
    """A copy in which the smoke run has been done; copy it before changing it."""
    project = copy_project(tmp_path_factory.mktemp("finished") / "project")
    # With the kernels that are compiled already, which take longer than the run itself.
    shutil.copytree(ROOT / "stages", project.folder / "stages", dirs_exist_ok=True)
    started = time.monotonic()
    project.log = project.run("--cores", "2", "results/table1.csv", "asset")
    print(f"\nthe smoke run takes {time.monotonic() - started:.0f} s")
    return project


@pytest.fixture
def finished_copy(finished, tmp_path) -> Project:
    """A copy of the finished project, results and Snakemake's records included."""
    shutil.copytree(finished.folder, tmp_path / "copy")
    return Project(tmp_path / "copy")
