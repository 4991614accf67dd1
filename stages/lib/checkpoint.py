"""Checkpoints of long fits: outside the declared outputs, refused on any mismatch, loaded without pickle's code.

A checkpoint carries digests of the settings, the input files and the code. The folder's lock makes a second
process wait for one that still runs (a killed Snakemake leaves its jobs alive), so that both end equal.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from stages.cli import Reporter, StageError
from stages.contracts import replacing
from stages.lib.device import Device
from stages.lib.imports import code


def digest(stage: str, settings_json: str, device: Device, inputs: list[Path]) -> str:
    """One text for settings, the device chosen, inputs and the stage's code, imported yet or not."""
    chosen = "".join(f"{key}={value};" for key, value in sorted(device.describe().items()))
    total = hashlib.sha256((settings_json + chosen).encode())
    for path in [*inputs, *code(stage)]:
        total.update(hashlib.sha256(Path(path).read_bytes()).digest())
    return total.hexdigest()


def save(path: Path, identity: str, state: dict, about: dict) -> None:
    """Write `state` (tensors, numbers, texts, lists, dicts) atomically; `about` is what a reader of it must know."""
    data = io.BytesIO()
    torch.save({"identity": identity, "state": state, "about": json.dumps(about)}, data)
    # Written here, since torch's own error of a full disk is a RuntimeError that does not say so.
    with replacing(path) as temporary:
        temporary.write_bytes(data.getbuffer())


def peek(path: Path) -> tuple[dict, dict]:
    """State and `about` of any checkpoint, whatever its identity, to look at and not to go on from.

    Raises StageError where it cannot be read.
    """
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
        return content["state"], json.loads(content["about"])
    except Exception as error:  # torch.load raises its own, pickle's and zipfile's errors
        raise StageError(
            f"checkpoint {path} cannot be read ({type(error).__name__}); expected one that this version wrote. "
            "A fit that runs writes it anew."
        ) from None


def load(path: Path, identity: str, report: Reporter) -> dict | None:
    """The state of a checkpoint of the same identity, or None; raises StageError if it holds NaN."""
    if not path.exists():
        return None
    try:
        content = torch.load(path, weights_only=True)
    except Exception as error:  # torch.load raises its own, pickle's and zipfile's errors
        report.say(f"checkpoint {path} cannot be read ({type(error).__name__}); starting from the first step")
        return None
    if content["identity"] != identity:
        report.say(f"checkpoint {path} is of other settings, inputs or code; starting from the first step")
        return None
    bad = _not_finite(content["state"], "state")
    if bad:
        raise StageError(
            f"checkpoint {path} holds NaN or infinity in {bad}; expected finite numbers. "
            f"Type `rm {path}` to start again."
        )
    return content["state"]


def _not_finite(value: object, name: str) -> str | None:
    if isinstance(value, torch.Tensor):
        return name if value.is_floating_point() and not bool(torch.isfinite(value).all()) else None
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return next((bad for key, inner in items if (bad := _not_finite(inner, f"{name}.{key}"))), None)


@contextmanager
def locked(folder: Path, report: Reporter) -> Iterator[None]:
    """Hold the folder's lock; wait, saying so, while another process of the same fit is alive."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as file:
        waited = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waited:
                    report.say("another process is fitting this; waiting for it to end")
                    waited = True
                time.sleep(1.0)
        yield


class Clock:
    """Says when the next checkpoint is due; time decides when it is written, never what is in it."""

    def __init__(self, interval_s: float) -> None:
        self.interval_s = interval_s
        self._last = time.monotonic()

    def due(self) -> bool:
        if time.monotonic() - self._last < self.interval_s:
            return False
        self._last = time.monotonic()
        return True
