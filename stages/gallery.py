"""gallery: one picture of a whole suite, still and moving.

Reads frames.npz and sequence.safetensors of every scene; writes gallery.webp (above the source, below our result
under a turning camera, a column a scene) and gallery.png (its first, middle and last pictures below each other).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from stages import cli
from stages.cli import Reporter
from stages.contracts import Frames, Sequence, replacing
from stages.lib import images
from stages.lib.device import ON_CPU
from stages.lib.drawing import draw_rgba
from stages.settings import RendersRun

# The camera of the result swings once from side to side and back while the clip plays.
SWING_DEG = 50.0
ELEVATION_DEG = 10.0
MILLISECONDS_PER_SECOND = 1000


def column(frames: Frames, sequence: Sequence, count: int) -> np.ndarray:
    """(count, 2H, W, 3) uint8: the source above, the result from a swinging camera below."""
    pictures, sequence = [], sequence.at(frames.times)
    for index in range(count):
        frame = index * len(frames.times) // count
        azimuth = SWING_DEG * np.sin(2 * np.pi * index / count)
        drawn = draw_rgba(sequence.frame(frame), frames.cameras(azimuth, frames.elevation_deg + ELEVATION_DEG))[0]
        pictures.append(np.concatenate([images.over_white(frames.rgba[frame]), images.over_white(drawn)]))
    return images.to_uint8(np.stack(pictures))


def main(
    frames: list[Path], sequences: list[Path], webp: Path, png: Path, settings: RendersRun, report: Reporter
) -> None:
    """Draw every scene beside the others."""
    report.say(ON_CPU)
    loaded = [
        (Frames.load(one, on_disk=True), Sequence.load(other, on_disk=True))
        for one, other in zip(frames, sequences, strict=True)
    ]
    count = max(len(scene.times) for scene, _ in loaded)
    columns = []
    for scene, sequence in loaded:
        columns.append(column(scene, sequence, count))
        report.progress(len(columns), len(loaded))
    pictures = np.concatenate(columns, axis=2)
    with replacing(webp) as temporary:
        first, *rest = [Image.fromarray(picture) for picture in pictures]
        duration = MILLISECONDS_PER_SECOND // settings.renders.fps
        first.save(temporary, save_all=True, append_images=rest, duration=duration, loop=0, quality=80, method=4)
    images.write_png(png, np.concatenate([pictures[0], pictures[count // 2], pictures[-1]]))
    report.say(f"wrote {webp} and {png}: {len(loaded)} scenes, {count} frames")


if __name__ == "__main__":
    cli.run(main, "gallery")
