"""What a step's term of score distillation costs with the small Zero123, by encoder, and what the linear one explains.

    python -m tests.benchmarks.micro_guidance [--threads 1] [--steps 50] [--frames 24]

The network is the committed one (resources/priors/), the object `dev_robot` of the development suite at 128 pixels with
its true anchors, the gaussians those with which its canonical fit begins. A term is what a fit calls: one random view,
drawn, encoded with its gradient, held against input view and nearest anchor (4DSTR eq. 8), and the gradient back to the
gaussians. tests/benchmarks/guidance.py has the encoders' shares at full size.

Vocabulary: *processor time* is the median of the steps after the first, and does not count what else the machine does.
*Preparation* embeds the conditions, seven views a frame, and fits the linear encoder. *Explained* is the share of the
variance of these conditions' latents that the linear encoder, fitted to them, has.
"""

from __future__ import annotations

import argparse
import io
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from stages import canonical
from stages.cli import Reporter
from stages.lib import fit, weights
from stages.lib import guidance as sds
from stages.lib.device import Device, choose
from stages.lib.diffusion.distillation import Guidance
from stages.settings import CanonicalRun, CanonicalSettings, GuidanceSettings
from tests.objects import anchors_of, frames_of

RECEIPT = Path(__file__).resolve().parents[2] / "resources" / "priors" / weights.MICRO_POSE / weights.RECEIPT
OBJECT, SIZE = "dev_robot", 128
ENCODERS = {"vae 64": {}, "vae 32": {"encode_size": 32}, "linear": {"encoder": "linear"}}
SCALES = (5.0, 1.0)
COLUMNS = ("encoder", *(f"term at guidance {scale:g}, s" for scale in SCALES), "preparation, s", "explained")


def seconds(guidance: Guidance, state: fit.State, frame: int, steps: int, device: Device) -> float:
    """Processor time of a term and its gradient by the gaussians, median over the steps after the first."""
    generator, took = torch.Generator().manual_seed(0), []
    for step in range(steps + 1):
        started = time.process_time()
        value, _ = guidance.term([(frame, None, state.params)], step / (steps + 1), generator, device)
        value.backward()
        took.append(time.process_time() - started)
        # A term leaves its generator alone: the fit's own draws move it on.
        torch.rand(1, generator=generator)
    return float(np.median(took[1:]))


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
    goal = fit.targets(clip, anchors, device.device)
    state = canonical.initial_state(clip, anchors, goal, run, device)
    about = f"{OBJECT}, {arguments.frames} frames at {SIZE} pixels, {len(state.params['means'])} gaussians, float32"
    print(f"{about}, threads {arguments.threads}, median of {arguments.steps} steps, torch {torch.__version__}\n")
    print("| " + " | ".join(COLUMNS) + " |\n" + "| --- " * len(COLUMNS) + "|")
    for name, changed in ENCODERS.items():
        settings = GuidanceSettings(model="micro", **changed)
        log, started = io.StringIO(), time.process_time()
        report, frames = Reporter("guidance", "", log, io.StringIO()), range(arguments.frames)
        guidance = sds.open_guidance(settings, [RECEIPT], clip, anchors, frames, sds.DYNAMIC_SPAN, device, report)
        prepared = time.process_time() - started
        scaled = [replace(guidance, settings=settings.model_copy(update={"guidance_scale": scale})) for scale in SCALES]
        terms = [seconds(each, state, clip.key, arguments.steps, device) for each in scaled]
        explained = re.search(r"explains ([\d.]+ %)", log.getvalue())
        cells = [f"{term:.3f}" for term in terms] + [f"{prepared:.1f}", explained[1] if explained else ""]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
