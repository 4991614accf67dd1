"""assets: what a person opens and watches.

Reads sequence.safetensors and frames.npz; writes orbit.mp4 (the clip repeats under a camera that turns once),
input.mp4 (the source beside our render of it), sheet.png (times by views) and ply/frame%04d.ply, one set of
gaussians a frame in the layout that every 3D Gaussian viewer reads, standing as most of them expect (`assets.ply_up`;
lib/axes.py has the conventions). The header of each says which way is up.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from stages import cli
from stages.cli import Reporter
from stages.contracts import Frames, Sequence, replacing_folder
from stages.lib import images, video
from stages.lib.axes import half_turn
from stages.lib.device import ON_CPU
from stages.lib.drawing import draw_rgba, turn, white
from stages.settings import AssetsRun

# Azimuths of the contact sheet's rows: front, both sides, back; the input's own elevation.
SHEET_AZIMUTH_DEG = (0.0, 60.0, 120.0, 180.0, 240.0, 300.0)


def beside(sequence: Sequence, frames: Frames) -> Iterator[np.ndarray]:
    """(H, 2W, 3) uint8 on white, frame by frame: the source left, our render of the input view right."""
    cameras, fitted = frames.cameras(0.0, frames.elevation_deg), sequence.at(frames.times)
    for index, source in enumerate(frames.rgba):
        yield np.concatenate([white(source), white(draw_rgba(fitted.frame(index), cameras)[0])], axis=1)


def sheet(sequence: Sequence, frames: Frames, columns: int) -> np.ndarray:
    """(H, W, 3) uint8: the source in the first row, then one row a view; times from left to right."""
    chosen = np.unique(np.linspace(0, len(frames.times) - 1, columns).round().astype(int))
    cameras, sequence = frames.cameras(SHEET_AZIMUTH_DEG, frames.elevation_deg), sequence.at(frames.times)
    drawn = [white(draw_rgba(sequence.frame(index), cameras)) for index in chosen]
    rows = [np.concatenate([white(frames.rgba[index]) for index in chosen], axis=1)]
    rows += [np.concatenate([pictures[view] for pictures in drawn], axis=1) for view in range(len(cameras))]
    return np.concatenate(rows, axis=0)


def write_ply(sequence: Sequence, folder: Path, up: str) -> None:
    """One PLY a frame, with "-y" or "+y" up, in a folder that appears only when it is complete."""
    with replacing_folder(folder) as partial:
        for index in range(len(sequence.times)):
            gaussians = sequence.frame(index)
            standing = half_turn(gaussians) if up == "-y" else gaussians
            standing.save(partial / f"frame{index:04d}.ply", {"up": up})


def main(
    sequence: Path,
    frames: Path,
    orbit_path: Path,
    source: Path,
    sheet_path: Path,
    ply: Path,
    settings: AssetsRun,
    report: Reporter,
) -> None:
    """Write videos, the contact sheet and the PLY sequence."""
    report.say(ON_CPU)
    the_sequence, the_frames = Sequence.load(sequence, on_disk=True), Frames.load(frames, on_disk=True)
    chosen = settings.renders
    size = chosen.size or 2 * the_frames.rgba.shape[1]
    repeated = (index % len(the_sequence.times) for index in range(chosen.orbit_frames))
    video.write_mp4(orbit_path, turn(the_sequence, the_frames, repeated, chosen.orbit_frames, size), chosen.fps)
    report.progress(1, 4)
    video.write_mp4(source, beside(the_sequence, the_frames), chosen.fps)
    report.progress(2, 4)
    images.write_png(sheet_path, sheet(the_sequence, the_frames, chosen.sheet_times))
    report.progress(3, 4)
    write_ply(the_sequence, ply, settings.assets.ply_up)
    report.progress(4, 4)
    report.say(f"wrote {orbit_path}, {source}, {sheet_path} and {len(the_sequence.times)} PLY files in {ply}")


if __name__ == "__main__":
    cli.run(main, "assets")
