"""metrics: scores the rendered views against the frames, the anchors and the ground truth, without a network.

Reads views.npz (our renders), frames.npz, anchors.npz, truth.npz, sequence.safetensors; writes metrics.csv.

Conventions
-----------
- `view` is `input` (the video itself), `anchor` (both are training views) or `evaluation` (ground truth that the
  fit has not seen); only `evaluation` belongs into a comparison of methods.
- Views are paired by angle and time, never by position alone.
- metrics.csv: a first line `# {record}`, then one row a number. `frame` is empty for a whole clip; `azimuth_deg` of
  a clip is its first frame's; `view` too is empty for the sequence itself. An undefined `value` is empty and has
  a `reason`.
- Letters: T frames, V views, A frames with anchors, H W pixels.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from stages import cli
from stages.cli import Reporter, StageError, record
from stages.contracts import Anchors, Frames, Sequence, Truth, Views, replacing
from stages.lib import quality
from stages.settings import MetricsRun, MetricsSettings

HEADER = ("suite", "scene", "variant", "seed", "view", "azimuth_deg", "frame", "metric", "value", "reason")

# Angles and times pass through float64 files only; a larger difference is another camera or another moment.
ANGLE_TOLERANCE_DEG = 1e-3
TIME_TOLERANCE = 1e-6

NO_TRUTH = "no ground-truth views"
NO_ANCHORS = "no anchor views"
ONE_FRAME = "one frame; needs at least 2"
NO_CHANGE = f"no pixel changes by more than {quality.SUDDEN_CHANGE} between two frames"
NO_TRIPLE = "no gaussian is present in 3 frames in a row"


@dataclass(frozen=True)
class Row:
    """One number, or the reason why there is none."""

    view: str
    azimuth_deg: float | None
    frame: int | None
    metric: str
    value: float | None
    reason: str = ""

    def cells(self) -> tuple[str, ...]:
        """Texts of the columns from `view` on; 9 digits keep what float32 pictures hold."""
        texts = ("" if number is None else f"{number:.9g}" for number in (self.azimuth_deg, self.frame, self.value))
        azimuth, frame, value = texts
        return self.view, azimuth, frame, self.metric, value, self.reason


@dataclass(frozen=True)
class Pair:
    """One camera's renders and the images they are held against."""

    view: str
    azimuth_deg: np.ndarray
    """(n,) float64"""
    frame: np.ndarray
    """(n,) int64, index into the clip"""
    prediction: np.ndarray
    """(n, H, W, 4) uint8"""
    truth: np.ndarray
    """(n, H, W, 4) uint8"""


# ------------------------------------------------------------------ pairing


def _angle_difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs((a - b + 180.0) % 360.0 - 180.0).max(initial=0.0))


class _Finder:
    """Hands out the rendered view of a kind at given angles, each view once."""

    def __init__(self, views: Views) -> None:
        self.views = views
        self.free = list(range(len(views.kind)))

    def find(self, kind: str, azimuth_deg: np.ndarray, elevation_deg: np.ndarray, frame: np.ndarray) -> np.ndarray:
        """Renders (n, H, W, 4) at angles and frames (n,); raises StageError when no free view fits."""
        candidates = [index for index in self.free if self.views.kind[index] == kind]
        for index in candidates:
            azimuth, elevation = self.views.azimuth_deg[index, frame], self.views.elevation_deg[index, frame]
            off = max(_angle_difference(azimuth, azimuth_deg), _angle_difference(elevation, elevation_deg))
            if off <= ANGLE_TOLERANCE_DEG:
                self.free.remove(index)
                return self.views.rgba[index][frame]
        at = ", ".join(f"{self.views.azimuth_deg[i, 0]:g}/{self.views.elevation_deg[i, 0]:g}" for i in candidates)
        raise StageError(
            f"no rendered {kind} view at azimuth {azimuth_deg[0]:g}, elevation {elevation_deg[0]:g} degrees; "
            f"expected one within {ANGLE_TOLERANCE_DEG:g} degrees, found {at or 'none'}. "
            "The renders belong to other cameras. " + _remake("views")
        )


