"""Sequences and player pages for tests and benchmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stages import player
from stages.contracts import Anchors, Frames, Sequence
from stages.lib import compact
from stages.lib.cameras import ZERO123PP_V11_AZIMUTH_DEG, ZERO123PP_V11_ELEVATION_DEG
from stages.settings import PlayerRun

PARTS = sorted((Path(__file__).resolve().parent.parent / "workflow" / "player").iterdir())
RADIUS, FOVY_DEG = 2.0, 49.1
SH_C0 = 0.28209479177387814


def shell(count: int, frames: int = 8, seed: int = 0) -> Sequence:
    """A breathing shell of `count` coloured gaussians of degree 1, of any orientation.

    Their quads cover 3.5 million pixels at 512x512, as the embedded suite's fits do: 2.9 to 6.4 million, median 3.4.
    """
    generator = np.random.default_rng(seed)
    direction = generator.standard_normal((count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    radius = 0.6 + 0.08 * np.sin(5 * direction[:, :1]) * np.cos(4 * direction[:, 1:2])
    times = np.linspace(0, 1, frames)
    means = np.stack([direction * radius * (1 + 0.1 * np.sin(2 * np.pi * time)) for time in times])
    spacing = np.sqrt(4 * np.pi * 0.36 / count)
    sizes = np.log(spacing * generator.uniform(0.23, 0.69, (count, 3)))
    quats = generator.standard_normal((count, 4))
    sh = np.zeros((count, 4, 3))
    sh[:, 0] = (0.5 + 0.35 * np.sin(7 * direction + [0, 2, 4]) - 0.5) / SH_C0
    sh[:, 1:] = generator.normal(0, 0.1, (count, 3, 3))
    every = (frames, 1, 1)
    return Sequence(
        means.astype(np.float32),
        np.tile(quats, every).astype(np.float32),
        np.tile(sizes, every).astype(np.float32),
        np.tile(generator.normal(1, 1.5, count), (frames, 1)).astype(np.float32),
        sh.astype(np.float32),
        np.ones((frames, count), bool),
        times,
    )


def scene(frames: int) -> tuple[Frames, Anchors]:
    """Cameras for a sequence of nothing but gaussians: the input's at elevation 0 and Zero123++'s six."""
    angles = np.array(ZERO123PP_V11_AZIMUTH_DEG), np.array(ZERO123PP_V11_ELEVATION_DEG)
    nothing = np.zeros((frames, 1, 1, 4), np.uint8)
    return (
        Frames(nothing, np.linspace(0, 1, frames), 0, FOVY_DEG, RADIUS, 0.0),
        Anchors(np.zeros((0, 6, 1, 1, 4), np.uint8), np.zeros(0, np.int64), *angles, "rendered"),
    )


def page(folder: Path, *sequences: Sequence, run: PlayerRun | None = None) -> Path:
    """The player of one or two sequences, written into a folder."""
    data = []
    for index, sequence in enumerate(sequences):
        compact.write(folder / f"{index}.4dgs", sequence)
        data.append((folder / f"{index}.4dgs").read_bytes())
    titles = ["first", "second"][: len(sequences)]
    times = sequences[0].times
    told = player.about(titles, "shell", times, *scene(len(times)), run or PlayerRun())
    (folder / "player.html").write_text(player.assemble(player.read_parts(PARTS), told, data), encoding="utf-8")
    return folder / "player.html"
