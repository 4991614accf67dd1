"""What each metric must say of each perturbation (calibration.csv), against the ground truth of a known clip.

Rows of networks run where their weights are and are skipped, by name, elsewhere: with random weights they would say
nothing. `expected` compares with the score of the ground truth itself, which must be the metric's best value (BEST);
`direction` is the better way.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.cli import StageError
from stages.contracts import Frames, Truth, Views
from stages.lib import frechet, images, networks, quality
from stages.lib.networks import Absent, features
from stages.lib.pairing import check_clip
from stages.lib.scores import METRICS
from tests.perturbations import FRAMES, PERTURBATIONS, SIDE, truth

with open(Path(__file__).parent / "calibration.csv", encoding="utf-8", newline="") as _file:
    ROWS = list(csv.DictReader(_file))
NETWORK_OF = {
    "clip": "clip_vit_b32",
    "clip_f": "clip_vit_b32",
    "clip_o": "clip_vit_b32",
    "lpips_vgg": "lpips_vgg",
    "lpips_alex": "lpips_alex",
    "lpips_squeeze": "lpips_squeeze",
    "fvd_clip": "i3d_kinetics",
    "fvd_set": "i3d_kinetics",
    "fid_frame": "inception_fid",
    "fid_vid3d": "resnet3d_kinetics",
}
# What the ground truth itself scores; a distance from it is 0.
BEST = {metric: 100.0 for metric in ("psnr", "psnr_masked", "psnr_legacy", "psnr_sudden")}
BEST |= {metric: 1.0 for metric in ("ssim", "ssim_masked", "ssim_legacy", "iou", "clip", "clip_f", "clip_o")}
# Differences below this are rounding of float32 pictures.
EQUAL = 1e-6


@cache
def without_networks(name: str) -> dict[str, float]:
    """Every score that needs no network of one perturbation."""
    predicted, true = PERTURBATIONS[name](truth()), truth()
    frames = [quality.frame_scores(p, t, 0.5) for p, t in zip(predicted, true, strict=True)]
    pictures = [[quality.on_white(frame)[0] for frame in clip] for clip in (predicted, true)]
    scores = {metric: float(np.mean([frame[metric] for frame in frames])) for metric in quality.FRAME_METRICS}
    scores |= quality.clip_scores(*pictures, n_frames=FRAMES, skip_ends=2)
    region = quality.sudden_region(pictures[1])
    return scores | {quality.SUDDEN_METRIC: quality.psnr_sudden(*pictures, region)}


@cache
def loaded(name: str) -> networks.Loaded:
    try:
        return networks.load(name, torch.device("cpu"))
    except Absent as error:
        pytest.skip(f"not run: {error}")


def with_network(metric: str, name: str) -> float:
    """The score of a network metric of one perturbation; clips in a set are the four turns of the clip."""
    network = loaded(NETWORK_OF[metric])
    ours, true = (images.to_uint8(images.over_white(clip)) for clip in (PERTURBATIONS[name](truth()), truth()))
    if metric in ("clip", "clip_f", "clip_o"):
        # The clip is its own input view, and the orbit that of an object which looks alike from all sides.
        sides = (features.clip_features(network, clip, 8, features.PROTOCOL_SIDE) for clip in (ours, true))
        return float(np.prod(list(sides), axis=0).sum(axis=1).mean())
    if metric.startswith("lpips"):
        return float(features.lpips_distances(network, ours, true, 8, features.PROTOCOL_SIDE).mean())
    if metric == "fvd_clip":
        return frechet.fvd_clip(*(features.i3d_logits(network, clip) for clip in (ours, true)))
    if metric == "fid_frame":
        return frechet.set_distance(*(features.inception_features(network, clip, 8) for clip in (ours, true)))
    turns = [[np.rot90(clip, k, axes=(1, 2)).copy() for k in range(4)] for clip in (ours, true)]
    call = features.i3d_logits if metric == "fvd_set" else lambda n, clip: features.resnet3d_features(n, clip, 1)
    return frechet.set_distance(*(np.stack([call(network, clip) for clip in side]) for side in turns))


def verdict(direction: str, reference: float, value: float) -> str:
    if abs(value - reference) <= EQUAL * max(1, abs(reference)):
        return "equal"
    return "better" if (value > reference) == (direction == "↑") else "worse"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['metric']}-{row['perturbation']}")
def test_calibration(row):
    metric, name = row["metric"], row["perturbation"]
    if row["expected"] == "undefined":
        clip, times = PERTURBATIONS[name](truth())[None], np.linspace(0, 1, FRAMES)
        held = Truth(truth()[None], np.zeros((1, FRAMES)), np.zeros((1, FRAMES)))
        shape = (1, clip.shape[1])
        views = Views(clip, np.array(["truth"]), np.zeros(shape), np.zeros(shape))
        with pytest.raises(StageError, match=f"views hold {FRAMES - 1} frames; expected {FRAMES}"):
            check_clip(views, Frames(truth(), times, 0, 49.1, 2.0, 0.0), None, held)
        return
    score = (
        (lambda one: with_network(metric, one)) if metric in NETWORK_OF else (lambda one: without_networks(one)[metric])
    )
    if name == "identity":
        assert score(name) == pytest.approx(BEST.get(metric, 0.0), abs=EQUAL)
    assert verdict(row["direction"], score("identity"), score(name)) == row["expected"]


def test_the_table_is_whole():
    cells = [(row["metric"], row["perturbation"]) for row in ROWS]
    metrics = {row["metric"] for row in ROWS}
    assert len(cells) == len(set(cells)) == len(metrics) * len(PERTURBATIONS)
    assert metrics >= {*METRICS, *quality.FRAME_METRICS, *quality.CLIP_METRICS, quality.SUDDEN_METRIC, *NETWORK_OF}
    assert set(NETWORK_OF) >= {"clip_f", "clip_o", "lpips_vgg", "lpips_alex", "lpips_squeeze"}
    assert {row["expected"] for row in ROWS if row["perturbation"] == "identity"} == {"equal"}
    # Which way is better, and which value is best, must not contradict each other.
    assert all((row["metric"] in BEST) == (row["direction"] == "↑") for row in ROWS)
    assert {row["expected"] for row in ROWS} == {"worse", "equal", "better", "undefined"}
    assert all(len(row["why"]) > 5 for row in ROWS)
    for row in ROWS:
        if row["metric"] in METRICS and METRICS[row["metric"]].arrow:
            assert row["direction"] == METRICS[row["metric"]].arrow


def test_nothing_leaves_the_picture():
    clip = truth()
    assert not shift_loses(clip) and clip.shape == (FRAMES, SIDE, SIDE, 4)


def shift_loses(clip: np.ndarray) -> bool:
    return bool(clip[:, -2:].any() or clip[:, :, -2:].any())
