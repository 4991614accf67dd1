"""Contact sheet of the suite: `python -m stages.lib.suite --out sheet.png`.

One row an object: several times in the input view, then other views at one time, on white.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from stages.lib.cameras import orbit
from stages.lib.suite import DEVELOPMENT, REPORTING, TRAINING_FAMILIES, render

SHEET_TIMES = (0.0, 0.2, 0.4, 0.48, 0.56, 0.8, 1.0)
SHEET_VIEWS = ((90.0, 0.0), (180.0, 0.0), (270.0, 0.0), (30.0, 30.0))  # azimuth, elevation, degrees
SHEET_VIEW_TIME = 0.6
LABEL_HEIGHT = 14


def sheet_row(name: str, size: int, seed: int = 0) -> np.ndarray:
    """One object's tiles side by side on white: (size, columns * size, 3) uint8."""
    front = orbit(0.0, 0.0, radius=2.0, fovy_deg=49.1, width=size, height=size)
    azimuth, elevation = zip(*SHEET_VIEWS, strict=True)
    around = orbit(azimuth, elevation, radius=2.0, fovy_deg=49.1, width=size, height=size)
    over_time = render(name, SHEET_TIMES, front, seed=seed)[:, 0]
    tiles = np.concatenate([over_time, render(name, [SHEET_VIEW_TIME], around, seed=seed)[0]])
    alpha = tiles[..., 3:].astype(np.float32) / 255.0
    opaque = tiles[..., :3] * alpha + 255.0 * (1.0 - alpha)
    return np.concatenate(list((opaque + 0.5).astype(np.uint8)), axis=1)


def contact_sheet(names, size: int) -> Image.Image:
    """All named objects, a labelled row each."""
    rows = [(name, sheet_row(name, size)) for name in names]
    step = size + LABEL_HEIGHT
    sheet = Image.new("RGB", (rows[0][1].shape[1], step * len(rows)), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (name, row) in enumerate(rows):
        draw.text((6, index * step + 2), name, fill="#555555")
        sheet.paste(Image.fromarray(row), (0, index * step + LABEL_HEIGHT))
    return sheet


def main() -> None:
    """Parse the command line and write the sheet."""
    parser = argparse.ArgumentParser(prog="python -m stages.lib.suite", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="PNG to write")
    parser.add_argument("--size", type=int, default=128, help="tile size in pixels")
    parser.add_argument("--families", action="store_true", help="also draw every training family, seed 0")
    arguments = parser.parse_args()
    names = REPORTING + DEVELOPMENT + (TRAINING_FAMILIES if arguments.families else ())
    # 255 colours keep the sheet small; the eye does not see them missing at this size.
    sheet = contact_sheet(names, arguments.size).quantize(255, method=Image.Quantize.MEDIANCUT)
    sheet.save(arguments.out, optimize=True)


if __name__ == "__main__":
    main()
