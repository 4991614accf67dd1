"""moments: the methods side by side at the moments of a clip that change most, as in 4DSTR's Figures 5, 7 and 8.

Reads frames.npz, truth.npz and the sequence.safetensors of several variants; writes one PNG and one CSV.

Vocabulary and conventions
--------------------------
- A *change* is between two consecutive frames, `before` and `after`, and is named by the later one. Those shown are the
  three largest of the source, no two of them neighbours, or those that `moments.frames` names.
- The *part* is the square in which the source changes most between these two frames, or `moments.region`. Each change
  has its own, so that a stray blob or a step elsewhere in the clip does not widen it.
- PNG: a row the source, then a row a variant, named at its left; a change takes four columns: the input view before
  and, magnified, its part, then both after. CSV: a row for every variant, change and moment, with the PSNR in
  dB against the source in the part and in the whole picture.
- Where there is ground truth, the same moments follow on the PNG from its first camera, which no fit was given, with
  parts of their own: a row the truth, then a row a variant.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from stages import cli
from stages.cli import Reporter, StageError
from stages.contracts import Frames, Sequence, Truth, replacing
from stages.lib import images, quality
from stages.lib.device import ON_CPU
from stages.lib.drawing import draw_rgba
from stages.settings import MomentsRun, MomentsSettings

CHANGES = 3
# Side of a picture on the sheet, pixels.
SIDE = 192
# Side of the part, share of the picture's: half of an object that fills 60 % of it, so that a mouth is inside with its
# surroundings.
SHARE = 0.3
LABEL_WIDTH = 150
HEADER = ("variant", "change", "moment", "frame", "row", "column", "side", "psnr", "psnr_picture")


@dataclass(frozen=True)
class Part:
    """A square of the picture: first row and column and side, pixels."""

    row: int
    column: int
    side: int

    def of(self, picture: np.ndarray) -> np.ndarray:
        """This part (side, side, ...) of a picture (H, W, ...)."""
        return picture[self.row : self.row + self.side, self.column : self.column + self.side]


def changes(pictures: np.ndarray) -> list[int]:
    """The frames after the largest changes of (T, H, W, 3) pictures on white, in order, no two in a row."""
    change = np.abs(np.diff(pictures, axis=0)).mean(axis=(1, 2, 3))
    found: list[int] = []
    for place in np.argsort(-change, kind="stable").tolist():
        if len(found) < CHANGES and all(abs(place + 1 - other) > 1 for other in found):
            found.append(place + 1)
    return sorted(found)


def most_changing(before: np.ndarray, after: np.ndarray) -> Part:
    """The square, SHARE of the picture's side, in which the squared difference of two (H, W, 3) pictures is largest."""
    side = max(1, round(SHARE * min(before.shape[:2])))
    sums = cv2.integral(np.square(after - before).sum(axis=-1))
    inside = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    row, column = np.unravel_index(int(inside.argmax()), inside.shape)
    return Part(int(row), int(column), side)


def chosen(pictures: np.ndarray, settings: MomentsSettings) -> dict[int, Part]:
    """The part of every change that is shown, by its later frame; raises StageError on settings that do not fit."""
    count, height, width = pictures.shape[:3]
    if count < 2:
        raise StageError("the clip has one frame, so nothing changes; expected two or more. Leave moments out.")
    wrong = [frame for frame in settings.frames or [] if not 1 <= frame < count]
    if wrong:
        raise StageError(
            f"moments.frames names frame {wrong[0]} of a clip of {count}; expected frames that have one before them, "
            f"1 to {count - 1}."
        )
    frames = changes(pictures) if settings.frames is None else sorted(set(settings.frames))
    if settings.region is None:
        return {frame: most_changing(pictures[frame - 1], pictures[frame]) for frame in frames}
    part = Part(*settings.region)
    if part.row + part.side > height or part.column + part.side > width:
        raise StageError(
            f"moments.region {list(settings.region)} leaves the picture of {height}x{width} pixels; expected first "
            "row, first column and side of a square inside it."
        )
    return dict.fromkeys(frames, part)


