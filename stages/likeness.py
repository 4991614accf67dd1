"""Stage likeness: how like the truth one set of anchors is, on a scene that can be drawn from the anchors' cameras.

Reads frames.npz, the rendered anchors, and either generated anchors or nothing: then one of the constant answers of
`stages/lib/answers.py` takes their place, so that a reader sees what a prior is worth. Writes likeness.csv.

Conventions
-----------
- likeness.csv is laid out as metrics.csv is, one variant a file (`fusion0.5`, or a constant answer's name), every view
  of kind `evaluation`: the truth is what nobody had seen. Scores are those of the asset's views.
- `warp_signed` is the flow-warp error of the clip of one camera minus the truth's own; `warp_gap` its magnitude. The
  flow is the truth's, so that a frozen clip is wrong wherever the object moves, and one that flickers everywhere.
- Letters: A frames with anchors, V views, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from stages import cli
from stages.cli import Reporter, StageError
from stages.contracts import Anchors, Frames
from stages.lib import answers, quality
from stages.lib.images import ImageError
from stages.lib.pairing import ANGLE_TOLERANCE_DEG, Pair, Row, angle_difference, clip_rows, frame_rows, write
from stages.settings import GENERATED, LikenessRun

RENDERED = "rendered"
NO_MEAN = "no mean_views.png beside the small prior of resources/priors/: type `snakemake promote_priors` again"


def check_alike(anchors: Anchors, truth: Anchors) -> None:
    """Raise StageError unless both show the same frames of the same size from the same cameras."""
    if anchors.rgba.shape != truth.rgba.shape or not np.array_equal(anchors.frame, truth.frame):
        raise StageError(
            f"the anchors have shape {anchors.rgba.shape}, the truth {truth.rgba.shape}; expected the same frames and "
            "size. Delete this scene's anchors and run the same command again."
        )
    off = max(
        angle_difference(anchors.azimuth_deg, truth.azimuth_deg),
        angle_difference(anchors.elevation_deg, truth.elevation_deg),
    )
    if off > ANGLE_TOLERANCE_DEG:
        raise StageError(
            f"the anchors look from elevations {anchors.elevation_deg.tolist()}, the truth from "
            f"{truth.elevation_deg.tolist()} degrees; expected the same. Type `anchors: {{model: zero123plus_v11}}`."
        )


def constant(answer: str, clip: Frames, truth: Anchors, mean: list[Path]) -> np.ndarray | None:
    """A constant answer for every frame (A, V, H, W, 4); None when the mean of the training is not known."""
    views, side = truth.rgba.shape[1:3]
    try:
        known = answers.read_mean(mean[0], views, side) if mean else None
    except ImageError as error:
        raise StageError(str(error)) from None
    found = [answers.constant_answers(clip.rgba[frame], views, side, known) for frame in truth.frame]
    return np.stack([one[answer] for one in found]) if answer in found[0] else None


def score(rgba: np.ndarray | None, truth: Anchors, settings: LikenessRun) -> Iterator[Row]:
    """Every row of likeness.csv for anchors (A, V, H, W, 4), camera by camera; reasons when there are none."""
    if rgba is None:
        names = (*quality.FRAME_METRICS, *quality.CLIP_METRICS)
        yield from (Row("evaluation", None, None, metric, None, NO_MEAN) for metric in names)
        return
    for view, azimuth in enumerate(truth.azimuth_deg):
        around = np.full(len(truth.frame), azimuth)
        pair = Pair("evaluation", around, truth.frame, rgba[:, view], truth.rgba[:, view])
        yield from frame_rows(pair, settings.metrics)
        yield from clip_rows(pair, settings.metrics)


def main(
    frames: Path,
    truth: Path,
    out: Path,
    settings: LikenessRun,
    report: Reporter,
    anchors: list[Path] = (),
    mean: list[Path] = (),
) -> None:
    """Score anchors against the truth; `anchors`, `mean`: one file each, or none."""
    # One thread: these pictures are too small to share, and the cores belong to Snakemake's jobs.
    cv2.setNumThreads(1)
    clip, held = Frames.load(frames), Anchors.load(truth)
    if held.source != RENDERED:
        raise StageError(f"--truth holds {held.source} anchors; expected rendered ones. Give that file.")
    made = {"device": "cpu", "backend": "none", "weights": None}
    if settings.answer == GENERATED:
        if len(anchors) != 1:
            raise StageError(f"--anchors names {len(anchors)} files; expected the generated anchors. Give that file.")
        drawn = Anchors.load(anchors[0])
        rgba, source = drawn.rgba, str(drawn.source)
        made |= {name: drawn.record[name] for name in made if name in drawn.record}
        check_alike(drawn, held)
    else:
        rgba, source = constant(settings.answer, clip, held, mean), "constant"
    about = {"frames": len(clip.rgba), "size": f"{clip.rgba.shape[2]}x{clip.rgba.shape[1]}", "anchors": source}
    told = cli.record(settings, "likeness", opencv=cv2.__version__, supervision="none", **about, **made)
    rows = list(score(rgba, held, settings))
    write(out, told, settings, rows)
    report.say(f"wrote {out}: {len(rows)} rows of {settings.answer} anchors, {held.rgba.shape[:2]} frames and views")


if __name__ == "__main__":
    cli.run(main, "likeness")
