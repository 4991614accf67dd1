"""dynamic: the fit over time. Methods are settings of this one stage.

static  the canonical repeated over time: the floor that any motion model must beat.
stag4d  STAG4D (Zeng et al. 2024) as its paper means it: a HexPlane deformation field over the canonical
        gaussians, one random frame a step, adaptive densification. Its code's slips are not repeated
        (half of the time axis unused, heads that jump at the start, anisotropy on raw logs, learning
        rates that end at a quarter of the run).

Reads canonical.ply, frames.npz, anchors.npz; writes dynamic.safetensors: its own final gaussians, the
deformation field, presence (T, N), times (T,), and the settings that rebuild the model.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from stages import cli
from stages.cli import Reporter, StageError, record
from stages.contracts import Anchors, Frames, Gaussians, save_tensors
from stages.lib import checkpoint, fit
from stages.lib.deformation import Deformation
from stages.lib.device import Device, choose
from stages.lib.gaussians import NAMES, from_tensors, to_tensors
from stages.settings import NO_INFLUENCE, DynamicRun, canonical_json


def plan(settings: DynamicRun, n_frames: int) -> fit.Plan:
    """The loop's plan: any frame, the input view and some anchors a step."""
    dynamic = settings.dynamic
    return fit.Plan(
        steps=dynamic.steps,
        frames=tuple(range(n_frames)),
        anchor_views=dynamic.anchor_views,
        photometric=dynamic.photometric,
        densify=dynamic.densify,
        rates=settings.canonical,
        rate_factor=dynamic.lr_canonical,
        dynamic=dynamic,
        checkpoint_interval_s=settings.checkpoint_interval_s,
    )


def initial_state(canonical: Gaussians, n_frames: int, settings: DynamicRun, device: Device) -> fit.State:
    """The canonical gaussians under a deformation that is still the identity."""
    generator = torch.Generator().manual_seed(settings.seed)
    deformation = Deformation(settings.dynamic.field, n_frames, generator).to(device.device)
    params = to_tensors(canonical, device.device)
    deformation.check_bounds(params["means"])
    return fit.start(params, deformation, plan(settings, n_frames), settings.seed)


def main(
    canonical: Path,
    frames: Path,
    anchors: Path,
    out: Path,
    curve: Path,
    checkpoints: Path,
    settings: DynamicRun,
    report: Reporter,
) -> None:
    """Fit the motion of the canonical gaussians."""
    device = choose(settings)
    report.say(f"device {device.device}, backend {device.backend}, threads {device.threads}, seed {settings.seed}")
    the_frames, gaussians = Frames.load(frames), Gaussians.load(canonical)
    n_frames = len(the_frames.times)
    if n_frames < 2:
        raise StageError(f"{frames} holds one frame; expected at least 2. Use a longer frames.first to frames.last.")
    arrays: dict[str, np.ndarray] = {}
    if settings.dynamic.method == "static":
        Path(curve).write_text(",".join(fit.CURVE_COLUMNS) + "\n", encoding="utf-8")
    else:
        goal = fit.targets(the_frames, Anchors.load(anchors), device.device)
        identity = checkpoint.digest(canonical_json(settings, NO_INFLUENCE), [canonical, frames, anchors])
        with checkpoint.locked(checkpoints, report):
            state = initial_state(gaussians, n_frames, settings, device)
            state = fit.fit(state, goal, plan(settings, n_frames), device, checkpoints / "dynamic.pt", identity, report)
            fit.write_curve(curve, state)
        gaussians = from_tensors(state.params)
        state.deformation.check_bounds(state.params["means"])
        arrays = {f"field.{name}": value.cpu().numpy() for name, value in state.deformation.state_dict().items()}
    arrays |= {f"gaussians.{name}": getattr(gaussians, name) for name in NAMES}
    arrays |= {"present": np.ones((n_frames, len(gaussians.means)), bool), "times": the_frames.times}
    about = record(settings, "dynamic", **device.describe(), supervision="photometric")
    save_tensors(out, arrays, about)
    report.say(f"wrote {out}: {len(gaussians.means)} gaussians, {n_frames} frames")


if __name__ == "__main__":
    cli.run(main, "dynamic")
