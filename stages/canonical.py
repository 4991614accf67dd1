"""canonical: a static fit of the key frame to its input view and anchors (STAG4D's first 700 steps).

Reads frames.npz and anchors.npz; writes canonical.ply and the loss curve. Gaussians start inside the visual
hull of the seven silhouettes instead of a random ball.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stages import cli
from stages.cli import Reporter, record
from stages.contracts import Anchors, Frames
from stages.lib import checkpoint, fit
from stages.lib import guidance as sds
from stages.lib.device import Device, choose, say_peak
from stages.lib.gaussians import from_tensors, to_tensors, visual_hull
from stages.settings import NO_INFLUENCE, CanonicalRun, CanonicalSettings, canonical_json


def plan(settings: CanonicalSettings, key: int, interval_s: float) -> fit.Plan:
    """The loop's plan: the key frame only, every anchor in every step."""
    return fit.Plan(
        steps=settings.steps,
        frames=range(key, key + 1),
        sub_clip=1,
        singles=0,
        anchor_views=settings.anchor_views,
        photometric=settings.photometric,
        densify=settings.densify,
        rates=settings,
        rate_factor=1.0,
        dynamic=None,
        checkpoint_interval_s=interval_s,
    )


def initial_state(
    frames: Frames, anchors: Anchors, goal: fit.Targets, settings: CanonicalRun, device: Device
) -> fit.State:
    """Gaussians in the visual hull of the key frame's views, before the first step."""
    views = goal.rgba[frames.key].cpu().numpy()
    generator = np.random.default_rng(settings.seed)
    gaussians = visual_hull(views, goal.cameras, settings.canonical, generator)
    the_plan = plan(settings.canonical, frames.key, settings.checkpoint_interval_s)
    return fit.start(to_tensors(gaussians, device.device), None, the_plan, settings.seed)


def main(
    frames: Path,
    anchors: Path,
    out: Path,
    curve: Path,
    checkpoints: Path,
    settings: CanonicalRun,
    report: Reporter,
    weights: list[Path] = (),
) -> None:
    """Fit static gaussians to the key frame; `weights` is the receipt of the guidance's network."""
    device = choose(settings)
    report.say(f"device {device.device}, backend {device.backend}, threads {device.threads}, seed {settings.seed}")
    the_frames, the_anchors = Frames.load(frames), Anchors.load(anchors)
    goal = fit.targets(the_frames, the_anchors, device.device)
    the_plan = plan(settings.canonical, the_frames.key, settings.checkpoint_interval_s)
    guidance = sds.open_guidance(
        settings.guidance, weights, the_frames, the_anchors, the_plan.frames, sds.CANONICAL_SPAN, device, report
    )
    told = canonical_json(settings, NO_INFLUENCE) + sds.identity(guidance)
    identity = checkpoint.digest("canonical", told, device, [frames, anchors])
    with checkpoint.locked(checkpoints, report):
        state = initial_state(the_frames, the_anchors, goal, settings, device)
        state = fit.fit(state, goal, the_plan, device, checkpoints / "canonical.pt", identity, report, guidance)
        fit.write_curve(curve, state)
        about = sds.about(settings.guidance, settings.canonical.photometric, guidance) if guidance else {}
        from_tensors(state.params).save(out, record(settings, "canonical", **device.describe(), **about))
    if guidance:
        say_peak(device.device, report)
    report.say(f"wrote {out}: {len(state.params['means'])} gaussians")


if __name__ == "__main__":
    cli.run(main, "canonical")
