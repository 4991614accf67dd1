"""moments: the methods side by side at the moments of a clip that change most, as in 4DSTR's Figures 5, 7 and 8.

Reads frames.npz and the sequence.safetensors of several variants; writes one PNG: a row the source, then a row a
variant, named at its left; in pairs of columns a moment of the input view and, magnified, its part that changes.

The moments are the frames before and after the three largest changes of the source; the magnified part is the square
around the pixels that change suddenly (`quality.sudden_region`).
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from stages import cli
from stages.cli import Reporter
from stages.contracts import Frames, Sequence
from stages.lib import images, quality
from stages.lib.device import ON_CPU
from stages.lib.drawing import draw_rgba
from stages.settings import RendersRun

CHANGES = 3
# Side of a picture on the sheet, pixels.
SIDE = 192
# The magnified square is this much wider than what changes, so that its surroundings show.
MARGIN = 1.15
LABEL_WIDTH = 150


def moments(pictures: np.ndarray) -> list[int]:
    """The frames before and after the largest changes of (F, H, W, 3) pictures on white, in order, each once."""
    change = np.abs(np.diff(pictures, axis=0)).mean(axis=(1, 2, 3))
    largest = np.sort(np.argsort(-change, kind="stable")[:CHANGES])
    return sorted({int(frame) for place in largest for frame in (place, place + 1)})


def square(region: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of the square around the changing pixels (H, W) bool, moved inside the picture."""
    if not region.any():
        return slice(0, region.shape[0]), slice(0, region.shape[1])
    rows, columns = (np.flatnonzero(region.any(axis)) for axis in (1, 0))
    side = min(round(MARGIN * max(np.ptp(rows), np.ptp(columns)) + 1), *region.shape)
    first = [
        int(np.clip((line[0] + line[-1] + 1 - side) // 2, 0, length - side))
        for line, length in zip((rows, columns), region.shape, strict=True)
    ]
    return slice(first[0], first[0] + side), slice(first[1], first[1] + side)


def label(text: str) -> np.ndarray:
    """A white picture (SIDE, LABEL_WIDTH, 3) with black text in its middle."""
    picture = np.full((SIDE, LABEL_WIDTH, 3), 255, np.uint8)
    cv2.putText(picture, text, (6, SIDE // 2 + 5), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return picture


def row(name: str, pictures: dict[int, np.ndarray], part: tuple[slice, slice]) -> np.ndarray:
    """One row of the sheet from white pictures (H, W, 3) uint8 by frame."""
    cells = [label(name)]
    for picture in pictures.values():
        cells += [
            cv2.resize(shown, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST) for shown in (picture, picture[part])
        ]
    return np.concatenate(cells, axis=1)


def main(frames: Path, sequences: list[Path], out: Path, settings: RendersRun, report: Reporter) -> None:
    """Draw the methods side by side at the moments of change."""
    report.say(ON_CPU)
    clip = Frames.load(frames)
    source = np.stack([quality.on_white(image)[0] for image in clip.rgba])
    chosen, part = moments(source), square(quality.sudden_region(source))
    names = [path.parts[-3] for path in sequences]
    rows = [row("source", {frame: images.to_uint8(source[frame]) for frame in chosen}, part)]
    camera = clip.cameras(0.0, clip.elevation_deg)
    for name, path in zip(names, sequences, strict=True):
        sequence = Sequence.load(path).at(clip.times)
        drawn = {
            frame: images.to_uint8(images.over_white(draw_rgba(sequence.frame(frame), camera)[0])) for frame in chosen
        }
        rows.append(row(name, drawn, part))
    images.write_png(out, np.concatenate(rows))
    report.say(f"wrote {out}: frames {', '.join(map(str, chosen))} of {', '.join(names)}")


if __name__ == "__main__":
    cli.run(main, "moments")
