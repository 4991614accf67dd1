"""The optimisation loop of `canonical` and `dynamic`: photometric steps, densification, checkpoints.

A step draws a sub-clip of consecutive frames (one frame for the canonical and for STAG4D), renders the input view
and some anchors of each, and descends on the mean of their losses (4DSTR's collective average loss). Everything
random comes from one generator whose state is in the checkpoint, so a killed fit ends bitwise equal to one that was
not.

Letters: F frames, V views (view 0 is the input view), N gaussians.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, process_time
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from stages.cli import Reporter, StageError
from stages.contracts import Anchors, ContractError, Frames, replacing
from stages.lib import checkpoint, losses
from stages.lib.cameras import Cameras
from stages.lib.deformation import Deformation, penalty
from stages.lib.densify import (
    GRADIENT_COLUMNS,
    Round,
    Statistics,
    densify,
    gradient_rows,
    largest_scales,
    round_steps,
)
from stages.lib.device import Device
from stages.lib.fit_files import COUNT_COLUMNS, CURVE_COLUMNS
from stages.lib.gaussians import draw, optimiser, rates, set_rates, take_rows
from stages.lib.motion import ATTRIBUTES, Buffer, Motion, attributes
from stages.lib.optimisers import Adam
from stages.lib.rectification import Spread, spread_over
from stages.settings import (
    CanonicalSettings,
    DensifySettings,
    DynamicSettings,
    PhotometricSettings,
    RegulariserSettings,
)

if TYPE_CHECKING:
    from stages.lib.diffusion.distillation import Guidance

# Beside CURVE_COLUMNS when score distillation is on.
SDS_COLUMN = "sds"
CURVE_INTERVAL = 10
# Steps between looks at every parameter: often enough that little is lost, rare enough to cost nothing.
FINITE_INTERVAL = 20
# Names of the deformation field's weights in a motion.
FIELD = "field."


@dataclass(frozen=True)
class Targets:
    """What the fit is held to: rgba (F, V, H, W, 4) uint8, times (F,), cameras of the V views."""

    rgba: Tensor
    times: list[float]
    cameras: Cameras

    @property
    def side(self) -> int:
        return self.rgba.shape[3]


@dataclass(frozen=True)
class Plan:
    """The settings of one fit, taken from the stage's own section.

    steps: descents. frames: consecutive ones that are drawn. sub_clip: how many of them a descent sees, after the
    first `singles` descents, which see one each and no rectification.
    """

    steps: int
    frames: range
    sub_clip: int
    singles: int
    anchor_views: int
    photometric: PhotometricSettings
    densify: DensifySettings
    rates: CanonicalSettings
    rate_factor: float
    dynamic: DynamicSettings | None
    checkpoint_interval_s: float

    def seen(self, step: int) -> int:
        """Frames that the first `step` descents see, counted as often as they are seen."""
        return min(step, self.singles) + max(0, step - self.singles) * self.sub_clip

    def progress(self, step: int) -> float:
        """The share of the run's frames seen by then: schedules follow it, so that they mean the same for all plans."""
        return self.seen(step) / self.seen(self.steps)

    def rounds(self) -> list[int]:
        """Descents (counted from 1) after which a round of growth and pruning is due."""
        due = round_steps(self.densify, self.seen(self.steps))
        late = [self.singles + math.ceil((seen - self.singles) / self.sub_clip) for seen in due]
        return sorted({seen if seen <= self.singles else step for seen, step in zip(due, late, strict=True)})


@dataclass(frozen=True)
class Beginning:
    """The part of a fit before sub-clips, which fits that differ in temporal rectification and sub-clips alone share.

    path, identity: its checkpoint. cost: where it is written how long that part took, when another fit went through it.
    """

    path: Path
    identity: str
    cost: Path


@dataclass
class State:
    """All that changes during a fit.

    present (F, N) says which gaussian exists in which frame. places (N, 3): the means at the last round of growth, over
    which control gaussians are spread; `spread` is None without them and until sub-clips begin. `counts` and
    `gradients` are the rows of gaussians.csv and gradients.csv so far.
    """

    params: dict[str, Tensor]
    adam: Adam
    present: Tensor
    statistics: Statistics
    generator: torch.Generator
    motion: Motion | None
    motion_adam: Adam | None
    places: Tensor
    spread: Spread | None
    step: int
    curve: list[list[float]]
    counts: list[list[float]]
    gradients: list[list[float]]


