"""The training loop of the small priors: AdamW, averaged weights, a curve, and checkpoints that resume bitwise equal.

Vocabulary: the *average* is the exponential moving average of all parameters, what is kept in the end; a *term* is one
named and weighted part of the loss.

Everything random of a step comes from one generator made from the seed and the step's number, so that a checkpoint
holds no random state, and steps do not depend on what was drawn before. Time decides when a checkpoint is written,
never what is in it.
"""

from __future__ import annotations

import csv
import math
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from stages.cli import Reporter, StageError
from stages.contracts import replacing
from stages.lib import checkpoint

matplotlib.use("Agg")
from matplotlib import pyplot

# The learning rate rises over this share of the steps and falls along a cosine to this fraction of its largest value.
WARMUP = 0.03
LAST_RATE = 0.03
# Gradients longer than this are shortened (the finetuning of InstantMesh's Zero123++ has 1).
MAX_NORM = 1.0
WEIGHT_DECAY = 0.01
# A curve has at most about so many rows; a picture of it shows no more.
ROWS = 1000
SMOOTH_ROWS = 25

Terms = dict[str, Tensor]
Row = list[float]


@dataclass(frozen=True)
class Plan:
    """What a training is told: steps, largest rate, averaging, seed, seconds between checkpoints."""

    steps: int
    lr: float
    ema_decay: float
    precision: str
    seed: int
    checkpoint_interval_s: float


@dataclass(frozen=True)
class Objective:
    """What a denoiser is to learn: its networks, the loss of a step, and what writes them into a folder."""

    networks: list[nn.Module]
    loss: Callable[[torch.Generator], Terms]
    write: Callable[[Path], None]


def generator(*numbers: int) -> torch.Generator:
    """A CPU generator for these numbers (seed, step, ...), far from that of any others."""
    state = np.random.SeedSequence(numbers).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(state[0]) << 32 | int(state[1]))


def rate(step: int, plan: Plan) -> float:
    """Learning rate of step 0, 1, ...: up along a line, down along half a cosine."""
    warm = max(1, round(WARMUP * plan.steps))
    if step < warm:
        return plan.lr * (step + 1) / warm
    progress = (step - warm) / max(1, plan.steps - warm)
    return plan.lr * (LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * progress)))


def train(
    networks: list[nn.Module],
    loss: Callable[[torch.Generator], Terms],
    plan: Plan,
    path: Path,
    identity: str,
    report: Reporter,
) -> list[Row]:
    """Train `networks` in place and leave the average in them; returns the curve's rows: step, loss, rate.

    loss: from a step's generator to the terms, each a scalar, which are added. path: the checkpoint, used when its
    identity agrees. Raises StageError when the loss is no longer finite.
    """
    parameters = [parameter for network in networks for parameter in network.parameters()]
    device = parameters[0].device
    # Of many small tensors, one call takes half the time of a loop in Python.
    optimiser = torch.optim.AdamW(parameters, lr=plan.lr, weight_decay=WEIGHT_DECAY, fused=True)
    average = EMAModel(parameters, decay=plan.ema_decay, foreach=True)
    first, curve = 0, []
    saved = checkpoint.load(path, identity, report)
    if saved is not None:
        first, curve = saved["step"], saved["curve"]
        with torch.no_grad():
            for parameter, value in zip(parameters, saved["parameters"], strict=True):
                parameter.copy_(value)
        optimiser.load_state_dict(saved["optimiser"])
        average.load_state_dict(saved["average"])
        average.to(device)
        report.say(f"resumed at step {first} of {plan.steps}")
    clock = checkpoint.Clock(plan.checkpoint_interval_s)
    stride = max(1, math.ceil(plan.steps / ROWS))
    for network in networks:
        network.train().requires_grad_(True)
    for step in range(first, plan.steps):
        for group in optimiser.param_groups:
            group["lr"] = rate(step, plan)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=plan.precision == "bfloat16"):
            terms = loss(generator(plan.seed, step))
        total = sum(terms.values())
        optimiser.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(parameters, MAX_NORM)
        optimiser.step()
        average.step(parameters)
        if step % stride == 0 or step == plan.steps - 1:
            value = total.item()
            if not math.isfinite(value):
                raise StageError(
                    f"the loss is {value} at step {step} of {plan.steps}; expected a number. Lower `lr` (now "
                    f"{plan.lr}) and delete the checkpoint: `rm {path}`."
                )
            curve.append([float(step), value, rate(step, plan)])
            named = ", ".join(f"{name} {term.item():.5f}" for name, term in terms.items())
            report.say(f"step {step}: {named}")
            report.progress(step + 1, plan.steps, value)
        if clock.due():
            state = {
                "step": step + 1,
                "curve": curve,
                "parameters": [parameter.detach() for parameter in parameters],
                "optimiser": optimiser.state_dict(),
                "average": average.state_dict(),
            }
            checkpoint.save(path, identity, state, {"steps": plan.steps})
    average.copy_to(parameters)
    for network in networks:
        network.eval().requires_grad_(False)
    return curve


def hardware(device: torch.device, threads: int) -> str:
    """What a model card says of the machine: the GPU's name, or the processor's and the threads used."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8").splitlines() if told.exists() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{model}, {threads} thread{'s' if threads > 1 else ''}"


def write_curve(table: Path, picture: Path, curve: list[Row], title: str) -> None:
    """The curve as CSV (step, loss, lr) and as a picture with a running mean; equal curves give equal bytes."""
    with replacing(table) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["step", "loss", "lr"])
        rows.writerows([int(step), repr(value), repr(lr)] for step, value, lr in curve)
    step, value, _ = np.array(curve).T
    sums = np.cumsum(np.insert(value, 0, 0.0))
    ends = np.arange(1, len(value) + 1)
    starts = np.maximum(0, ends - SMOOTH_ROWS)
    figure, axis = pyplot.subplots(figsize=(6, 3.6), layout="constrained")
    axis.semilogy(step, value, color="0.8", linewidth=0.8, label="one step")
    axis.semilogy(
        step, (sums[ends] - sums[starts]) / (ends - starts), color="#0072B2", label=f"mean of {SMOOTH_ROWS} rows"
    )
    axis.set(xlabel="step", ylabel="loss", title=title)
    axis.grid(color="0.9")
    axis.legend(fontsize=8)
    with replacing(picture) as temporary:
        figure.savefig(temporary, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
