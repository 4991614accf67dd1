"""speed: how large the model of motion is and how fast a fitted scene plays, with and without it.

Reads dynamic.safetensors and frames.npz; writes speed.csv, one `metric,value` a line:

encoder_parameters   of the temporal rectification (encoder, embedding and heads); 0 without it
model_parameters     of everything that moves gaussians: field and rectification
gaussians_per_frame  mean over the clip
fps_network          pictures of the input view a second when field and rectification are evaluated for every frame,
                     in order, as a player without a baked sequence would (the paper's frame rate)
fps_baked            the same from attributes that were evaluated before

The two rates are measured turn by turn in one process, the median of several rounds over the clip; they are this
machine's and this moment's.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import torch

from stages import cli
from stages.cli import Reporter
from stages.contracts import Frames, Gaussians, load_tensors, replacing
from stages.lib.device import choose
from stages.lib.gaussians import NAMES, draw, to_tensors
from stages.lib.motion import ATTRIBUTES, Buffer, restore
from stages.settings import DynamicRun, Run, parse

ROUNDS = 5


def main(dynamic: Path, frames: Path, out: Path, settings: Run, report: Reporter) -> None:
    """Measure parameters and frame rates of one fit."""
    device = choose(settings)
    arrays, about = load_tensors(dynamic)
    clip = Frames.load(frames)
    fitted = parse(DynamicRun, about["settings"], f"settings of {dynamic}")
    motion, spread = restore(arrays, fitted.dynamic, device.device)
    params = to_tensors(Gaussians(**{name: arrays[f"gaussians.{name}"] for name in NAMES}), device.device)
    present = torch.from_numpy(arrays["present"]).to(device.device)
    rows = [torch.nonzero(here)[:, 0] for here in present]
    camera, white = clip.cameras(0.0, clip.elevation_deg), torch.ones(1, 3, device=device.device)

    def moved(frame: int, buffer: Buffer) -> tuple[dict, Buffer]:
        if motion is None:
            return {name: params[name][rows[frame]] for name in ATTRIBUTES}, ()
        here, buffer = motion(
            params, [float(clip.times[frame])], present[frame : frame + 1], spread, buffer, rows[frame]
        )
        return {name: value[0] for name, value in here.items()}, buffer

    def picture(attributes: dict, frame: int) -> None:
        gaussians = attributes | {"sh": params["sh"][rows[frame]]}
        draw(gaussians, camera, white, backend=device.backend, threads=device.threads)
        if device.device.type == "cuda":
            torch.cuda.synchronize()

    baked, seconds = [], {"fps_network": [], "fps_baked": []}
    with torch.no_grad():
        for turn in range(ROUNDS + 1):
            buffer: Buffer = ()
            started = time.perf_counter()
            for frame in range(len(rows)):
                attributes, buffer = moved(frame, buffer)
                picture(attributes, frame)
                if turn == 0:
                    baked.append(attributes)
            middle = time.perf_counter()
            for frame in range(len(rows)):
                picture(baked[frame], frame)
            if turn > 0:  # the first turn compiles
                seconds["fps_network"].append(middle - started)
                seconds["fps_baked"].append(time.perf_counter() - middle)
    temporal = None if motion is None else motion.rectification
    values = {
        "encoder_parameters": 0 if temporal is None else sum(p.numel() for p in temporal.parameters()),
        "model_parameters": 0 if motion is None else sum(p.numel() for p in motion.parameters()),
        "gaussians_per_frame": f"{float(present.sum(1).float().mean()):.1f}",
        **{name: f"{len(rows) / statistics.median(taken):.4g}" for name, taken in seconds.items()},
    }
    with replacing(out) as temporary:
        lines = ["metric,value", *(f"{name},{value}" for name, value in values.items())]
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    report.say(f"wrote {out}: {values['fps_network']} pictures a second with the model, {values['fps_baked']} without")


if __name__ == "__main__":
    cli.run(main, "speed")
