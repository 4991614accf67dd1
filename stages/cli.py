"""The thin shell around every stage: `python -m stages.<stage> --name path ... --settings JSON --log FILE`.

It reads the parameters of the stage's `main` (paths by annotation, `settings` by its model), parses the
settings, opens the log, runs, and ends in one clear error line on anything a user can mend. A stage gets a
`Reporter`: `say` writes to the log, `progress` also shows a bar on the terminal.
"""

from __future__ import annotations

import argparse
import errno
import inspect
import json
import os
import platform
import resource
import sys
import time
import traceback
import typing
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from stages.contracts import ContractError
from stages.settings import NO_INFLUENCE, Run, SettingsError, parse

# Bars of parallel jobs share one terminal, so each is a whole line, and few enough to be read.
SECONDS_BETWEEN_BARS = 5.0
BAR_WIDTH = 24


class StageError(RuntimeError):
    """Input a stage cannot use; the text says what was given, what was expected, what to type."""


class Reporter:
    """Writes a stage's log, and its progress to the log and the terminal."""

    def __init__(self, stage: str, label: str, log: typing.TextIO, terminal: typing.TextIO) -> None:
        self.stage = stage
        self.label = label
        self._log = log
        self._terminal = terminal
        self._started = time.monotonic()
        self._first: tuple[int, float] | None = None
        self._last_bar = 0.0

    def say(self, text: str) -> None:
        """One line to the log."""
        self._log.write(f"[{time.monotonic() - self._started:8.2f} s] {text}\n")
        self._log.flush()

    def announce(self, text: str) -> None:
        """One line to the log and to the terminal, for what a user must not miss."""
        self.say(text)
        self._terminal.write(f"{self.stage} {self.label}: {text}\n")
        self._terminal.flush()

    def progress(self, done: int, total: int, loss: float | None = None) -> None:
        """A bar with the loss and the time left, every few seconds and at the end."""
        now = time.monotonic()
        if self._first is None:
            self._first = (done, now)
        if now - self._last_bar < SECONDS_BETWEEN_BARS and done < total:
            return
        self._last_bar = now
        speed = (done - self._first[0]) / max(now - self._first[1], 1e-9)
        left = "--:--" if speed <= 0 else "{:d}:{:02d}".format(*divmod(round((total - done) / speed), 60))
        filled = BAR_WIDTH * done // max(total, 1)
        text = f"{self.stage} {self.label} [{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {done}/{total}"
        text += (f" loss {loss:.5f}" if loss is not None else "") + f" left {left}"
        self.say(text)
        self._terminal.write(text + "\n")
        self._terminal.flush()


def record(settings: Run, stage: str, **chosen: object) -> dict:
    """What a result says of itself: stage, settings, machine, versions.

    Time and memory are left to the log and the benchmark file, so that equal fits are equal files.
    """
    packages = ("numpy", "numba", "torch")
    return {
        "stage": stage,
        "settings": settings.model_dump(mode="json", exclude=NO_INFLUENCE),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "versions": {name: version(name) for name in packages},
        **chosen,
    }


def _parser(stage: str, main: Callable) -> tuple[argparse.ArgumentParser, type[Run], list[str]]:
    hints = typing.get_type_hints(main)
    parser = argparse.ArgumentParser(prog=f"python -m stages.{stage}", description=(main.__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--settings", default="{}", help=f"JSON of {hints['settings'].__name__}, see stages/settings.py"
    )
    parser.add_argument("--log", type=Path, default=None, help="log file; absent = the terminal")
    parser.add_argument("--label", default="", help="short text shown beside the progress bar")
    paths = []
    for name, parameter in inspect.signature(main).parameters.items():
        if name in ("settings", "report"):
            continue
        many = typing.get_origin(hints[name]) is list
        needed = parameter.default is inspect.Parameter.empty
        nargs = ("+" if needed else "*") if many else None
        default = None if needed else parameter.default
        parser.add_argument(
            f"--{name.replace('_', '-')}", dest=name, type=Path, required=needed, nargs=nargs, default=default
        )
        paths.append(name)
    return parser, hints["settings"], paths


def _mendable(error: BaseException) -> str | None:
    """The line shown for an error that the user can mend; None for a defect, which keeps its traceback."""
    if isinstance(error, (StageError, ContractError, SettingsError)):
        return str(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return (
            f"the disk is full or a quota is used up ({error.strerror}). Nothing half-written was kept. "
            "Free some space (`df -h .` shows it) and run the same command again; finished stages are not repeated."
        )
    # By its name: most stages do without torch, whose import takes seconds.
    if type(error).__name__ == "OutOfMemoryError":
        first = str(error).splitlines()[0] if str(error) else "no details"
        return (
            f"out of GPU memory ({first}). Lower frames.size, canonical.n_gaussians or, in a training, the `batch` of "
            "its settings; `nvidia-smi` shows what else is on the GPU, and `device: cpu` does without one."
        )
    if isinstance(error, MemoryError):
        return f"out of memory ({error}). Lower frames.size or canonical.n_gaussians, or use fewer --cores."
    return None


def run(main: Callable, stage: str) -> None:
    """Parse sys.argv for `main`, run it with its log open, and exit 1 with one line on an error."""
    parser, model, paths = _parser(stage, main)
    arguments = parser.parse_args()
    log, report = sys.stdout, None
    try:
        if arguments.log:
            arguments.log.parent.mkdir(parents=True, exist_ok=True)
            log = open(arguments.log, "w", encoding="utf-8")
        report = Reporter(stage, arguments.label, log, sys.stderr)
        settings = parse(model, json.loads(arguments.settings), f"--settings of {stage}")
        for name in paths:
            report.say(f"{name}: {getattr(arguments, name)}")
        report.say(f"settings: {settings.model_dump_json()}")
        main(**{name: getattr(arguments, name) for name in paths}, settings=settings, report=report)
        report.say(f"done, peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    except Exception as error:
        line = _mendable(error)
        if line is None:
            line = traceback.format_exc()
        text = f"error in stage {stage} {arguments.label}: {line}"
        # The terminal first: the log may be what a full disk refuses.
        sys.stderr.write(text.rstrip() + "\n")
        sys.stderr.flush()
        if report is not None:
            with suppress(OSError):
                report.say(text)
        # Threads of a backend must not keep a failed job alive.
        os._exit(1)
    finally:
        if log is not sys.stdout:
            with suppress(OSError):
                log.close()
