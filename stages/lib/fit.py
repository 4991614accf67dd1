"""The optimisation loop of `canonical` and `dynamic`: photometric steps, densification, checkpoints.

A step draws one frame, renders the input view and some anchors of it, and descends. Everything random comes
from one generator whose state is in the checkpoint, so a killed fit ends bitwise equal to one that was not.

Letters: T frames, V views (view 0 is the input view), N gaussians.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stages.cli import Reporter, StageError
from stages.contracts import Anchors, ContractError, Frames
from stages.lib import checkpoint, losses
from stages.lib.cameras import Cameras
from stages.lib.deformation import Deformation, deform, plane_smoothness, time_l1, time_smoothness
from stages.lib.densify import Statistics, densify, due
from stages.lib.device import Device
from stages.lib.gaussians import draw, optimiser, rates, set_rates
from stages.settings import (
    CanonicalSettings,
    DensifySettings,
    DynamicSettings,
    PhotometricSettings,
    RegulariserSettings,
)

CURVE_COLUMNS = ("step", "loss", "rgb", "mask", "gaussians")
CURVE_INTERVAL = 10
# Steps between looks at every parameter: often enough that little is lost, rare enough to cost nothing.
FINITE_INTERVAL = 20


@dataclass(frozen=True)
class Targets:
    """What the fit is held to: rgba (T, V, H, W, 4) uint8, times (T,), cameras of the V views."""

    rgba: Tensor
    times: list[float]
    cameras: Cameras

    @property
    def side(self) -> int:
        return self.rgba.shape[3]


@dataclass(frozen=True)
class Plan:
    """The settings of one fit, taken from the stage's own section."""

    steps: int
    frames: tuple[int, ...]
    anchor_views: int
    photometric: PhotometricSettings
    densify: DensifySettings
    rates: CanonicalSettings
    rate_factor: float
    dynamic: DynamicSettings | None
    checkpoint_interval_s: float


@dataclass
class State:
    """All that changes during a fit."""

    params: dict[str, Tensor]
    adam: torch.optim.Adam
    statistics: Statistics
    generator: torch.Generator
    deformation: Deformation | None
    field_adam: torch.optim.Adam | None
    step: int
    curve: list[list[float]]


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


def start(params: dict[str, Tensor], deformation: Deformation | None, plan: Plan, seed: int) -> State:
    """The state before the first step."""
    device = params["means"].device
    field_adam = None
    if deformation is not None:
        groups = [
            {"params": deformation.plane_parameters(), "name": "planes", "lr": plan.dynamic.lr_field},
            {"params": deformation.head_parameters(), "name": "heads", "lr": plan.dynamic.lr_heads},
        ]
        field_adam = torch.optim.Adam(groups, eps=1e-15, fused=True)
    adam = optimiser(params, rates(plan.rates, 0.0, plan.rate_factor))
    generator = torch.Generator().manual_seed(seed)
    return State(
        params, adam, Statistics.zeros(len(params["means"]), device), generator, deformation, field_adam, 0, []
    )


def fit(state: State, goal: Targets, plan: Plan, device: Device, path: Path, identity: str, report: Reporter) -> State:
    """Run the plan from `state`, or from the checkpoint at `path` when its identity agrees.

    Raises StageError on a loss or a parameter that is not finite, naming step and frame.
    """
    saved = checkpoint.load(path, identity, report)
    if saved is not None:
        state = unpack(saved, state)
        report.say(f"resumed at step {state.step} of {plan.steps} from {path}")
    clock = checkpoint.Clock(plan.checkpoint_interval_s)
    while state.step < plan.steps:
        terms = _step(state, goal, plan, device)
        state.step += 1
        _check_finite(state, terms, plan, path)
        if due(plan.densify, state.step, plan.steps):
            done = densify(state.params, state.adam, state.statistics, plan.densify, state.generator)
            state.statistics = Statistics.zeros(done.total, device.device)
            report.say(
                f"step {state.step}: cloned {done.cloned}, split {done.split}, pruned {done.pruned}, "
                f"now {done.total} gaussians"
            )
        if state.step % CURVE_INTERVAL == 0 or state.step == plan.steps:
            row = {"step": state.step, "gaussians": len(state.params["means"]), **terms}
            state.curve.append([float(row[name]) for name in CURVE_COLUMNS])
        report.progress(state.step, plan.steps, terms["loss"])
        if (state.step % FINITE_INTERVAL == 0 and clock.due()) or state.step == plan.steps:
            checkpoint.save(path, identity, pack(state))
    return state