def targets(frames: Frames, anchors: Anchors, device: torch.device) -> Targets:
    """Input view and anchors of every frame; raises ContractError when a frame has no anchors or sizes differ."""
    count = len(frames.times)
    missing = sorted(set(range(count)) - set(anchors.frame.tolist()))
    if missing:
        raise ContractError(f"anchors of frame {missing[0]} are missing; expected anchors for all {count} frames.")
    if anchors.rgba.shape[2:4] != frames.rgba.shape[1:3]:
        raise ContractError(
            f"anchors are {anchors.rgba.shape[2:4]} pixels, frames {frames.rgba.shape[1:3]}; expected one size."
        )
    order = np.argsort(anchors.frame, kind="stable")
    rgba = np.concatenate([frames.rgba[:, None], anchors.rgba[order]], axis=1)
    azimuth = np.concatenate([[0.0], anchors.azimuth_deg])
    elevation = np.concatenate([[frames.elevation_deg], anchors.elevation_deg])
    return Targets(torch.from_numpy(rgba).to(device), frames.times.tolist(), frames.cameras(azimuth, elevation))


def start(params: dict[str, Tensor], motion: Motion | None, plan: Plan, seed: int) -> State:
    """The state before the first step."""
    device = params["means"].device
    count, frames = len(params["means"]), len(plan.frames)
    present = torch.ones(frames, count, dtype=torch.bool, device=device)
    adam = optimiser(params, rates(plan.rates, 0.0, plan.rate_factor))
    generator = torch.Generator().manual_seed(seed)
    motion_adam = None
    if motion is not None:
        groups = [
            {"params": motion.field.plane_parameters(), "name": "planes", "lr": plan.dynamic.lr_field},
            {"params": motion.field.head_parameters(), "name": "heads", "lr": plan.dynamic.lr_heads},
        ]
        if motion.rectification is not None:
            temporal = list(motion.rectification.parameters())
            groups.append({"params": temporal, "name": "temporal", "lr": plan.dynamic.temporal.lr})
        motion_adam = Adam(groups)
    statistics = Statistics.zeros(_rows(plan), count, device)
    counts = [[0, frame, count] for frame in range(frames)]
    places = params["means"].detach().clone()
    return State(params, adam, present, statistics, generator, motion, motion_adam, places, None, 0, [], counts, [])


def _rows(plan: Plan) -> int:
    """Rows of the statistics: one a frame where each frame is densified by itself."""
    return len(plan.frames) if plan.densify.scope == "frame" else 1


def fit(
    state: State,
    goal: Targets,
    plan: Plan,
    device: Device,
    path: Path,
    identity: str,
    report: Reporter,
    guidance: Guidance | None = None,
    beginning: Beginning | None = None,
) -> State:
    """Run the plan from `state`, or from the checkpoint at `path` when its identity agrees.

    guidance: score distillation, None = off. beginning: where the state before the first sub-clip is taken from, or
    left. Raises StageError on a loss, a gradient or a parameter that is not finite, naming step and frame.
    """
    saved = checkpoint.load(path, identity, report)
    took = _Stopwatch()
    if saved is not None:
        state = unpack(saved, state)
        took = _Stopwatch(checkpoint.peek(path)[1])
        report.say(f"resumed at step {state.step} of {plan.steps} from {path}")
    elif beginning is not None:
        state = _begun(state, beginning, report)
    rounds = plan.rounds()
    clock = checkpoint.Clock(plan.checkpoint_interval_s)
    while state.step < plan.steps:
        terms = _step(state, goal, plan, device, path, guidance)
        state.step += 1
        _check_finite(state, terms, plan, path)
        if state.step in rounds:
            done = _densify(state, goal, plan, len(rounds) - rounds.index(state.step))
            report.say(
                f"step {state.step}: cloned {done.cloned}, split {done.split}, pruned {done.pruned}, now {done.total} "
                f"gaussians, {min(done.frames)} to {max(done.frames)} a frame"
            )
        if state.step % CURVE_INTERVAL == 0 or state.step == plan.steps:
            row = {"step": state.step, "gaussians": float(state.present.sum()) / len(state.present), **terms}
            state.curve.append([float(row[name]) for name in (*CURVE_COLUMNS, SDS_COLUMN) if name in row])
        report.progress(state.step, plan.steps, terms["loss"])
        if (state.step % FINITE_INTERVAL == 0 and clock.due()) or state.step == plan.steps:
            checkpoint.save(path, identity, pack(state), about(plan, goal) | took.read())
        if beginning is not None and state.step == plan.singles:
            checkpoint.save(beginning.path, beginning.identity, pack_beginning(state), about(plan, goal) | took.read())
    return state