def _remake(name: str) -> str:
    return f"Delete this scene's {name} file and run the same command again."


def _check_sizes(views: Views, frames: Frames, anchors: Anchors, truth: Truth, sequence: Sequence) -> None:
    """Raise StageError unless all five files show one clip: image size, T, times, anchor frames."""
    n_frames, height, width = frames.rgba.shape[:3]
    wanted = {"views": (views, 2), "anchors": (anchors, 2), "truth": (truth, 2)}
    for name, (file, axis) in wanted.items():
        size = file.rgba.shape[axis : axis + 2]
        if len(file.rgba) and size != (height, width):
            raise StageError(
                f"{name} are {size[1]}x{size[0]} pixels; expected {width}x{height} as in frames. {_remake(name)}"
            )
    for name, file in (("views", views), ("truth", truth)):
        if len(file.rgba) and file.rgba.shape[1] != n_frames:
            raise StageError(
                f"{name} hold {file.rgba.shape[1]} frames; expected {n_frames} as in frames. {_remake(name)}"
            )
    if len(sequence.times) != n_frames or np.abs(sequence.times - frames.times).max() > TIME_TOLERANCE:
        raise StageError("the sequence's times differ from those of frames; expected the same. " + _remake("sequence"))
    if len(anchors.frame) and (anchors.frame.min() < 0 or anchors.frame.max() >= n_frames):
        raise StageError(
            f"anchors name frame {anchors.frame.max()}; expected 0 to {n_frames - 1}. {_remake('anchors')}"
        )


def pair_views(views: Views, frames: Frames, anchors: Anchors, truth: Truth) -> list[Pair]:
    """Every camera that is scored, input first, then anchors, then evaluation views.

    Raises StageError when a camera was not rendered, or a render belongs to no camera.
    """
    finder = _Finder(views)
    everything = np.arange(len(frames.rgba))
    azimuth, elevation = np.zeros(len(everything)), np.full(len(everything), float(frames.elevation_deg))
    pairs = [Pair("input", azimuth, everything, finder.find("input", azimuth, elevation, everything), frames.rgba)]
    if len(anchors.frame):
        for index in range(anchors.rgba.shape[1]):
            azimuth = np.full(len(anchors.frame), anchors.azimuth_deg[index])
            elevation = np.full(len(anchors.frame), anchors.elevation_deg[index])
            found = finder.find("anchor", azimuth, elevation, anchors.frame)
            pairs.append(Pair("anchor", azimuth, anchors.frame, found, anchors.rgba[:, index]))
    for index in range(len(truth.rgba)):
        azimuth = truth.azimuth_deg[index]
        found = finder.find("truth", azimuth, truth.elevation_deg[index], everything)
        pairs.append(Pair("evaluation", azimuth, everything, found, truth.rgba[index]))
    # Without any anchor frame there is nothing to hold rendered anchor views against.
    left = [i for i in finder.free if len(anchors.frame) or views.kind[i] != "anchor"]
    if left:
        names = ", ".join(f"{views.kind[i]} at azimuth {views.azimuth_deg[i, 0]:g}" for i in left)
        raise StageError(f"rendered views without a counterpart: {names}; expected none. {_remake('views')}")
    return pairs


# ------------------------------------------------------------------ scoring


def frame_rows(pair: Pair, settings: MetricsSettings) -> Iterator[Row]:
    """Scores of every frame of one camera."""
    for azimuth, frame, prediction, truth in zip(
        pair.azimuth_deg, pair.frame, pair.prediction, pair.truth, strict=True
    ):
        scores = quality.frame_scores(prediction, truth, settings.mask_threshold)
        for metric in quality.FRAME_METRICS:
            yield Row(pair.view, float(azimuth), int(frame), metric, scores[metric])


def clip_rows(pair: Pair, settings: MetricsSettings) -> Iterator[Row]:
    """Scores of the clip of one camera as a whole."""
    pictures = [(quality.on_white(image)[0] for image in images) for images in (pair.prediction, pair.truth)]
    scores = quality.clip_scores(*pictures, n_frames=len(pair.frame), skip_ends=settings.skip_ends)
    for metric in quality.CLIP_METRICS:
        value = None if scores is None else scores[metric]
        yield Row(pair.view, float(pair.azimuth_deg[0]), None, metric, value, ONE_FRAME if scores is None else "")


