"""bake: evaluates the fitted model once per time, in order; the only place where it is evaluated after the fit.

Reads dynamic.safetensors; writes sequence.safetensors, which everything after it reads. With `bake.between` it also
holds frames between the fitted ones, which are interpolated, not fitted: scores leave them out (`Sequence.at`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stages import cli
from stages.cli import Reporter
from stages.contracts import ContractError, Gaussians, Sequence, load_tensors
from stages.lib.device import choose, describe
from stages.lib.interpolation import insert
from stages.settings import BakeRun, DynamicRun, parse


def bake(arrays: dict[str, np.ndarray], about: dict, settings: BakeRun) -> Sequence:
    """The gaussians of every frame (T, N, ...) of a fitted model, those absent from a frame included."""
    fitted = parse(DynamicRun, about["settings"], "settings of dynamic.safetensors")
    if not any(name.startswith("motion.") for name in arrays):
        return still(arrays, about)
    # Torch takes two seconds to import, and what stands still needs none of it.
    from stages.lib import baking

    return baking.bake(arrays, fitted.dynamic, about, choose(settings).device)


def still(arrays: dict[str, np.ndarray], about: dict) -> Sequence:
    """The gaussians of a model without motion, the same in every frame; raises ContractError where they are broken."""
    gaussians = Gaussians(**{name: arrays[f"gaussians.{name}"] for name in Gaussians.NAMES})
    gaussians.check()
    present, times = arrays["present"], arrays["times"]
    repeated = {
        name: np.repeat(value[None], len(times), axis=0) for name, value in vars(gaussians).items() if name != "sh"
    }
    return Sequence(**repeated, sh=gaussians.sh, present=present, times=times, record=about)


def main(dynamic: Path, out: Path, settings: BakeRun, report: Reporter) -> None:
    """Evaluate the fitted model at every time."""
    report.say("device {device}, backend {backend}, no seed: nothing is random".format(**describe(settings)))
    arrays, about = load_tensors(dynamic)
    if "gaussians.means" not in arrays:
        raise ContractError(f"{dynamic} holds no gaussians; expected the output of the dynamic stage.")
    sequence = insert(bake(arrays, about, settings), settings.bake.between)
    sequence.save(out)
    report.say(f"wrote {out}: {sequence.means.shape[0]} frames of {sequence.means.shape[1]} gaussians")


if __name__ == "__main__":
    cli.run(main, "bake")
