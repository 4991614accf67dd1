"""dynamic: the fit over time. Methods are settings of this one stage.

static  the canonical repeated over time: the floor that any motion model must beat.
stag4d  STAG4D (Zeng et al. 2024) as its paper means it: a HexPlane deformation field over the canonical
        gaussians, one random frame a step, adaptive densification. Its code's slips are not repeated
        (half of the time axis unused, heads that jump at the start, anisotropy on raw logs, learning
        rates that end at a quarter of the run).
4dstr   4DSTR (Liu et al. 2026) as its paper means it: stag4d with a temporal encoder that rectifies scales and
        rotations from past frames (`temporal`), densification frame by frame (`densify.scope`), and the mean
        loss of a sub-clip a step (`sub_clip`).

Reads canonical.ply, frames.npz, anchors.npz; writes dynamic.safetensors: its own final gaussians, the
model of motion, presence (F, N), times (F,), and the settings that rebuild the model; the loss curve; and
gaussians.csv and gradients.csv, the count a frame and the distribution of gradients over the rounds.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stages import cli
from stages.cli import Reporter, StageError, record
from stages.contracts import Anchors, Frames, Gaussians, load_tensors, replacing, save_tensors
from stages.lib import guidance as sds
from stages.lib.device import Device, choose, describe, say_peak
from stages.lib.fit_files import BEGINNING, COUNT_COLUMNS, CURVE_COLUMNS
from stages.settings import NO_INFLUENCE, DynamicRun, before_sub_clips, canonical_json

# What imports torch, which takes two seconds, is imported where a fit begins: the static method needs none of it.
if TYPE_CHECKING:
    from stages.lib import fit
    from stages.lib.diffusion.distillation import Guidance


def plan(settings: DynamicRun, n_frames: int) -> fit.Plan:
    """The loop's plan: the input view and some anchors a frame, single frames first and then sub-clips, as many of
    each as the images allow."""
    from stages.lib import fit

    dynamic = settings.dynamic
    sub_clip = min(dynamic.sub_clip, n_frames)
    seen = max(sub_clip, round(dynamic.images * dynamic.images_factor) // (1 + dynamic.anchor_views))
    singles = round(seen * dynamic.sub_clip_start)
    return fit.Plan(
        steps=singles + max(1, (seen - singles) // sub_clip),
        frames=range(n_frames),
        sub_clip=sub_clip,
        singles=singles,
        anchor_views=dynamic.anchor_views,
        photometric=dynamic.photometric,
        densify=dynamic.densify,
        rates=settings.canonical,
        rate_factor=dynamic.lr_canonical,
        dynamic=dynamic,
        checkpoint_interval_s=settings.checkpoint_interval_s,
    )


def initial_state(canonical: Gaussians, n_frames: int, settings: DynamicRun, device: Device) -> fit.State:
    """The canonical gaussians under a motion that is still the identity."""
    import torch

    from stages.lib import fit
    from stages.lib.gaussians import to_tensors
    from stages.lib.motion import Motion

    generator = torch.Generator().manual_seed(settings.seed)
    motion = Motion(settings.dynamic, n_frames, generator).to(device.device)
    params = to_tensors(canonical, device.device)
    motion.field.check_bounds(params["means"])
    return fit.start(params, motion, plan(settings, n_frames), settings.seed)


def matched(settings: DynamicRun, other: Path) -> DynamicRun:
    """Settings whose cap is the mean number of gaussians a frame in another fit's model (densify mode match)."""
    arrays, _ = load_tensors(other)
    count = round(float(arrays["present"].sum(1).mean()))
    densify = settings.dynamic.densify.model_copy(update={"max_gaussians": count})
    return settings.model_copy(update={"dynamic": settings.dynamic.model_copy(update={"densify": densify})})


def supervision(
    frames: Path, anchors: Path, weights: list[Path], settings: DynamicRun, device: Device, report: Reporter
) -> tuple[fit.Targets, Guidance | None]:
    """What the fit is held against; frames and anchors are in memory once, as its targets, when this returns."""
    from stages.lib import fit

    clip, views = Frames.load(frames), Anchors.load(anchors)
    goal = fit.targets(clip, views, device.device)
    span = sds.DYNAMIC_SPAN
    guidance = sds.open_guidance(settings.guidance, weights, clip, views, range(len(goal.times)), span, device, report)
    return goal, guidance