def sudden_row(pair: Pair) -> Row:
    """The score of one camera over the pixels that change suddenly in the ground truth, all frames pooled."""

    def pictures(images: np.ndarray) -> Iterator[np.ndarray]:
        return (quality.on_white(image)[0] for image in images)

    region = quality.sudden_region(pictures(pair.truth))
    value = quality.psnr_sudden(pictures(pair.prediction), pictures(pair.truth), region)
    reason = "" if value is not None else NO_CHANGE if len(pair.frame) > 1 else ONE_FRAME
    return Row(pair.view, float(pair.azimuth_deg[0]), None, quality.SUDDEN_METRIC, value, reason)


def jitter_rows(sequence: Sequence, radius: float) -> Iterator[Row]:
    """Unsteadiness of the gaussians themselves; `radius` is the cameras' distance in world units."""
    scores = quality.jitter(
        sequence.means, sequence.quats, sequence.log_scales, sequence.opacity_logits, sequence.present, radius
    )
    for metric in quality.JITTER_METRICS:
        value = None if scores is None else scores[metric]
        yield Row("", None, None, metric, value, NO_TRIPLE if scores is None else "")


def score(pairs: list[Pair], sequence: Sequence, radius: float, settings: MetricsSettings) -> Iterator[Row]:
    """Every row of metrics.csv, in the order of the pairs."""
    for pair in pairs:
        yield from frame_rows(pair, settings)
        if pair.view == "evaluation":
            yield from clip_rows(pair, settings)
        yield sudden_row(pair)
    seen = {pair.view for pair in pairs}
    if "anchor" not in seen:
        metrics = (*quality.FRAME_METRICS, quality.SUDDEN_METRIC)
        yield from (Row("anchor", None, None, metric, None, NO_ANCHORS) for metric in metrics)
    if "evaluation" not in seen:
        metrics = (*quality.FRAME_METRICS, *quality.CLIP_METRICS, quality.SUDDEN_METRIC)
        yield from (Row("evaluation", None, None, metric, None, NO_TRUTH) for metric in metrics)
    yield from jitter_rows(sequence, radius)


def write(out: Path, about: dict, settings: MetricsRun, rows: list[Row]) -> None:
    """Write metrics.csv atomically."""
    prefix = (settings.suite, settings.scene, settings.variant, settings.seed)
    with replacing(out) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        file.write(f"# {json.dumps(about, sort_keys=True)}\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows((*prefix, *row.cells()) for row in rows)


def main(
    views: Path,
    frames: Path,
    anchors: Path,
    truth: Path,
    sequence: Path,
    out: Path,
    settings: MetricsRun,
    report: Reporter,
) -> None:
    """Score the rendered views."""
    # One thread: these pictures are too small to share, and the cores belong to Snakemake's jobs.
    cv2.setNumThreads(1)
    files = Views.load(views), Frames.load(frames), Anchors.load(anchors), Truth.load(truth)
    rendered, clip, anchored, _ = files
    gaussians = Sequence.load(sequence)
    _check_sizes(*files, gaussians)
    pairs = pair_views(*files)
    origin = gaussians.record
    about = record(
        settings,
        "metrics",
        opencv=cv2.__version__,
        frames=len(clip.rgba),
        size=f"{clip.rgba.shape[2]}x{clip.rgba.shape[1]}",
        anchors=str(anchored.source),
        device=origin.get("device", "unknown"),
        backend=origin.get("backend", "unknown"),
        supervision=origin.get("supervision", "photometric"),
    )
    rows = list(score(pairs, gaussians, float(clip.radius), settings.metrics))
    write(out, about, settings, rows)
    report.say(f"wrote {out}: {len(rows)} rows, {len(rendered.kind)} views of {len(clip.rgba)} frames")


if __name__ == "__main__":
    cli.run(main, "metrics")
