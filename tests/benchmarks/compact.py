"""How small the compact file is and what it costs in the picture.

    python -m tests.benchmarks.compact results/embedded/*/*/seed0/sequence.safetensors
    python -m tests.benchmarks.compact --tile 32 10000 results/embedded/mouth/stag4d/seed0/sequence.safetensors

A row a sequence: bytes, bytes a gaussian and frame, the share of sequence.safetensors, PSNR over white between pictures
of the sequence and of what is read back (512x512, four views of three frames), and the seconds of writing.
`--tile T N` first extends a sequence to T frames (back and forth) of N gaussians (copies, each a thousandth of a world
unit apart, all in random order, so that deflate finds no copy in its window).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from stages.contracts import Sequence
from stages.lib import compact
from stages.lib.cameras import orbit
from stages.lib.drawing import draw_rgba
from stages.lib.images import over_white

SIZE = 512
VIEWS_DEG = ([0.0, 60.0, 180.0, 285.0], [0.0, 20.0, -20.0, 0.0])
APART = 1e-3


def tiled(sequence: Sequence, frames: int, count: int) -> Sequence:
    """The sequence forwards and backwards until `frames`, its gaussians repeated until `count`, each copy displaced."""
    total, present = sequence.present.shape
    bounce = np.concatenate([np.arange(total), np.arange(total - 2, 0, -1)])
    chosen = np.resize(bounce, frames)
    copies = np.random.default_rng(0).permutation(count)
    shift = APART * (copies // present)[:, None]
    copies = copies % present
    moved = sequence.means[chosen][:, copies] + shift
    return replace(
        sequence,
        **{name: getattr(sequence, name)[chosen][:, copies] for name in ("quats", "log_scales", "opacity_logits")},
        means=moved.astype(np.float32),
        present=sequence.present[chosen][:, copies],
        sh=sequence.sh[copies],
        times=np.linspace(0, 1, frames),
    )


def psnr(sequence: Sequence, back: Sequence) -> float:
    """Over white, all views of the second, the middle and the last frame together."""
    cameras = orbit(*VIEWS_DEG, 2.0, 49.1, SIZE, SIZE)
    frames = sorted({min(1, len(sequence.times) - 1), len(sequence.times) // 2, len(sequence.times) - 1})
    pairs = [[over_white(draw_rgba(one.frame(frame), cameras)) for one in (sequence, back)] for frame in frames]
    return float(-10 * np.log10(np.mean([np.mean((first - second) ** 2) for first, second in pairs])))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sequences", type=Path, nargs="+")
    parser.add_argument("--tile", type=int, nargs=2, metavar=("FRAMES", "GAUSSIANS"))
    chosen = parser.parse_args()
    for path in chosen.sequences:
        sequence = Sequence.load(path)
        if chosen.tile:
            sequence = tiled(sequence, *chosen.tile)
        with tempfile.TemporaryDirectory() as folder:
            started = time.process_time()
            size = compact.write(Path(folder) / "sequence.4dgs", sequence)
            seconds = time.process_time() - started
            back = compact.read(Path(folder) / "sequence.4dgs")
        frames, count = sequence.present.shape
        raw = sum(getattr(sequence, name).nbytes for name in (*compact.SIZES, "present", "sh"))
        scene, variant = path.parts[-4], path.parts[-3]
        each, share = size / sequence.present.sum(), size / raw
        what = f"{scene:10s} {variant:8s} {frames} x {count:6,d} | {size:9,d} bytes | {each:.2f} each | {share:.1%}"
        print(f"{what} | {psnr(sequence, back):.1f} dB | {seconds:.1f} s", flush=True)


if __name__ == "__main__":
    main()
