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
    views, conditions, further = objects.render([moment, moment], 16, 32, 2, ignored)
    azimuths = [50.0, 110.0, 170.0, 230.0, 290.0, 350.0]
    around = orbit(azimuths, ZERO123PP_V11_ELEVATION_DEG, 2.0, 49.1, 16, 16)
    assert views.shape == (2, 6, 16, 16, 4) and conditions.shape == (2, 32, 32, 4)
    assert np.array_equal(views[1], suite.render("train_ball", [0.4], around, seed=3)[0])
    assert further.shape == (2, 0, 16, 16, 4)
    front = orbit(20.0, 0.0, 2.0, 49.1, 32, 32)
    assert np.array_equal(conditions[0], suite.render("train_ball", [0.4], front, seed=3)[0, 0])


def test_further_views_are_relative_to_the_input_camera():
    moment = objects.Moment("train_ball", 3, 0.4, 20.0, ((35.0, -12.0), (-170.0, 28.0)))
    views, _, further = objects.render([moment], 16, 32, 1, ignored)
    there = orbit([55.0, -150.0], [-12.0, 28.0], 2.0, 49.1, 16, 16)
    assert np.array_equal(further[0], suite.render("train_ball", [0.4], there, seed=3)[0])
    plain = objects.render([objects.Moment("train_ball", 3, 0.4, 20.0)], 16, 32, 1, ignored)
    assert np.array_equal(views, plain[0])


def test_random_views_lie_all_around_and_change_no_moment():
    many = SMALL.model_copy(update={"objects": 8, "random_views": 4})
    with_them, without = (
        objects.training_moments(many.model_copy(update={"random_views": count}), seed=0) for count in (4, 0)
    )
    angles = np.array([moment.around for moment in with_them])
    assert angles.shape == (len(with_them), 4, 2) and len(np.unique(angles[..., 0])) == angles[..., 0].size
    quarters = np.histogram(angles[..., 0], bins=4, range=(-180, 180))[0] / angles[..., 0].size
    assert (abs(quarters - 0.25) < 0.05).all() and abs(angles[..., 1]).max() <= 30 < abs(angles[..., 1]).max() + 1
    # The times and azimuths of the first object are drawn before any view is.
    assert (with_them[0].time, with_them[0].azimuth_deg) == (without[0].time, without[0].azimuth_deg)
