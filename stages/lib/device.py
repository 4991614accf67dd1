"""The one place where device, rasterizer backend and threads are chosen.

Torch's threads come from settings, never from --cores, so that results do not depend on how many jobs run.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.lib.raster import choose_backend
from stages.settings import Run, SettingsError

if TYPE_CHECKING:
    import torch

    from stages.cli import Reporter

# For the log of a stage that draws on the CPU wherever the fit is.
ON_CPU = "device cpu, backend numba, threads 1, no seed: nothing is random"


@dataclass(frozen=True)
class Device:
    """Where a fit runs: torch device, rasterizer backend, threads of one fit."""

    device: torch.device
    backend: str
    threads: int

    def describe(self) -> dict[str, str]:
        """The words that every result records."""
        import torch

        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"
        return {"device": name, "backend": self.backend}

    def precision(self, chosen: str) -> str:
        """The type of a diffusion model's numbers; auto = float16 on CUDA (as published), float32 on a CPU."""
        automatic = "float16" if self.device.type == "cuda" else "float32"
        return automatic if chosen == "auto" else chosen


def choose(settings: Run) -> Device:
    """Resolve `device: auto` and fix the thread count; raises SettingsError when it cannot be had."""
    # Torch takes two seconds to import, and jobs without a network or a fit only ask for words.
    import torch

    wanted = settings.device
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise SettingsError(
            "device: 'cuda' was asked for, but torch sees no CUDA device here; type `device: cpu` or `device: auto`."
        )
    torch.set_num_threads(settings.threads)
    try:
        backend = choose_backend(wanted)
    except ModuleNotFoundError as error:
        raise SettingsError(str(error)) from None
    return Device(torch.device(wanted), backend, settings.threads)


def describe(settings: Run) -> dict[str, str]:
    """The words of `choose(settings)` for a result that needs no torch.

    Torch is imported only where a CUDA driver is.
    """
    if settings.device == "cpu" or (settings.device == "auto" and not _has_driver()):
        return {"device": "cpu", "backend": choose_backend("cpu")}
    return choose(settings).describe()


def say_peak(device: torch.device, report: Reporter) -> None:
    """Say how much GPU memory this process has held at most; nothing on a CPU, whose peak ends every log."""
    import torch

    if device.type == "cuda":
        report.say(f"peak GPU memory {torch.cuda.max_memory_allocated(device) / 1e6:.0f} MB")


def _has_driver() -> bool:
    """Whether there is a CUDA driver, without which torch sees no device."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True
