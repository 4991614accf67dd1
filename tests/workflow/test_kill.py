"""SIGKILL in the middle of a fit, of the job and of Snakemake: the same command resumes and ends bitwise equal."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

MODEL = "results/smoke/mouth/stag4d/seed0/dynamic.safetensors"
CHECKPOINT = "results/smoke/mouth/stag4d/seed0/checkpoints/dynamic.pt"
LOG = "results/smoke/mouth/stag4d/seed0/logs/dynamic.log"
# Long enough to be killed in the middle, short enough for a test.
STEPS = 600


def lengthen(project) -> None:
    path = project.folder / "smoke.yaml"
    text = path.read_text().replace("dynamic: {images: 90", f"dynamic: {{images: {2 * STEPS}")
    path.write_text(text + "checkpoint_interval_s: 0.2\n")


def fits(folder: Path) -> list[int]:
    """Process ids of dynamic fits that run in `folder`."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
            here = os.readlink(entry / "cwd") == str(folder)
        except OSError:
            continue
        if here and b"stages.dynamic" in command and b"-m" in command and b"-c" not in command:
            found.append(int(entry.name))
    return found


def wait_for(condition, seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"no {what} within {seconds} s"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def unkilled(make_workplace) -> bytes:
    project = make_workplace("unkilled")
    lengthen(project)
    project.run("--cores", "1", MODEL)
    return (project.folder / MODEL).read_bytes()


@pytest.mark.parametrize("victim", ["fit", "snakemake", "both"])
def test_kill_and_resume(make_workplace, unkilled, victim):
    project = make_workplace(victim)
    lengthen(project)
    command = project.command("--cores", "1", MODEL)
    running = subprocess.Popen(command, cwd=project.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for((project.folder / CHECKPOINT).exists, 300, "checkpoint")
    pids = fits(project.folder)
    assert pids, "the fit ended before it could be killed; raise STEPS"
    if victim in ("snakemake", "both"):
        os.kill(running.pid, signal.SIGKILL)
    if victim in ("fit", "both"):
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    running.wait(timeout=120)
    assert running.returncode != 0
    assert not (project.folder / MODEL).exists() or victim == "snakemake"
    project.run("--cores", "1", MODEL)
    log = (project.folder / LOG).read_text()
    assert f"of {STEPS} from" in log and "resumed at step" in log
    assert (project.folder / MODEL).read_bytes() == unkilled
    wait_for(lambda: not fits(project.folder), 60, "end of the orphaned fit")


def test_the_command_after_the_orphaned_fit_has_ended(make_workplace, unkilled):
    """All outputs are there then, and Snakemake's marks that say that they may be half-written."""
    project = make_workplace("orphan")
    lengthen(project)
    command = project.command("--cores", "1", MODEL)
    running = subprocess.Popen(command, cwd=project.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for((project.folder / CHECKPOINT).exists, 300, "checkpoint")
    os.kill(running.pid, signal.SIGKILL)
    running.wait(timeout=120)
    assert not (project.folder / MODEL).exists(), "the fit ended before Snakemake could be killed; raise STEPS"
    wait_for(lambda: not fits(project.folder), 300, "end of the orphaned fit")
    assert (project.folder / MODEL).read_bytes() == unkilled
    assert any((project.folder / ".snakemake" / "incomplete").iterdir())
    project.run("--cores", "1", MODEL)
    assert (project.folder / MODEL).read_bytes() == unkilled
    assert project.planned(MODEL) == {}
