"""What the comparisons of the rectifications ask for: on a clip without ground truth, and of a timing."""

from __future__ import annotations

import os
import re

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def clip(make_workplace):
    """A workplace with a clip of two frames and their anchors in STAG4D's layout."""
    project = make_workplace("rectified")
    picture = Image.fromarray(np.full((16, 16, 4), 255, np.uint8))
    for frame in range(2):
        places = [f"clip/ref/{frame}_rgba.png", *(f"clip/zero123/{frame}_rgba/{view}.png" for view in range(6))]
        for place in places:
            path = project.folder / place
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)
    return project


def test_without_ground_truth_nothing_absent_is_asked_for(clip):
    targets = ["results/comparison.csv", "results/sudden.csv", "results/own/clip/rectification.png"]
    found = clip.planned(*targets, "--config", "path=clip", "ablations={scenes: all, seeds: [0]}")
    assert {name: found.pop(name) for name in ("comparison", "sudden", "rectification")} == {
        "comparison": 1,
        "sudden": 1,
        "rectification": 1,
    }
    # neither, no_spatial, no_temporal, 4dstr, stag4d, and stag4d at 4dstr's count and time.
    fits = dict.fromkeys(("dynamic", "bake", "renders", "metrics"), 7)
    assert found == {"frames": 1, "anchors": 1, "canonical": 1, **fits}


def test_a_timing_has_the_machine_to_itself(make_workplace):
    project = make_workplace("timed")
    folder = "results/smoke/mouth/no_temporal/seed0"
    planned = project.run("-n", "--cores", "2", "results/table4.csv", "--config", "ablations={scenes: all, seeds: [0]}")
    jobs = re.split(r"^(?:local)?rule ", planned, flags=re.MULTILINE)
    (timing,) = (job for job in jobs if f"output: {folder}/speed.csv" in job)
    assert os.cpu_count() == 1 or "threads: 2" in timing
    (fit,) = (job for job in jobs if f"output: {folder}/dynamic.safetensors" in job)
    assert "threads: 2" not in fit
