"""Which render is held against which image, and the rows that scores become: shared by every stage that scores.

Vocabulary: a *pair* is one camera's renders and the images they are held against; a *row* is one number of a
metrics.csv. Views are paired by angle and time, never by position alone.

Conventions
-----------
- `view` is `input` (the video itself), `anchor` (both are training views) or `evaluation` (ground truth that the
  fit has not seen). Views that come from outside have evaluation views only.
- Letters: T frames, V views, n frames of one camera, H W pixels.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.cli import StageError
from stages.contracts import Anchors, Frames, OnDisk, Sequence, Truth, Views, replacing
from stages.lib import quality
from stages.settings import MetricsSettings, ScoredRun

HEADER = ("suite", "scene", "variant", "seed", "view", "azimuth_deg", "frame", "metric", "value", "reason")

# Angles and times pass through float64 files only; a larger difference is another camera or another moment.
ANGLE_TOLERANCE_DEG = 1e-3
TIME_TOLERANCE = 1e-6

NO_TRUTH = "no ground-truth views"
NO_ANCHORS = "no anchor views"
ONE_FRAME = "one frame; needs at least 2"
# What `views.npz` of another system says of itself.
OUTSIDE = "outside"
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
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
    prediction: np.ndarray | OnDisk
    """(n, H, W, 4) uint8"""
    truth: np.ndarray | OnDisk
    """(n, H, W, 4) uint8"""


# ------------------------------------------------------------------ pairing


def angle_difference(a: np.ndarray, b: np.ndarray) -> float:
    """Largest difference of two arrays of angles in degrees, around the circle."""
    return float(np.abs((a - b + 180.0) % 360.0 - 180.0).max(initial=0.0))


class _Finder:
    """Hands out the rendered view of a kind at given angles, each view once."""

    def __init__(self, views: Views) -> None:
        self.views = views
        self.free = list(range(len(views.kind)))

    def find(self, kind: str, azimuth_deg: np.ndarray, elevation_deg: np.ndarray, frame: np.ndarray):
        """Renders (n, H, W, 4) at angles and frames (n,); raises StageError when no free view fits."""
        candidates = [index for index in self.free if self.views.kind[index] == kind]
        for index in candidates:
            azimuth, elevation = self.views.azimuth_deg[index, frame], self.views.elevation_deg[index, frame]
            off = max(angle_difference(azimuth, azimuth_deg), angle_difference(elevation, elevation_deg))
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


def from_outside(views: Views) -> bool:
    """Whether the pictures were made by another system, of which there are neither gaussians nor training views."""
    return views.record.get("stage") == OUTSIDE


def check_clip(
    views: Views, frames: Frames, anchors: Anchors | None, truth: Truth, sequence: Sequence | None = None
) -> None:
    """Raise StageError unless all files show one clip: image size, T, times, anchor frames."""
    n_frames, height, width = frames.rgba.shape[:3]
    for name, file in {"views": views, "anchors": anchors, "truth": truth}.items():
        if file is None or not len(file.rgba):
            continue
        size = file.rgba.shape[2:4]
        if size != (height, width):
            raise StageError(
                f"{name} are {size[1]}x{size[0]} pixels; expected {width}x{height} as in frames. {_remake(name)}"
            )
    for name, file in (("views", views), ("truth", truth)):
        if len(file.rgba) and file.rgba.shape[1] != n_frames:
            raise StageError(
                f"{name} hold {file.rgba.shape[1]} frames; expected {n_frames} as in frames. {_remake(name)}"
            )
    if sequence is not None and (
        len(sequence.times) != n_frames or np.abs(sequence.times - frames.times).max() > TIME_TOLERANCE
    ):
        raise StageError("the sequence's times differ from those of frames; expected the same. " + _remake("sequence"))
    if anchors is not None and len(anchors.frame) and (anchors.frame.min() < 0 or anchors.frame.max() >= n_frames):
        raise StageError(
            f"anchors name frame {anchors.frame.max()}; expected 0 to {n_frames - 1}. {_remake('anchors')}"
        )


def pair_views(views: Views, frames: Frames, anchors: Anchors | None, truth: Truth) -> list[Pair]:
    """Every camera that is scored, input first, then anchors, then evaluation views; from outside these alone.

    Raises StageError when a camera was not rendered, or a render belongs to no camera.
    """
    finder = _Finder(views)
    everything = np.arange(len(frames.rgba))
    pairs = []
    if not from_outside(views):
        azimuth, elevation = np.zeros(len(everything)), np.full(len(everything), float(frames.elevation_deg))
        found = finder.find("input", azimuth, elevation, everything)
        pairs.append(Pair("input", azimuth, everything, found, frames.rgba))
    anchored = anchors is not None and len(anchors.frame) > 0
    if anchored:
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
    left = [i for i in finder.free if anchored or views.kind[i] != "anchor"]
    if left:
        names = ", ".join(f"{views.kind[i]} at azimuth {views.azimuth_deg[i, 0]:g}" for i in left)
        raise StageError(f"rendered views without a counterpart: {names}; expected none. {_remake('views')}")
    return pairs


# ------------------------------------------------------------------ scores


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


# ------------------------------------------------------------------ writing


def provenance(views: Views, frames: Frames, anchors: Anchors | None) -> dict[str, object]:
    """What a record says of the pictures: frames, size, anchors, device, backend, supervision."""
    origin = views.record
    outside = from_outside(views)
    return {
        "frames": len(frames.rgba),
        "size": f"{frames.rgba.shape[2]}x{frames.rgba.shape[1]}",
        "anchors": UNKNOWN if anchors is None else str(anchors.source),
        "device": origin.get("device", UNKNOWN),
        "backend": origin.get("backend", UNKNOWN),
        "supervision": origin.get("supervision", UNKNOWN if outside else "photometric"),
    }


def write(out: Path, about: dict, settings: ScoredRun, rows: Iterable[Row]) -> int:
    """Write metrics.csv atomically, each row as it comes; returns how many there were."""
    count = 0
    prefix = (settings.suite, settings.scene, settings.variant, settings.seed)
    with replacing(out) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        file.write(f"# {json.dumps(about, sort_keys=True)}\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for row in rows:
            writer.writerow((*prefix, *row.cells()))
            count += 1
    return count