class _Stopwatch:
    """Seconds of wall and processor time that a fit has taken, those before it was killed (`earlier`) included."""

    def __init__(self, earlier: dict | None = None) -> None:
        self._earlier = earlier or {"s": 0.0, "cpu_time": 0.0}
        self._began = self._now()

    @staticmethod
    def _now() -> dict[str, float]:
        # Snakemake's names, with which they are added up (stages/lib/fit_files.py).
        return {"s": monotonic(), "cpu_time": process_time()}

    def read(self) -> dict[str, float]:
        return {name: self._earlier[name] + now - self._began[name] for name, now in self._now().items()}


def _begun(fresh: State, beginning: Beginning, report: Reporter) -> State:
    """The state that another fit left before its first sub-clip, if it did, else `fresh`."""
    beginning.cost.unlink(missing_ok=True)
    saved = checkpoint.load(beginning.path, beginning.identity, report)
    if saved is None:
        return fresh
    _, told = checkpoint.peek(beginning.path)
    with replacing(beginning.cost) as temporary:
        temporary.write_text(json.dumps({name: told[name] for name in ("s", "cpu_time")}) + "\n", encoding="utf-8")
    state = unpack_beginning(saved, fresh)
    report.say(f"begins at step {state.step}, where {beginning.path} was left: up to there the fits are equal")
    return state


def _densify(state: State, goal: Targets, plan: Plan, rounds: int) -> Round:
    """One round of growth and pruning, `rounds` of which are left; whatever is kept by row follows it."""
    state.gradients += [[state.step, *row] for row in gradient_rows(state.statistics)]
    shapes = _shapes(state, goal, plan) if _rows(plan) > 1 else None
    done, state.present = densify(
        state.params,
        state.adam,
        state.present,
        state.statistics,
        plan.densify,
        state.generator,
        shapes,
        rounds,
    )
    state.statistics = Statistics.zeros(_rows(plan), done.total, state.present.device)
    state.places = state.params["means"].detach().clone()
    state.spread = _spread(state, plan) if state.step > plan.singles else None
    state.counts += [[state.step, frame, count] for frame, count in enumerate(done.frames)]
    return done


def _spread(state: State, plan: Plan) -> Spread | None:
    """The control gaussians since the last round of growth; None without rectification, or where all are controls."""
    rectified = state.motion is not None and state.motion.rectification is not None
    return spread_over(state.places, state.present, plan.dynamic.temporal) if rectified else None


def _shapes(state: State, goal: Targets, plan: Plan) -> tuple[Tensor, Tensor]:
    """Largest scales and opacity logits (F, N) in every frame, evaluated in order."""
    buffer: Buffer = ()
    found = []
    with torch.no_grad():
        for frame, time in enumerate(goal.times):
            if state.step <= plan.singles:
                # What has seen no sub-clip rectifies nothing.
                moved = state.motion.deformed(state.params, [time])
            else:
                present = state.present[frame : frame + 1]
                moved, buffer = state.motion(state.params, [time], present, state.spread, buffer)
            found.append((largest_scales(moved["log_scales"][0]), moved["opacity_logits"][0]))
    largest, opacity_logits = zip(*found, strict=True)
    return torch.stack(largest), torch.stack(opacity_logits)


def sub_clip(plan: Plan, step: int, generator: torch.Generator) -> range:
    """Consecutive frames of a descent. Their place is drawn evenly from all that touch the clip and then moved inside,
    so that the end frames are seen about as often as the others."""
    count, length = len(plan.frames), 1 if step < plan.singles else plan.sub_clip
    place = int(torch.randint(count + length - 1, (), generator=generator)) - (length - 1)
    first = min(max(place, 0), count - length)
    return plan.frames[first : first + length]


