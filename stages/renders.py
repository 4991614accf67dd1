"""renders: draws the baked sequence from every camera that is scored.

Reads sequence.safetensors, frames.npz, anchors.npz, truth.npz; writes views.npz with the input view, the
anchor views and the ground-truth views, in this order, at the size of the frames.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from stages import cli
from stages.cli import Reporter
from stages.contracts import Anchors, Frames, Sequence, Truth, Views
from stages.lib.device import ON_CPU
from stages.lib.drawing import draw_rgba
from stages.settings import RendersRun


def scored_views(frames: Frames, anchors: Anchors, truth: Truth) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Kind (V,), azimuth_deg (V, T) and elevation_deg (V, T) of every scored view."""
    count = len(frames.times)

    def over_time(angles: np.ndarray) -> np.ndarray:
        return np.repeat(np.asarray(angles, np.float64)[:, None], count, axis=1)

    kind = np.array(["input"] + ["anchor"] * len(anchors.azimuth_deg) + ["truth"] * len(truth.azimuth_deg))
    azimuth = np.concatenate([over_time([0.0]), over_time(anchors.azimuth_deg), truth.azimuth_deg])
    elevation = np.concatenate(
        [over_time([frames.elevation_deg]), over_time(anchors.elevation_deg), truth.elevation_deg]
    )
    return kind, azimuth, elevation


def draw(sequence: Sequence, frames: Frames, anchors: Anchors, truth: Truth, report: Reporter) -> Views:
    """Every scored view of every frame; raises ContractError if sequence and frames disagree in time."""
    count = len(frames.times)
    sequence = sequence.at(frames.times)
    kind, azimuth, elevation = scored_views(frames, anchors, truth)
    # In a file that goes with the process: all views of a long clip are larger than what draws them.
    shape = (len(kind), count, *frames.rgba.shape[1:])
    rgba = np.memmap(tempfile.TemporaryFile(), np.uint8, "w+", shape=shape)
    for index in range(count):
        cameras = frames.cameras(azimuth[:, index], elevation[:, index])
        rgba[:, index] = draw_rgba(sequence.frame(index), cameras)
        report.progress(index + 1, count)
    return Views(rgba, kind, azimuth, elevation, sequence.record)


def main(
    sequence: Path, frames: Path, anchors: Path, truth: Path, out: Path, settings: RendersRun, report: Reporter
) -> None:
    """Draw the scored views."""
    report.say(ON_CPU)
    clip, around, held = (
        kind.load(path, on_disk=True) for kind, path in ((Frames, frames), (Anchors, anchors), (Truth, truth))
    )
    views = draw(Sequence.load(sequence, on_disk=True), clip, around, held, report)
    views.save(out)
    report.say(f"wrote {out}: {views.rgba.shape[0]} views of {views.rgba.shape[1]} frames")


if __name__ == "__main__":
    cli.run(main, "renders")
