"""The priors of resources/priors/: whole, small, and as good as their cards say."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from stages import holdout, promote
from stages.cli import Reporter
from stages.experiment import Experiment
from stages.lib import answers, objects, suite, weights
from stages.lib.matting import matte
from stages.settings import GENERATED, HoldoutRun, PriorsSettings

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {prior: ROOT / "resources" / "priors" / name for prior, name in weights.TRAINED.items()}
RECIPE = PriorsSettings(**yaml.safe_load((ROOT / "config/priors/cpu.yaml").read_text())["priors"])
GROUPS = ["held_out", "left_out", "development", "reporting"]
# Of a mean over the development objects' views, dB: float32 sums in another order on another processor, eight steps.
SLACK = 0.1


def figures(prior: str) -> pd.DataFrame:
    return pd.read_csv(FOLDERS[prior] / "quality.csv").set_index(["group", "answer"])


def test_whole_and_small():
    promote.check_small(
        {name: size for folder in FOLDERS.values() for name, size in promote.check_whole(folder).items()}
    )


@pytest.mark.parametrize("prior", FOLDERS)
def test_the_card_says_what_was_measured(prior):
    card = (FOLDERS[prior] / "model_card.md").read_text()
    lines = {
        (group, answer): rest.split("|") for group, answer, rest in re.findall(r"(?m)^\| (\w+) \| (\w+) \| (.*)", card)
    }
    for row in figures(prior).itertuples():
        views, psnr, masked, margin, _ = lines[row.Index]
        assert int(views) == row.n_views
        # Both are rounded from the same number, one to two digits.
        assert (float(psnr), float(masked)) == pytest.approx((row.psnr, row.psnr_masked), abs=0.00501)
        assert float(margin.strip() or "nan") == pytest.approx(row.margin, abs=0.00501, nan_ok=True)
    assert list(figures(prior).index.get_level_values("group").unique()) == GROUPS
    assert f"Left out: {', '.join(RECIPE.corpus.leave_out)}." in card
    assert f"Recipe**: {RECIPE.recipe}" in card


def test_generated_anchors_are_no_default_before_they_are_three_decibels_ahead():
    margin = figures("zero123plus").loc[("reporting", "generated"), "margin"]
    chosen = Experiment(yaml.safe_load((ROOT / "config/config.yaml").read_text()))
    sources = {chosen.anchors_source("embedded", scene, "4dstr") for scene in chosen.scenes}
    assert margin >= 3 or sources == {"rendered"}


@pytest.mark.parametrize("prior", FOLDERS)
def test_it_draws_as_well_as_its_card_says(prior):
    """The development objects are drawn again, by the committed files and today's defaults."""
    settings = HoldoutRun(device="cpu", prior=prior, priors=RECIPE)
    quiet, size = Reporter("test", "", io.StringIO(), io.StringIO()), RECIPE.corpus.view_size
    chosen = holdout.moments(settings)["development"]
    assert [moment.name for moment in chosen] == list(suite.DEVELOPMENT)
    six, conditions, around = objects.render(chosen, size, RECIPE.corpus.condition_size, 1, lambda *_: None)
    truths = around if prior == "zero123" else six
    draw = {"zero123": holdout.posed_views, "zero123plus": holdout.six_views}[prior]
    drawn = draw(FOLDERS[prior], torch.device("cpu"), size, settings, quiet)(conditions)
    drawn, _ = matte(drawn, "colour", settings.matte_tolerance, "anchors", quiet)

    def mean(pictures: np.ndarray) -> float:
        each = [holdout.score(*pair)[1] for pair in zip(pictures, truths.reshape(-1, size, size, 4), strict=True)]
        return float(np.mean(each))

    told = figures(prior).loc["development"].psnr_masked
    assert mean(drawn.reshape(-1, size, size, 4)) == pytest.approx(told[GENERATED], abs=SLACK)
    copied = [answers.constant_answers(condition, truths.shape[1], size)["copied"] for condition in conditions]
    assert mean(np.concatenate(copied)) == pytest.approx(told["copied"], abs=0.001)
