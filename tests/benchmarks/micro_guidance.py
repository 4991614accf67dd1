"""What a step's term of score distillation costs with the small Zero123, by encoder, and what the linear one explains.

    python -m tests.benchmarks.micro_guidance [--threads 1] [--steps 50] [--frames 24]

The network is the committed one (resources/priors/), the object `dev_robot` of the development suite at 128 pixels with
its true anchors, the gaussians those with which its canonical fit begins. A term is what a fit calls: one random view,
drawn, encoded with its gradient, held against input view and nearest anchor (4DSTR eq. 8), and the gradient back to the
gaussians. tests/benchmarks/guidance.py has the encoders' shares at full size.

Vocabulary: times are the processor's, medians of the steps after the first; *drawing alone* is a view without any term.
*Preparation* embeds the conditions, seven views a frame, and fits the linear encoder. *Explained* is the share of the
variance of these conditions' latents that the linear encoder, fitted to them, has.
"""

from __future__ import annotations

import argparse
import io
import re
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stages import canonical
from stages.cli import Reporter
from stages.contracts import Anchors, Frames
from stages.lib import fit, weights
from stages.lib import guidance as sds
from stages.lib.device import Device, choose
from stages.lib.diffusion.distillation import Guidance
from stages.lib.gaussians import draw
from stages.settings import CanonicalRun, CanonicalSettings, GuidanceSettings
from tests.objects import anchors_of, frames_of

RECEIPT = Path(__file__).resolve().parents[2] / "resources" / "priors" / weights.MICRO_POSE / weights.RECEIPT
OBJECT, SIZE = "dev_robot", 128
ALONE = "drawing alone"
ENCODERS = {"vae 64": {}, "vae 32": {"encode_size": 32}, "linear": {"encoder": "linear"}}
SCALES = (5.0, 1.0)
COLUMNS = ("encoder", *(f"term at guidance {scale:g}, s" for scale in SCALES), "preparation, s", "explained")

Key = tuple[str, float]


def opened(settings: GuidanceSettings, clip: Frames, anchors: Anchors, device: Device) -> tuple[Guidance, float, str]:
    """The guidance of a fit over all frames, the processor time of its preparation, and what its encoder explains."""
    log, started = io.StringIO(), time.process_time()
    report, frames = Reporter("guidance", "", log, io.StringIO()), range(len(clip.rgba))
    guidance = sds.open_guidance(settings, [RECEIPT], clip, anchors, frames, sds.DYNAMIC_SPAN, device, report)
    explained = re.search(r"explains ([\d.]+ %)", log.getvalue())
    return guidance, time.process_time() - started, explained[1] if explained else ""


def seconds(terms: dict[Key, Callable[[int], Tensor]], steps: int) -> dict[Key, float]:
    """Processor time of each term and its gradient, median over the steps after the first.

    They take turns, so that what else the machine does slows all of them alike.
    """
    took = {key: [] for key in terms}
    for step in range(steps + 1):
        for key, term in terms.items():
            started = time.process_time()
            term(step).backward()
            took[key].append(time.process_time() - started)
    return {key: float(np.median(times[1:])) for key, times in took.items()}


def main(given: list[str] | None = None) -> None:
    """Print one Markdown table; given: the command's words, those of the process unless said."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--frames", type=int, default=24)
    arguments = parser.parse_args(given)
    run = CanonicalRun(canonical=CanonicalSettings(), device="cpu", threads=arguments.threads)
    device = choose(run)
    clip = frames_of(OBJECT, arguments.frames, SIZE)
    anchors = anchors_of(OBJECT, clip)
    params = canonical.initial_state(clip, anchors, fit.targets(clip, anchors, device.device), run, device).params

    def term(step: int, guidance: Guidance) -> Tensor:
        generator = torch.Generator().manual_seed(step)
        return guidance.term([(clip.key, None, params)], step / (arguments.steps + 1), generator, device)[0]

    def drawing(step: int) -> Tensor:
        cameras = clip.cameras(np.array([float(step)]), np.array([0.0]))
        return draw(params, cameras, torch.ones(1, 3), backend=device.backend, threads=device.threads).image.mean()

    terms, beside = {(ALONE, SCALES[0]): drawing}, {ALONE: ["", ""]}
    for name, changed in ENCODERS.items():
        settings = GuidanceSettings(model="micro", **changed)
        guidance, preparation, explained = opened(settings, clip, anchors, device)
        beside[name] = [f"{preparation:.1f}", explained]
        for scale in SCALES:
            scaled = replace(guidance, settings=settings.model_copy(update={"guidance_scale": scale}))
            terms[name, scale] = partial(term, guidance=scaled)
    took = seconds(terms, arguments.steps)
    about = f"{OBJECT}, {arguments.frames} frames at {SIZE} pixels, {len(params['means'])} gaussians, float32"
    print(f"{about}, threads {arguments.threads}, median of {arguments.steps} steps, torch {torch.__version__}\n")
    print("| " + " | ".join(COLUMNS) + " |\n" + "| --- " * len(COLUMNS) + "|")
    for name, others in beside.items():
        times = [f"{took[name, scale]:.4f}" if (name, scale) in took else "" for scale in SCALES]
        print("| " + " | ".join([name, *times, *others]) + " |")


if __name__ == "__main__":
    main()