def label(text: str) -> np.ndarray:
    """A white picture (SIDE, LABEL_WIDTH, 3) with black text in its middle."""
    picture = np.full((SIDE, LABEL_WIDTH, 3), 255, np.uint8)
    cv2.putText(picture, text, (6, SIDE // 2 + 5), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return picture


def row(name: str, pictures: dict[int, np.ndarray], parts: dict[int, Part]) -> np.ndarray:
    """One row of the sheet from white pictures (H, W, 3) in [0, 1] by frame."""
    cells = [label(name)]
    for after, part in parts.items():
        for frame in (after - 1, after):
            picture = images.to_uint8(pictures[frame])
            for shown in (picture, part.of(picture)):
                cells.append(cv2.resize(shown, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST))
    return np.concatenate(cells, axis=1)


def scores(name: str, pictures: dict[int, np.ndarray], source: np.ndarray, parts: dict[int, Part]) -> list[tuple]:
    """HEADER's columns of one variant."""
    found = []
    for after, part in parts.items():
        for moment, frame in (("before", after - 1), ("after", after)):
            pair = pictures[frame], source[frame]
            near = quality.psnr(*(np.ascontiguousarray(part.of(picture)) for picture in pair))
            place = part.row, part.column, part.side
            found.append((name, after, moment, frame, *place, f"{near:.6g}", f"{quality.psnr(*pair):.6g}"))
    return found


def drawn(
    sequence: Sequence, clip: Frames, shown: list[int], azimuth: float, elevation: float
) -> dict[int, np.ndarray]:
    """Pictures (H, W, 3) in [0, 1] on white of these frames from one camera."""
    camera = clip.cameras(azimuth, elevation)
    return {frame: quality.on_white(draw_rgba(sequence.frame(frame), camera)[0])[0] for frame in shown}


def unseen(truth: Truth, sequences: dict[str, Sequence], clip: Frames, after: list[int]) -> list[np.ndarray]:
    """The rows of the first ground-truth camera at these changes; none where there is no truth."""
    if not len(truth.rgba):
        return []
    pictures = np.stack([quality.on_white(image)[0] for image in truth.rgba[0]])
    parts = {frame: most_changing(pictures[frame - 1], pictures[frame]) for frame in after}
    shown = sorted({frame for later in parts for frame in (later - 1, later)})
    azimuth, elevation = float(truth.azimuth_deg[0, 0]), float(truth.elevation_deg[0, 0])
    rows = [row(f"truth {azimuth:g} deg", {frame: pictures[frame] for frame in shown}, parts)]
    return rows + [
        row(name, drawn(sequence, clip, shown, azimuth, elevation), parts) for name, sequence in sequences.items()
    ]


def main(
    frames: Path,
    truth: Path,
    sequences: list[Path],
    out: Path,
    table: Path,
    settings: MomentsRun,
    report: Reporter,
) -> None:
    """Draw and score the methods side by side at the moments of change."""
    report.say(ON_CPU)
    clip = Frames.load(frames)
    source = np.stack([quality.on_white(image)[0] for image in clip.rgba])
    parts = chosen(source, settings.moments)
    shown = sorted({frame for after in parts for frame in (after - 1, after)})
    loaded = {path.parts[-3]: Sequence.load(path, on_disk=True).at(clip.times) for path in sequences}
    rows, scored = [row("source", {frame: source[frame] for frame in shown}, parts)], []
    for name, sequence in loaded.items():
        pictures = drawn(sequence, clip, shown, 0.0, clip.elevation_deg)
        rows.append(row(name, pictures, parts))
        scored += scores(name, pictures, source, parts)
    rows += unseen(Truth.load(truth, on_disk=True), loaded, clip, list(parts))
    images.write_png(out, np.concatenate(rows))
    with replacing(table) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([HEADER, *scored])
    report.say(f"wrote {out} and {table}: frames {', '.join(map(str, shown))} of {', '.join(loaded)}")


if __name__ == "__main__":
    cli.run(main, "moments")
