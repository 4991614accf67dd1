"""What the small priors are trained on: families only, each moment its own, the angles of Zero123++."""

from __future__ import annotations

import numpy as np
import pytest

from stages.lib import objects, suite
from stages.lib.cameras import ZERO123PP_V11_ELEVATION_DEG, orbit
from stages.settings import CorpusSettings, SettingsError

SMALL = CorpusSettings(objects=2, times=2)


def ignored(done: int, total: int) -> None:
    """No progress is shown."""


def test_only_training_families_are_trained_on():
    names = {moment.name for moment in objects.training_moments(SMALL, seed=0)}
    assert names == set(suite.TRAINING_FAMILIES)
    assert not names & (set(suite.REPORTING) | set(suite.DEVELOPMENT))


def test_no_training_object_is_held_out():
    assert max(moment.object_seed for moment in objects.training_moments(CorpusSettings(), seed=0)) < objects.HELD_OUT


def test_families_left_out_and_the_others_stay_as_they_are():
    left = CorpusSettings(objects=2, times=2, leave_out=["train_fish"])
    expected = [moment for moment in objects.training_moments(SMALL, seed=0) if moment.name != "train_fish"]
    assert objects.training_moments(left, seed=0) == expected


def test_an_unknown_family_names_the_nearest():
    with pytest.raises(SettingsError, match=r"'fish' is no training family; did you mean 'train_fish'\?"):
        objects.families(CorpusSettings(leave_out=["fish"]))


def test_the_seed_changes_times_and_azimuths():
    first, second = (objects.training_moments(SMALL, seed) for seed in (0, 1))
    assert first == objects.training_moments(SMALL, seed=0)
    assert all(a.time != b.time and a.azimuth_deg != b.azimuth_deg for a, b in zip(first, second, strict=True))


def test_views_are_the_suite_seen_from_zero123plus_angles():
    moment = objects.Moment("train_ball", 3, 0.4, 20.0)
    views, conditions = objects.render([moment, moment], 16, 32, 2, ignored)
    azimuths = [50.0, 110.0, 170.0, 230.0, 290.0, 350.0]
    around = orbit(azimuths, ZERO123PP_V11_ELEVATION_DEG, 2.0, 49.1, 16, 16)
    assert views.shape == (2, 6, 16, 16, 4) and conditions.shape == (2, 32, 32, 4)
    assert np.array_equal(views[1], suite.render("train_ball", [0.4], around, seed=3)[0])
    front = orbit(20.0, 0.0, 2.0, 49.1, 32, 32)
    assert np.array_equal(conditions[0], suite.render("train_ball", [0.4], front, seed=3)[0, 0])