def _step(state: State, goal: Targets, plan: Plan, device: Device) -> dict[str, float]:
    """One descent on one frame; the terms of the loss as numbers."""
    progress = state.step / plan.steps
    _schedule(state, plan, progress)
    frame = plan.frames[int(torch.randint(len(plan.frames), (), generator=state.generator))]
    views = _views(len(goal.cameras), plan.anchor_views, state.generator)
    backgrounds = torch.ones(len(views), 3)
    if plan.photometric.background == "random":
        backgrounds = torch.rand(len(views), 3, generator=state.generator)
    backgrounds = backgrounds.to(device.device)

    gaussians = state.params
    if state.deformation is not None:
        gaussians = deform(gaussians, state.deformation(gaussians["means"], goal.times[frame]))
    offset = torch.zeros(len(views), len(gaussians["means"]), 2, device=device.device, requires_grad=True)
    drawn = draw(
        gaussians,
        goal.cameras[views],
        backgrounds,
        backend=device.backend,
        threads=device.threads,
        means2d_offset=offset,
    )
    colour, alpha = losses.over(goal.rgba[frame, views], backgrounds)
    weights = torch.full((len(views),), plan.photometric.anchors, device=device.device)
    weights[0] = 1.0
    weights = weights / weights.sum()
    rgb = (weights * losses.colour_error(drawn.image, colour)).sum()
    mask = (weights * losses.mask_error(drawn.alpha, alpha)).sum()
    loss = plan.photometric.rgb * rgb + plan.photometric.mask * mask
    total = loss
    if state.deformation is not None:
        total = total + _regularisers(gaussians, state.deformation, plan.dynamic.regulariser)

    state.adam.zero_grad(set_to_none=True)
    if state.field_adam is not None:
        state.field_adam.zero_grad(set_to_none=True)
    total.backward()
    state.statistics.add(offset.grad, drawn.visible, drawn.radii, goal.side)
    state.adam.step()
    if state.field_adam is not None:
        state.field_adam.step()
    return {"loss": float(total.detach()), "rgb": float(rgb.detach()), "mask": float(mask.detach()), "frame": frame}


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
    if state.field_adam is not None:
        decay = plan.dynamic.lr_decay**progress
        set_rates(state.field_adam, {"planes": plan.dynamic.lr_field * decay, "heads": plan.dynamic.lr_heads * decay})


def _views(count: int, anchor_views: int, generator: torch.Generator) -> list[int]:
    """View 0 and `anchor_views` of the others without repetition, in ascending order."""
    others = torch.randperm(count - 1, generator=generator)[:anchor_views] + 1
    return [0, *sorted(others.tolist())]


def _regularisers(gaussians: dict[str, Tensor], field: Deformation, weights: RegulariserSettings) -> Tensor:
    total = gaussians["means"].new_zeros(())
    if weights.time_smoothness:
        total = total + weights.time_smoothness * time_smoothness(field)
    if weights.plane_smoothness:
        total = total + weights.plane_smoothness * plane_smoothness(field)
    if weights.time_l1:
        total = total + weights.time_l1 * time_l1(field)
    if weights.anisotropy:
        total = total + weights.anisotropy * losses.anisotropy(gaussians["log_scales"], weights.anisotropy_ratio)
    return total


def pack(state: State) -> dict:
    """Tensors, numbers and texts from which `unpack` restores the state exactly."""
    packed = {
        "params": {name: value.detach().clone() for name, value in state.params.items()},
        "adam": state.adam.state_dict(),
        "statistics": vars(state.statistics),
        "generator": state.generator.get_state(),
        "step": state.step,
        "curve": state.curve,
    }
    if state.deformation is not None:
        packed["deformation"] = dict(state.deformation.state_dict())
        packed["field_adam"] = state.field_adam.state_dict()
    return packed


def unpack(packed: dict, fresh: State) -> State:
    """The packed state, on the device and with the settings of `fresh`."""
    device = fresh.params["means"].device
    params = {name: value.to(device).requires_grad_() for name, value in packed["params"].items()}
    adam = optimiser(params, {group["name"]: group["lr"] for group in fresh.adam.param_groups})
    adam.load_state_dict(packed["adam"])
    generator = torch.Generator()
    generator.set_state(packed["generator"])
    if fresh.deformation is not None:
        fresh.deformation.load_state_dict(packed["deformation"])
        fresh.field_adam.load_state_dict(packed["field_adam"])
    statistics = Statistics(**{name: value.to(device) for name, value in packed["statistics"].items()})
    return State(
        params, adam, statistics, generator, fresh.deformation, fresh.field_adam, packed["step"], packed["curve"]
    )


def write_curve(path: Path, state: State) -> None:
    """The loss curve as CSV, one row every few steps."""
    lines = [",".join(CURVE_COLUMNS), *(",".join(f"{value:.8g}" for value in row) for row in state.curve)]
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")