def fitted(
    canonical: Gaussians,
    frames: Path,
    anchors: Path,
    inputs: list[Path],
    weights: list[Path],
    tables: tuple[Path, Path, Path],
    checkpoints: Path,
    kept: Path | None,
    settings: DynamicRun,
    report: Reporter,
) -> tuple[Gaussians, np.ndarray, dict[str, np.ndarray], dict]:
    """The fitted gaussians, their presence (F, N), the arrays of the motion, and what the record says of the fit.

    inputs: files that a checkpoint belongs to. tables: where curve, counts and gradients are written. kept: where the
    fit before its first sub-clip is taken from, or left for others.
    """
    from stages.lib import checkpoint, fit
    from stages.lib.gaussians import from_tensors

    device = choose(settings)
    report.say(f"device {device.device}, backend {device.backend}, threads {device.threads}, seed {settings.seed}")
    goal, guidance = supervision(frames, anchors, weights, settings, device, report)
    n_frames = len(goal.times)
    the_plan = plan(settings, n_frames)

    def identity(run: DynamicRun, *facts: object) -> str:
        told = canonical_json(run, NO_INFLUENCE) + sds.identity(guidance) + "".join(map(str, facts))
        return checkpoint.digest("dynamic", told, device, inputs)

    begun = before_sub_clips(settings) if kept else None
    cost = checkpoints.parent / BEGINNING
    # Schedules and rounds follow the frames seen in all, which sub-clips of another length may round otherwise.
    spans = the_plan.seen(the_plan.steps), len(the_plan.rounds())
    shared = None if begun is None else fit.Beginning(kept, identity(begun, spans), cost)
    if shared is None:
        cost.unlink(missing_ok=True)
    report.say(
        f"{the_plan.steps} steps on {the_plan.sub_clip} of {n_frames} frames and {1 + the_plan.anchor_views} views"
    )
    with checkpoint.locked(checkpoints, report):
        state = initial_state(canonical, n_frames, settings, device)
        path = checkpoints / "dynamic.pt"
        state = fit.fit(state, goal, the_plan, device, path, identity(settings), report, guidance, shared)
        for write, path in zip((fit.write_curve, fit.write_counts, fit.write_gradients), tables, strict=True):
            write(path, state)
    if guidance:
        say_peak(device.device, report)
    if outside := state.motion.field.outside(state.params["means"]):
        report.say(f"{outside} gaussians ended outside the deformation field's bounds, where its features are flat")
    arrays = {f"motion.{name}": value.cpu().numpy() for name, value in state.motion.state_dict().items()}
    if state.spread is not None:
        arrays |= {f"spread.{name}": value.cpu().numpy() for name, value in vars(state.spread).items()}
    about = device.describe() | sds.about(settings.guidance, settings.dynamic.photometric, guidance)
    return from_tensors(state.params), state.present.cpu().numpy(), arrays, about


def main(
    canonical: Path,
    frames: Path,
    anchors: Path,
    out: Path,
    curve: Path,
    counts: Path,
    gradients: Path,
    checkpoints: Path,
    settings: DynamicRun,
    report: Reporter,
    match: list[Path] = (),
    weights: list[Path] = (),
    beginning: list[Path] = (),
) -> None:
    """Fit the motion of the canonical gaussians; `weights` is the receipt of the guidance's network, `beginning` the
    checkpoint that fits with equal beginnings share."""
    if match:
        settings = matched(settings, match[0])
        report.say(f"grows to {settings.dynamic.densify.max_gaussians} gaussians a frame, as in {match[0]}")
    # The pictures are not kept: a fit reads them again, so that they are in memory once.
    times, gaussians = Frames.load(frames).times, Gaussians.load(canonical)
    n_frames = len(times)
    if n_frames < 2:
        raise StageError(f"{frames} holds one frame; expected at least 2. Use a longer frames.first to frames.last.")
    if settings.dynamic.method == "static":
        for path, columns in ((curve, CURVE_COLUMNS), (counts, COUNT_COLUMNS), (gradients, COUNT_COLUMNS)):
            with replacing(path) as temporary:
                temporary.write_text(",".join(columns) + "\n", encoding="utf-8")
        present, arrays = np.ones((n_frames, len(gaussians.means)), bool), {}
        about = describe(settings) | sds.about(settings.guidance, settings.dynamic.photometric, None)
        report.say(f"the canonical, repeated in {n_frames} frames")
    else:
        inputs = [canonical, frames, anchors, *match]
        tables = curve, counts, gradients
        kept = beginning[0] if beginning else None
        gaussians, present, arrays, about = fitted(
            gaussians, frames, anchors, inputs, weights, tables, checkpoints, kept, settings, report
        )
    arrays |= {f"gaussians.{name}": getattr(gaussians, name) for name in Gaussians.NAMES}
    arrays |= {"present": present, "times": times}
    save_tensors(out, arrays, record(settings, "dynamic", **about))
    report.say(f"wrote {out}: {len(gaussians.means)} gaussians, {present.sum(1).mean():.0f} a frame, {n_frames} frames")


if __name__ == "__main__":
    cli.run(main, "dynamic")
