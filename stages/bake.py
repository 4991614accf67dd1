"""bake: evaluates the fitted model once per time, in order; the only place where it is evaluated after the fit.

Reads dynamic.safetensors; writes sequence.safetensors, which everything after it reads. With `bake.between` it also
holds frames between the fitted ones, which are interpolated, not fitted: scores leave them out (`Sequence.at`). Frames
are written as they come, so that a clip of any length needs the memory of four.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from stages import cli
from stages.cli import Reporter
from stages.contracts import MOVING, ContractError, Gaussians, Moment, Sequence, load_tensors
from stages.lib.device import choose, describe
from stages.lib.interpolation import insert, instants
from stages.settings import BakeRun, DynamicRun, parse


def moments(arrays: dict[str, np.ndarray], about: dict, settings: BakeRun) -> Iterator[Moment]:
    """The gaussians of one frame of a fitted model after the other, those absent from a frame included."""
    fitted = parse(DynamicRun, about["settings"], "settings of dynamic.safetensors")
    if not any(name.startswith("motion.") for name in arrays):
        return still(arrays)
    # Torch takes two seconds to import, and what stands still needs none of it.
    from stages.lib import baking

    return baking.moments(arrays, fitted.dynamic, choose(settings).device)


def still(arrays: dict[str, np.ndarray]) -> Iterator[Moment]:
    """The gaussians of a model without motion, the same in every frame; raises ContractError where they are broken."""
    gaussians = Gaussians(**{name: arrays[f"gaussians.{name}"] for name in Gaussians.NAMES})
    gaussians.check()
    for present in arrays["present"]:
        yield {name: getattr(gaussians, name) for name in MOVING} | {"present": present}


def main(dynamic: Path, out: Path, settings: BakeRun, report: Reporter) -> None:
    """Evaluate the fitted model at every time and write each frame as it comes."""
    report.say("device {device}, backend {backend}, no seed: nothing is random".format(**describe(settings)))
    arrays, about = load_tensors(dynamic)
    if "gaussians.means" not in arrays:
        raise ContractError(f"{dynamic} holds no gaussians; expected the output of the dynamic stage.")
    between, sh = settings.bake.between, arrays["gaussians.sh"]
    times = instants(arrays["times"], between)
    slowed = {"between": between} if len(times) > len(arrays["times"]) else {}
    frames = insert(moments(arrays, about, settings), arrays["times"], between)
    Sequence.save_frames(out, frames, times, sh, about | slowed)
    report.say(f"wrote {out}: {len(times)} frames of {len(sh)} gaussians")


if __name__ == "__main__":
    cli.run(main, "bake")