def _step(
    state: State, goal: Targets, plan: Plan, device: Device, path: Path, guidance: Guidance | None = None
) -> dict[str, float]:
    """One descent on one sub-clip; the terms of the loss as numbers."""
    progress = plan.progress(state.step)
    _schedule(state, plan, progress)
    frames = sub_clip(plan, state.step, state.generator)
    drawn, moved = _moved(state, goal, plan, frames)
    rgb = mask = 0.0
    seen, shown = [], []
    for index, frame in enumerate(frames):
        here = {name: value[index] for name, value in moved.items()}
        gaussians, rows = here | {"sh": state.params["sh"]}, None
        if drawn is not None:
            rows = torch.nonzero(state.present[frame])[:, 0]
            if len(rows) < len(drawn):
                here = take_rows(here, torch.searchsorted(drawn, rows))
            gaussians = here | take_rows({"sh": state.params["sh"]}, rows)
        views = _views(len(goal.cameras), plan.anchor_views, state.generator)
        backgrounds = torch.ones(len(views), 3)
        if plan.photometric.background == "random":
            backgrounds = torch.rand(len(views), 3, generator=state.generator)
        backgrounds = backgrounds.to(device.device)
        offset = torch.zeros(len(views), len(gaussians["means"]), 2, device=device.device, requires_grad=True)
        rendered = draw(
            gaussians,
            goal.cameras[views],
            backgrounds,
            backend=device.backend,
            threads=device.threads,
            means2d_offset=offset,
        )
        weights = torch.full((len(views),), plan.photometric.anchors, device=device.device)
        weights[0] = 1.0
        weights = weights / (weights.sum() * len(frames))
        colours, mattes = losses.image_errors(rendered.image, rendered.alpha, goal.rgba[frame, views], backgrounds)
        rgb = rgb + (weights * colours).sum()
        mask = mask + (weights * mattes).sum()
        seen.append((frame, rows, offset, rendered))
        shown.append((frame, rows, gaussians))
    loss = plan.photometric.rgb * rgb + plan.photometric.mask * mask
    total = loss
    if state.motion is not None:
        total = total + _regularisers(moved["log_scales"], state.motion.field, plan.dynamic.regulariser)
    names = {"loss": loss, "rgb": rgb, "mask": mask}
    if guidance is not None:
        names[SDS_COLUMN] = torch.zeros(())
        if guidance.due(state.step):
            names[SDS_COLUMN], views = guidance.term(shown, progress, state.generator, device)
            total = total + guidance.weight * names[SDS_COLUMN]
            seen += views

    state.adam.zero_grad(set_to_none=True)
    if state.motion_adam is not None:
        state.motion_adam.zero_grad(set_to_none=True)
    total.backward()
    for frame, rows, offset, rendered in seen:
        if not bool(torch.isfinite(offset.grad.sum())):
            raise StageError(
                f"the gradient of frame {frame} became NaN or infinite at step {state.step + 1} of {plan.steps}. "
                f"Look at that frame's input; the last good checkpoint, if any, is {path}."
            )
        # A descent sees the mean over its frames, statistics the loss of each frame.
        gradient = offset.grad * len(frames)
        row = frame if _rows(plan) > 1 else 0
        state.statistics.add(row, rows, gradient, rendered.visible, rendered.radii, goal.side)
    state.adam.step()
    if state.motion_adam is not None:
        state.motion_adam.step()
    return {name: float(value.detach()) for name, value in names.items()} | {"frame": frames[0]}


def _moved(state: State, goal: Targets, plan: Plan, frames: range) -> tuple[Tensor | None, dict[str, Tensor]]:
    """Attributes (M, R, ...) of the sub-clip's gaussians, and which those R are; None = all of them."""
    if state.motion is None:
        return None, {name: state.params[name][None] for name in ATTRIBUTES}
    present = rows = None
    if _rows(plan) > 1:
        present = state.present[frames]
        rows = torch.nonzero(present.any(0))[:, 0]
    times = [goal.times[frame] for frame in frames]
    if state.step < plan.singles:
        return rows, state.motion.deformed(attributes(state.params, rows), times)
    if state.spread is None:
        state.spread = _spread(state, plan)
    before = range(max(0, frames[0] - plan.dynamic.temporal.length + 1), frames[0])
    past = state.present[before] if present is not None else None
    buffer = state.motion.warm(state.params, [goal.times[frame] for frame in before], past, state.spread)
    moved, _ = state.motion(state.params, times, present, state.spread, buffer, rows)
    return rows, moved


def _check_finite(state: State, terms: dict[str, float], plan: Plan, path: Path) -> None:
    """Raise StageError on a loss that is not finite, and now and then on a parameter, which is not drawn when NaN."""
    bad = None if math.isfinite(terms["loss"]) else "the loss"
    if state.step % FINITE_INTERVAL == 0 or state.step == plan.steps:
        broken = [name for name, value in state.params.items() if not bool(torch.isfinite(value).all())]
        bad = bad or (broken[0] if broken else None)
    if bad:
        raise StageError(
            f"{bad} became NaN or infinite by step {state.step} of {plan.steps}, last on frame {int(terms['frame'])}. "
            f"Lower the learning rates, or look at that frame's input; the last good checkpoint, if any, is {path}."
        )


def _schedule(state: State, plan: Plan, progress: float) -> None:
    set_rates(state.adam, rates(plan.rates, progress, plan.rate_factor))
    if state.motion_adam is not None:
        dynamic = plan.dynamic
        decay = dynamic.lr_decay**progress
        at_start = {"planes": dynamic.lr_field, "heads": dynamic.lr_heads, "temporal": dynamic.temporal.lr}
        set_rates(state.motion_adam, {name: value * decay for name, value in at_start.items()})


