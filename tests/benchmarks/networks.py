"""Frames a second of every network of the metrics, with random weights of the true architecture.

    python -m tests.benchmarks.networks [--threads 1] [--batch 16] [--rounds 3] [--device cpu]

A frame is one picture of 128 x 128 on the way from uint8 to its score, resizing included; a pair for LPIPS. I3D takes a
clip of 32 frames at once; its memory over the clip's length is shown as well, each length in a process of its own. The
numbers that these networks say are random and not shown.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from stages.lib.networks import ARCHITECTURES, Absent, Loaded, build, features
from tests.lib.networks.beside import make_importable
from tests.memory import PEAK, resident_mb

BESIDE = Path(__file__).resolve().parents[2] / ".venv" / "beside"
CLIP_FRAMES = 32
LENGTHS = (8, 32, 64, 128)


def pictures(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, 128, 128, 3), dtype=np.uint8))


def call(network: Loaded, clip: list[np.ndarray], batch: int) -> None:
    """Score one clip as the networks stage does."""
    if network.name == "clip_vit_b32":
        features.clip_features(network, clip, batch, features.PROTOCOL_SIDE)
    elif network.name.startswith("lpips"):
        share = max(1, batch // features.LPIPS_SHARE)
        features.lpips_distances(network, clip, clip[::-1], share, features.PROTOCOL_SIDE)
    elif network.name == "inception_fid":
        features.inception_features(network, clip, batch)
    elif network.name == "i3d_kinetics":
        features.i3d_logits(network, clip)
    else:
        features.resnet3d_features(network, clip, max(1, batch // features.SEGMENT_SHARE))


def peak_of_i3d(frames: int) -> float:
    """Peak memory in MB of a process that scores one clip of so many frames."""
    program = f"from tests.benchmarks import networks; networks.one_i3d({frames})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return float(done.stdout)


def one_i3d(frames: int) -> None:
    """Score one clip with I3D and print the peak memory of this process in MB."""
    torch.set_num_threads(1)
    network = Loaded("i3d_kinetics", build("i3d_kinetics"), "random", torch.device("cpu"))
    call(network, pictures(frames), 1)
    print(resident_mb(PEAK))


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    make_importable(str(BESIDE))
    device = torch.device(arguments.device)
    print(
        f"torch {torch.__version__}, {arguments.threads} threads, batch {arguments.batch}, {device}, best of rounds\n"
    )
    print("| network | parameters | frames a second |\n| --- | --- | --- |")
    for name in ARCHITECTURES:
        try:
            module = build(name)
        except Absent as error:
            print(f"| {name} | | {error} |")
            continue
        network = Loaded(name, module.to(device), "random", device)
        count = 8 if name.startswith("lpips") else CLIP_FRAMES
        clip, best = pictures(count), float("inf")
        for _ in range(arguments.rounds):
            started = time.perf_counter()
            call(network, clip, arguments.batch)
            best = min(best, time.perf_counter() - started)
        parameters = sum(p.numel() for p in module.parameters())
        print(f"| {name} | {parameters:,} | {count / best:.2f} |", flush=True)
    print("\n| frames of one clip | I3D, peak memory of the process, MB |\n| --- | --- |")
    for frames in LENGTHS:
        print(f"| {frames} | {peak_of_i3d(frames):.0f} |", flush=True)


if __name__ == "__main__":
    main()
