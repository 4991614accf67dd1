"""assets: what a person opens and watches.

Reads sequence.safetensors and frames.npz; writes orbit.mp4 (the clip repeats under a camera that turns once),
input.mp4 (the source beside our render of it), sheet.png (times by views) and ply/frame%04d.ply, one set of
gaussians a frame in the layout that every 3D Gaussian viewer reads.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from stages import cli
from stages.cli import Reporter
from stages.contracts import Frames, Sequence
from stages.lib import images, video
from stages.lib.drawing import draw_rgba
from stages.settings import RendersRun

# Azimuths of the contact sheet's rows: front, both sides, back; the input's own elevation.
SHEET_AZIMUTH_DEG = (0.0, 60.0, 120.0, 180.0, 240.0, 300.0)
# The orbit looks slightly down, where a flat result shows.
ORBIT_ELEVATION_DEG = 15.0


def white(rgba: np.ndarray) -> np.ndarray:
    """Straight RGBA over white, uint8."""
    return images.to_uint8(images.over_white(rgba))


def orbit(sequence: Sequence, frames: Frames, count: int, size: int, report: Reporter) -> np.ndarray:
    """(count, H, W, 3) uint8 on white: one turn of the camera while the clip plays, again and again."""
    pictures = []
    for index in range(count):
        cameras = frames.cameras(360.0 * index / count, frames.elevation_deg + ORBIT_ELEVATION_DEG, size)
        pictures.append(white(draw_rgba(sequence.frame(index % len(sequence.times)), cameras)[0]))
        report.progress(index + 1, count)
    return np.stack(pictures)


def beside(sequence: Sequence, frames: Frames) -> np.ndarray:
    """(T, H, 2W, 3) uint8 on white: the source left, our render of the input view right."""
    cameras = frames.cameras(0.0, frames.elevation_deg)
    ours = np.stack([draw_rgba(sequence.frame(index), cameras)[0] for index in range(len(frames.times))])
    return np.concatenate([white(frames.rgba), white(ours)], axis=2)


def sheet(sequence: Sequence, frames: Frames, columns: int) -> np.ndarray:
    """(H, W, 3) uint8: the source in the first row, then one row a view; times from left to right."""
    chosen = np.unique(np.linspace(0, len(frames.times) - 1, columns).round().astype(int))
    cameras = frames.cameras(SHEET_AZIMUTH_DEG, frames.elevation_deg)
    drawn = [white(draw_rgba(sequence.frame(index), cameras)) for index in chosen]
    rows = [np.concatenate([white(frames.rgba[index]) for index in chosen], axis=1)]
    rows += [np.concatenate([pictures[view] for pictures in drawn], axis=1) for view in range(len(cameras))]
    return np.concatenate(rows, axis=0)


def write_ply(sequence: Sequence, folder: Path) -> None:
    """One PLY a frame, in a folder that appears only when it is complete."""
    partial = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for index in range(len(sequence.times)):
            sequence.frame(index).save(partial / f"frame{index:04d}.ply")
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def main(
    sequence: Path,
    frames: Path,
    orbit_path: Path,
    source: Path,
    sheet_path: Path,
    ply: Path,
    settings: RendersRun,
    report: Reporter,
) -> None:
    """Write videos, the contact sheet and the PLY sequence."""
    the_sequence, the_frames = Sequence.load(sequence), Frames.load(frames)
    chosen = settings.renders
    size = chosen.size or 2 * the_frames.rgba.shape[1]
    video.write_mp4(orbit_path, orbit(the_sequence, the_frames, chosen.orbit_frames, size, report), chosen.fps)
    video.write_mp4(source, beside(the_sequence, the_frames), chosen.fps)
    images.write_png(sheet_path, sheet(the_sequence, the_frames, chosen.sheet_times))
    write_ply(the_sequence, ply)
    report.say(f"wrote {orbit_path}, {source}, {sheet_path} and {len(the_sequence.times)} PLY files in {ply}")


if __name__ == "__main__":
    cli.run(main, "assets")
