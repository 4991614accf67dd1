"""The shell around a stage: arguments from the signature, a log, a bar, one line for what a user can mend."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from stages.cli import Reporter

ROOT = Path(__file__).resolve().parent.parent

STAGE = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from stages import cli
from stages.cli import Reporter, StageError
from stages.contracts import replacing, save_tensors
from stages.settings import Run

def some_bytes(out, report):
    with replacing(out) as temporary:
        temporary.write_bytes(b"x" * 5000)

def tensors(out, report):
    save_tensors(out, {"means": np.zeros(5000)}, {})

def a_checkpoint(out, report):
    import torch
    from stages.lib import checkpoint
    checkpoint.save(out, "identity", {"means": torch.zeros(5000)}, {})

def a_line(out, report):
    report.say("x" * 5000)

FULL = {"bytes": some_bytes, "tensors": tensors, "checkpoint": a_checkpoint, "log": a_line}

def main(source: Path, out: Path, settings: Run, report: Reporter) -> None:
    "A stage for tests."
    text = source.read_text()
    if text == "mend":
        raise StageError("given a, expected b, type c")
    if text == "gpu":
        import torch
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\\nmore")
    if text == "defect":
        raise KeyError("surprise")
    if text in FULL:
        # The kernel refuses to write beyond 2000 bytes, as a full disk would in the middle of a file.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        FULL[text](out, report)
    with replacing(out) as temporary:
        temporary.write_text(str(settings.seed))

cli.run(main, "toy")
"""


def run(folder: Path, text: str, *more: str) -> subprocess.CompletedProcess:
    (folder / "toy.py").write_text(STAGE)
    (folder / "in.txt").write_text(text)
    command = [sys.executable, "toy.py", "--source", "in.txt", "--out", "out.txt", *more]
    # Compiled modules would be written while the full disk is played, cut off and read by whoever comes next.
    surroundings = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=surroundings)


def test_arguments_settings_and_log(tmp_path):
    done = run(tmp_path, "fine", "--settings", '{"seed": 7}', "--log", "logs/toy.log")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.txt").read_text() == "7"
    log = (tmp_path / "logs/toy.log").read_text()
    assert "source: in.txt" in log
    assert '"seed":7' in log


def test_a_mendable_error_is_one_line_in_log_and_terminal(tmp_path):
    done = run(tmp_path, "mend", "--log", "toy.log", "--label", "cat")
    assert done.returncode == 1
    assert done.stderr == "error in stage toy cat: given a, expected b, type c\n"
    assert "given a, expected b, type c" in (tmp_path / "toy.log").read_text()


def test_a_full_gpu_is_one_line_that_says_what_to_lower(tmp_path):
    done = run(tmp_path, "gpu")
    assert done.returncode == 1
    assert "out of GPU memory (CUDA out of memory. Tried to allocate 2 GiB.). Lower frames.size" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_defect_keeps_its_traceback(tmp_path):
    done = run(tmp_path, "defect")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "surprise" in done.stderr


def test_unknown_setting(tmp_path):
    done = run(tmp_path, "fine", "--settings", '{"sead": 7}')
    assert done.returncode == 1
    assert "unknown key 'sead'; did you mean 'seed'?" in done.stderr


@pytest.mark.parametrize("what", ["bytes", "tensors", "checkpoint", "log"])
def test_a_disk_that_fills_up_leaves_nothing(tmp_path, what):
    done = run(tmp_path, what, "--log", "toy.log")
    assert done.returncode == 1
    assert done.stderr.startswith("error in stage toy : the disk is full or a quota is used up (File too large).")
    assert done.stderr.endswith("run the same command again; finished stages are not repeated.\n")
    assert done.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.txt", "toy.log", "toy.py"]


def test_the_bar_shows_loss_and_time_left():
    terminal = io.StringIO()
    report = Reporter("dynamic", "cat", io.StringIO(), terminal)
    report.progress(1, 10, 0.5)
    report.progress(5, 10, 0.25)
    report.progress(10, 10, 0.125)
    lines = terminal.getvalue().splitlines()
    assert lines[0] == "dynamic cat [##......................] 1/10 loss 0.50000 left --:--"
    assert lines[-1] == "dynamic cat [########################] 10/10 loss 0.12500 left 0:00"
    # The step in between came too soon after the first to be worth a line.
    assert len(lines) == 2