def _views(count: int, anchor_views: int, generator: torch.Generator) -> list[int]:
    """View 0 and `anchor_views` of the others without repetition, in ascending order."""
    others = torch.randperm(count - 1, generator=generator)[:anchor_views] + 1
    return [0, *sorted(others.tolist())]


def _regularisers(log_scales: Tensor, field: Deformation, weights: RegulariserSettings) -> Tensor:
    total = penalty(field, weights)
    if weights.anisotropy:
        total = total + weights.anisotropy * losses.anisotropy(log_scales.flatten(0, 1), weights.anisotropy_ratio)
    return total


def about(plan: Plan, goal: Targets) -> dict:
    """What a reader of a checkpoint needs to rebuild the model (`baking.live`)."""
    dynamic = None if plan.dynamic is None else plan.dynamic.model_dump(mode="json")
    return {
        "dynamic": dynamic,
        "times": list(map(float, goal.times)),
        "steps": plan.steps,
        "singles": plan.singles,
    }


def pack(state: State) -> dict:
    """Tensors, numbers and texts from which `unpack` restores the state exactly."""
    packed = {
        "params": {name: value.detach().clone() for name, value in state.params.items()},
        "adam": state.adam.state_dict(),
        "present": state.present,
        "statistics": vars(state.statistics),
        "generator": state.generator.get_state(),
        "places": state.places,
        "spread": None if state.spread is None else vars(state.spread),
        "step": state.step,
        "curve": state.curve,
        "counts": state.counts,
        "gradients": state.gradients,
    }
    if state.motion is not None:
        packed["motion"] = dict(state.motion.state_dict())
        packed["motion_adam"] = state.motion_adam.state_dict()
    return packed


def unpack(packed: dict, fresh: State) -> State:
    """The packed state, on the device and with the settings of `fresh`."""
    device = fresh.params["means"].device

    def moved(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: value.to(device) for name, value in tensors.items()}

    params = {name: value.requires_grad_() for name, value in moved(packed["params"]).items()}
    adam = optimiser(params, {group["name"]: group["lr"] for group in fresh.adam.param_groups})
    adam.load_state_dict(packed["adam"])
    generator = torch.Generator()
    generator.set_state(packed["generator"])
    if fresh.motion is not None:
        fresh.motion.load_state_dict(packed["motion"])
        fresh.motion_adam.load_state_dict(packed["motion_adam"])
    return State(
        params,
        adam,
        packed["present"].to(device),
        Statistics(**moved(packed["statistics"])),
        generator,
        fresh.motion,
        fresh.motion_adam,
        packed["places"].to(device),
        None if packed["spread"] is None else Spread(**moved(packed["spread"])),
        packed["step"],
        packed["curve"],
        packed["counts"],
        packed["gradients"],
    )


def pack_beginning(state: State) -> dict:
    """`pack` before the first sub-clip, without the temporal rectification, which has learned nothing yet."""
    packed = pack(state)
    packed["motion"] = {name: value for name, value in packed["motion"].items() if name.startswith(FIELD)}
    packed["motion_adam"] = {"state": packed["motion_adam"]["state"]}
    return packed


def unpack_beginning(packed: dict, fresh: State) -> State:
    """The packed beginning with the temporal rectification of `fresh`."""
    weights, adam = dict(fresh.motion.state_dict()), fresh.motion_adam.state_dict()
    return unpack(packed | {"motion": weights | packed["motion"], "motion_adam": adam | packed["motion_adam"]}, fresh)


def write_curve(path: Path, state: State) -> None:
    """The loss curve as CSV, one row every few steps."""
    guided = len(state.curve[-1]) > len(CURVE_COLUMNS)
    _write_csv(path, (*CURVE_COLUMNS, SDS_COLUMN) if guided else CURVE_COLUMNS, state.curve)


def write_counts(path: Path, state: State) -> None:
    """Gaussians present in each frame, at the start, after every round and at the end, as CSV."""
    last = [[state.step, frame, count] for frame, count in enumerate(state.present.sum(1).tolist())]
    _write_csv(path, COUNT_COLUMNS, [row for row in state.counts if row[0] != state.step] + last)


def write_gradients(path: Path, state: State) -> None:
    """The distribution of accumulated gradients at every round, as CSV; see `densify.gradient_rows`."""
    _write_csv(path, ("step", *GRADIENT_COLUMNS), state.gradients)


def _write_csv(path: Path, columns: tuple[str, ...], rows: list[list[float]]) -> None:
    lines = [",".join(columns), *(",".join(f"{value:.8g}" for value in row) for row in rows)]
    with replacing(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
