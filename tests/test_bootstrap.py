"""bootstrap.py compiles the kernels once, and again when one of their files has changed."""

from __future__ import annotations

import importlib.util
import os

import pytest

from stages.lib.imports import ROOT

KERNEL = "from numba import njit\n"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """bootstrap.py in a folder with two modules and a Python that only counts its calls, and fails if told to."""
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "bootstrap.py")
    bootstrap = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bootstrap)
    for name, text in (("stages/kernels.py", ""), ("stages/lib/a.py", KERNEL), ("stages/lib/b.py", "import numpy\n")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho $@ >> calls\ntest ! -e broken\n")
    python.chmod(0o755)
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    for name, value in (("ROOT", tmp_path), ("VENV", python.parent.parent), ("BIN", python.parent)):
        monkeypatch.setattr(bootstrap, name, value)
    return bootstrap, tmp_path


def calls(folder) -> int:
    return len((folder / "calls").read_text().splitlines())


def test_kernels_are_compiled_once_for_a_state_of_their_files(place, monkeypatch):
    bootstrap, folder = place
    for _ in range(2):
        bootstrap.compile_kernels()
        assert (folder / "calls").read_text() == "-m stages.kernels\n"
    (folder / "stages/lib/b.py").write_text("import numpy as np\n")
    bootstrap.compile_kernels()
    assert calls(folder) == 1
    (folder / "stages/lib/a.py").write_text(KERNEL + "# an edit\n")
    bootstrap.compile_kernels()
    assert calls(folder) == 2
    os.utime(folder / "stages/lib/a.py", (0, 0))
    bootstrap.compile_kernels()
    assert calls(folder) == 3
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(folder / "elsewhere"))
    bootstrap.compile_kernels()
    assert calls(folder) == 4


def test_a_changed_kernel_leaves_nothing_compiled_with_the_old_one(place):
    bootstrap, folder = place
    index = folder / "stages/lib/__pycache__/b.f-1.py311.nbi"
    index.parent.mkdir()
    bootstrap.compile_kernels()
    index.write_bytes(b"")
    bootstrap.compile_kernels()
    assert index.exists()
    (folder / "stages/lib/a.py").write_text(KERNEL + "# an edit\n")
    bootstrap.compile_kernels()
    assert not index.exists()


def test_a_failure_is_said_and_tried_again(place, capfd):
    bootstrap, folder = place
    (folder / "broken").write_text("")
    bootstrap.compile_kernels()
    assert "the first jobs will compile them" in capfd.readouterr().err
    (folder / "broken").unlink()
    for _ in range(2):
        bootstrap.compile_kernels()
    assert calls(folder) == 2


@pytest.fixture
def npm(place, monkeypatch):
    """A place with pins of npm packages and an npm that only counts its calls, and fails if told to."""
    bootstrap, folder = place
    monkeypatch.setattr(bootstrap, "READERS", folder / "tests" / "node")
    bootstrap.READERS.mkdir(parents=True)
    for name in ("package.json", "package-lock.json"):
        (bootstrap.READERS / name).write_text("{}")
    program = folder / "bin" / "npm"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nLC_ALL=C ls >> {folder}/calls\ntest ! -e {folder}/broken\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return place


def test_readers_of_others_are_installed_once_for_a_state_of_their_pins(npm):
    bootstrap, folder = npm
    for _ in range(2):
        bootstrap.install_readers()
        assert (folder / "calls").read_text() == "package-lock.json\npackage.json\n"
    (bootstrap.READERS / "package-lock.json").write_text('{"version": 2}')
    bootstrap.install_readers()
    assert calls(folder) == 4
    assert (folder / ".venv/node/package-lock.json").read_text() == '{"version": 2}'


def test_without_npm_or_a_network_the_set_up_goes_on(npm, capfd, monkeypatch):
    bootstrap, folder = npm
    (folder / "broken").write_text("")
    for expected in ("npm failed (message above)", "npm is not installed"):
        bootstrap.install_readers()
        assert f"{expected}: tests that read our files with Spark, three.js and splat-transform are skipped" in (
            capfd.readouterr().err
        )
        monkeypatch.setattr(bootstrap.shutil, "which", lambda name: None)


def test_a_read_only_installation_is_left_alone(place, monkeypatch):
    bootstrap, folder = place
    monkeypatch.setattr(bootstrap.os, "access", lambda path, mode: False)
    bootstrap.compile_kernels()
    assert not (folder / "calls").exists()
