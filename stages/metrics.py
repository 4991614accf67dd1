"""metrics: scores the rendered views against the frames, the anchors and the ground truth, without a network.

Reads views.npz (our renders), frames.npz, anchors.npz, truth.npz, sequence.safetensors; writes metrics.csv.

Conventions
-----------
- Pictures and gaussians are read one frame after the other and rows written as they come, so that memory does not grow
  with a clip's length.
- Views are paired as `stages/lib/pairing.py` says; only `evaluation` belongs into a comparison of methods. Views from
  outside (stage `outside`) come without sequence and anchors.
- `sudden_pixels` and `psnr_sudden_frame` follow a sudden change frame by frame, of input and evaluation views.
- metrics.csv: a first line `# {record}`, then one row a number. `frame` is empty for a whole clip; `azimuth_deg` of
  a clip is its first frame's; `view` too is empty for the sequence itself. An undefined `value` is empty and has
  a `reason`.
- Letters: T frames, V views, A frames with anchors, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from stages import cli
from stages.cli import Reporter, record
from stages.contracts import Anchors, Frames, Sequence, Truth, Views
from stages.lib import quality
from stages.lib.pairing import (
    NO_ANCHORS,
    NO_TRUTH,
    ONE_FRAME,
    Pair,
    Row,
    check_clip,
    clip_rows,
    frame_rows,
    pair_views,
    provenance,
    write,
)
from stages.settings import MetricsRun, MetricsSettings

NO_CHANGE = f"no pixel changes by more than {quality.SUDDEN_CHANGE} between two frames"
NO_TRIPLE = "no gaussian is present in 3 frames in a row"
NO_GAUSSIANS = "no gaussians: pictures from outside"

# ------------------------------------------------------------------ scoring


def pictures(images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Pictures (H, W, 3) on white of images (H, W, 4) uint8, one after the other."""
    return (quality.on_white(image)[0] for image in images)


def sudden_row(pair: Pair) -> Row:
    """The score of one camera over the pixels that change suddenly in the ground truth, all frames pooled."""
    region = quality.sudden_region(pictures(pair.truth))
    value = quality.psnr_sudden(pictures(pair.prediction), pictures(pair.truth), region)
    reason = "" if value is not None else NO_CHANGE if len(pair.frame) > 1 else ONE_FRAME
    return Row(pair.view, float(pair.azimuth_deg[0]), None, quality.SUDDEN_METRIC, value, reason)


def change_rows(pairs: list[Pair]) -> Iterator[Row]:
    """The pixels that change suddenly towards every frame, and every frame's score over those that change the most.

    pairs: the cameras of one kind of view. The largest change is the one of most pixels of all these cameras together,
    by the ground truth alone; each camera is scored over its own pixels of it. Nothing for a single frame.
    """
    if len(pairs[0].frame) < 2:
        return
    counts = np.array([[np.count_nonzero(quality.changed(*two)) for two in pairwise(pictures(p.truth))] for p in pairs])
    largest = int(counts.sum(axis=0).argmax())
    for pair, count in zip(pairs, counts, strict=True):
        places = [
            (pair.view, float(azimuth), int(frame)) for azimuth, frame in zip(pair.azimuth_deg, pair.frame, strict=True)
        ]
        pixels, score_name = quality.CHANGE_METRICS
        yield from (Row(*place, pixels, float(number)) for place, number in zip(places[1:], count, strict=True))
        region = quality.changed(*pictures([pair.truth[largest], pair.truth[largest + 1]]))
        for place, *both in zip(places, pictures(pair.prediction), pictures(pair.truth), strict=True):
            value = quality.psnr_region(*both, region)
            yield Row(*place, score_name, value, NO_CHANGE if value is None else "")


def jitter_rows(sequence: Sequence, radius: float) -> Iterator[Row]:
    """Unsteadiness of the gaussians themselves; `radius` is the cameras' distance in world units."""
    scores = quality.jitter(
        sequence.means, sequence.quats, sequence.log_scales, sequence.opacity_logits, sequence.present, radius
    )
    for metric in quality.JITTER_METRICS:
        value = None if scores is None else scores[metric]
        yield Row("", None, None, metric, value, NO_TRIPLE if scores is None else "")


def score(
    pairs: list[Pair], sequence: Sequence | None, radius: float, settings: MetricsSettings, report: Reporter
) -> Iterator[Row]:
    """Every row of metrics.csv, in the order of the pairs."""
    for done, pair in enumerate(pairs, start=1):
        yield from frame_rows(pair, settings)
        if pair.view == "evaluation":
            yield from clip_rows(pair, settings)
        yield sudden_row(pair)
        report.progress(done, len(pairs))
    for kind in ("input", "evaluation"):
        alike = [pair for pair in pairs if pair.view == kind]
        if alike:
            yield from change_rows(alike)
    seen = {pair.view for pair in pairs}
    if "anchor" not in seen:
        metrics = (*quality.FRAME_METRICS, quality.SUDDEN_METRIC)
        yield from (Row("anchor", None, None, metric, None, NO_ANCHORS) for metric in metrics)
    if "evaluation" not in seen:
        metrics = (*quality.FRAME_METRICS, *quality.CLIP_METRICS, quality.SUDDEN_METRIC)
        yield from (Row("evaluation", None, None, metric, None, NO_TRUTH) for metric in metrics)
    if sequence is None:
        yield from (Row("", None, None, metric, None, NO_GAUSSIANS) for metric in quality.JITTER_METRICS)
    else:
        yield from jitter_rows(sequence, radius)


def main(
    views: Path,
    frames: Path,
    truth: Path,
    out: Path,
    settings: MetricsRun,
    report: Reporter,
    anchors: list[Path] = (),
    sequence: list[Path] = (),
) -> None:
    """Score the rendered views; anchors and sequence are one file each, or none for views from outside."""
    # One thread: these pictures are too small to share, and the cores belong to Snakemake's jobs.
    cv2.setNumThreads(1)
    report.say("device cpu, backend numpy and opencv, threads 1, no seed: nothing is random")
    rendered, clip, held = (
        kind.load(path, on_disk=True) for kind, path in ((Views, views), (Frames, frames), (Truth, truth))
    )
    anchored = Anchors.load(anchors[0], on_disk=True) if anchors else None
    gaussians = Sequence.load(sequence[0], on_disk=True).at(clip.times) if sequence else None
    check_clip(rendered, clip, anchored, held, gaussians)
    pairs = pair_views(rendered, clip, anchored, held)
    origin = rendered if gaussians is None else replace(rendered, record=gaussians.record)
    about = record(settings, "metrics", opencv=cv2.__version__, **provenance(origin, clip, anchored))
    count = write(out, about, settings, score(pairs, gaussians, float(clip.radius), settings.metrics, report))
    report.say(f"wrote {out}: {count} rows, {len(rendered.kind)} views of {len(clip.rgba)} frames")


if __name__ == "__main__":
    cli.run(main, "metrics")
