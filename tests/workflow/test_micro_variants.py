"""The small priors' variants as a user types them, with the committed networks."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from stages.contracts import Anchors, Frames, load_tensors
from stages.lib import answers, weights

PRIORS = weights.ROOT / "resources" / "priors"
# Anchors by one network, guidance by the other.
VARIANTS = {"photometric": "4dstr_micro", "both": "4dstr_sds_micro"}
SCENE = "results/smoke/mouth"


@pytest.fixture(scope="module")
def finished_micro(make_workplace):
    """A folder with a finished table of both variants; its measured rows by supervision."""
    project = make_workplace("micro")
    smoke = project.folder / "smoke.yaml"
    smoke.write_text(smoke.read_text() + f"variants: [{', '.join(VARIANTS.values())}]\n")
    project.run("--cores", "2", "results/table1.csv")
    with open(project.folder / "results/table1.csv", newline="") as file:
        return project.folder, {row["supervision"]: row for row in csv.DictReader(file) if row["source"] == "measured"}


def test_both_are_fitted_and_scored(finished_micro):
    _, rows = finished_micro
    assert {name: row["anchors"] for name, row in rows.items()} == {"photometric": "micro", "both": "rendered"}
    # Rendered anchors are the truth, which the estimated ones are not.
    assert 0.2 < float(rows["photometric"]["iou"]) < float(rows["both"]["iou"])


def test_the_committed_networks_did_it(finished_micro):
    folder, _ = finished_micro
    anchors = Anchors.load(folder / f"{SCENE}/anchors/micro/seed0/anchors.npz")
    assert anchors.record["weights"] == weights.digest(weights.MICRO, PRIORS)
    fit = load_tensors(folder / f"{SCENE}/{VARIANTS['both']}/seed0/dynamic.safetensors")[1]
    assert fit["guidance_weights"] == weights.digest(weights.MICRO_POSE, PRIORS)


def test_the_anchors_show_the_object_and_not_the_input(finished_micro):
    folder, _ = finished_micro
    anchors = Anchors.load(folder / f"{SCENE}/anchors/micro/seed0/anchors.npz").rgba
    frames = Frames.load(folder / f"{SCENE}/frames.npz").rgba
    assert len(anchors) == len(frames) and anchors.shape[1:] == (6, *frames.shape[1:])
    copied = answers.constant_answers(frames[0], 6, frames.shape[1])["copied"]
    assert np.abs(anchors[0].astype(int) - copied).mean() > 5
    # An object on nothing, in every view: neither empty nor a full square.
    assert ((anchors[..., 3] > 128).mean((2, 3)) > 0.02).all() and ((anchors[..., 3] > 128).mean((2, 3)) < 0.9).all()
