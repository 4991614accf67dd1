"""The suite's objects: names, determinism, extent, and the one thing each motion is there for."""

import itertools
import math

import numpy as np
import pytest

from stages.lib import suite
from stages.lib.cameras import orbit
from stages.lib.suite import reporting
from stages.lib.suite.program import assemble, place, plain, rot_x, rot_y, rot_z, sphere

TIMES_24 = np.linspace(0.0, 1.0, 24)
AROUND = orbit([0, 75, 165, 270, 0], [0, 30, -20, 10, 89], 2.0, 49.1, 48, 48)
SINGLE = suite.REPORTING + suite.DEVELOPMENT


def front(size=48):
    return orbit(0, 0, 2.0, 49.1, size, size)


def touches_border(images):
    alpha = images[..., 3]
    return bool(alpha[..., 0, :].any() or alpha[..., -1, :].any() or alpha[..., :, 0].any() or alpha[..., :, -1].any())


def test_names():
    assert suite.REPORTING == ("mouth", "walk", "wings", "bounce", "propeller", "flower", "swim")
    assert len(suite.DEVELOPMENT) >= 4 and all(name.startswith("dev_") for name in suite.DEVELOPMENT)
    assert len(suite.TRAINING_FAMILIES) >= 20
    assert all(name.startswith("train_") for name in suite.TRAINING_FAMILIES)
    assert len(set(suite.names())) == len(suite.names())


def test_unknown_name_says_the_nearest_and_how_to_list():
    with pytest.raises(ValueError, match=r"'muoth'.*'mouth'.*suite\.names\(\)"):
        suite.render("muoth", [0.0], front())


@pytest.mark.parametrize("times", [[-0.1], [1.2], [[0.0]], [math.nan]])
def test_times_outside_the_clip_are_refused(times):
    with pytest.raises(ValueError, match=r"numbers in \[0, 1\]"):
        suite.render("mouth", times, front())


def test_negative_seed_is_refused():
    with pytest.raises(ValueError, match="seed"):
        suite.render("train_blob", [0.0], front(), seed=-1)


def test_shape_and_type():
    images = suite.render("walk", [0.0, 0.4, 1.0], AROUND)
    assert images.shape == (3, 5, 48, 48, 4)
    assert images.dtype == np.uint8


@pytest.mark.parametrize("name", ["propeller", "train_crab"])
def test_same_bytes_each_time_and_independent_of_the_batch(name):
    together = suite.render(name, [0.1, 0.5], AROUND, seed=3)
    suite.get_object.cache_clear()
    assert np.array_equal(together, suite.render(name, [0.1, 0.5], AROUND, seed=3))
    alone = suite.render(name, [0.5], AROUND[3], seed=3)
    assert np.array_equal(together[1:, 3:4], alone)


@pytest.mark.parametrize("name", SINGLE)
def test_stays_inside_the_image_and_fills_it(name):
    images = suite.render(name, np.linspace(0.0, 1.0, 7), AROUND)
    assert not touches_border(images)
    covered = images[:, 0, ..., 3] > 0
    extent = max(covered.any((0, 1)).sum(), covered.any((0, 2)).sum()) / 48
    assert 0.55 <= extent <= 0.95


@pytest.mark.parametrize("name", SINGLE)
def test_front_and_back_and_left_and_right_differ(name):
    """A wrong sign of the azimuth must be visible."""
    images = suite.render(name, [0.3], orbit([60, -60, 0, 180], 0, 2.0, 49.1, 48, 48))[0].astype(float)
    for first, second in ((0, 1), (2, 3)):
        assert np.abs(images[first] - images[second]).mean() > 4.0


@pytest.mark.parametrize("name", SINGLE)
def test_moves_and_is_colourful(name):
    images = suite.render(name, [0.0, 0.27, 0.6], front())[:, 0].astype(float)
    assert np.abs(np.diff(images, axis=0)).mean((1, 2, 3)).max() > 1.0
    inside = images[0][images[0][..., 3] == 255][:, :3]
    assert (inside.max(1) - inside.min(1)).mean() > 40
    assert inside.std(0).mean() > 25


@pytest.mark.parametrize("name", suite.TRAINING_FAMILIES)
def test_families_draw_different_objects_that_fit(name):
    first, second = (suite.render(name, [0.0, 0.55], AROUND[:3], seed=seed) for seed in (0, 1))
    for images in (first, second):
        assert not touches_border(images)
        assert ((images[..., 3] > 0).mean((2, 3)) > 0.02).all()
        assert np.abs(images[0].astype(float) - images[1]).mean() > 0.2
    assert np.abs(first.astype(float) - second).mean() > 4.0


def frame_changes(name):
    images = suite.render(name, TIMES_24, front())[:, 0].astype(float)
    return np.abs(np.diff(images, axis=0)).mean((1, 2, 3))


def test_mouth_opens_within_two_frames_and_nothing_else_is_as_fast():
    changes = frame_changes("mouth")
    sudden = [k for k in range(23) if TIMES_24[k + 1] > 0.45 and TIMES_24[k] < 0.53]
    assert sudden == [10, 11, 12]
    rest = np.delete(changes, sudden)
    assert np.sort(changes[sudden])[-2] > 3.0 * rest.max()


def dark_red(image):
    """Number of pixels with the colour of the mouth's inside."""
    red, green, blue = (image[..., k].astype(int) for k in range(3))
    return int(((image[..., 3] == 255) & (red > 1.8 * green) & (red > 60) & (green < 90) & (blue < 120)).sum())


def test_inside_of_the_mouth_shows_only_when_open():
    closed, opened = suite.render("mouth", [0.44, 0.56], front(96))[:, 0]
    # Closed lips are a thin line of the same colour.
    assert dark_red(closed) < 80
    assert dark_red(opened) > 300


def blades(time):
    """Directions (3, 3) from the hub to the blades' middles, from the parts themselves."""
    group = next(g for g in reporting.propeller(time) if isinstance(g, list) and len(g) == reporting.PROPELLER_BLADES)
    centers = assemble([group])[:, 6:9]
    offset = centers - centers.mean(0)
    return offset / np.linalg.norm(offset, axis=1, keepdims=True)


def test_propeller_turns_less_than_a_quarter_of_its_period_a_frame():
    quarter = 360.0 / 3 / 4
    assert blades(0.0).shape == (3, 3)
    for start, end in itertools.pairwise(TIMES_24):
        turned = np.degrees(np.arccos(np.clip((blades(start) * blades(end)).sum(1), -1, 1)))
        assert (turned < quarter).all() and (turned > 18.0).all()


def test_jelly_squashes_and_stretches():
    alpha = suite.render("bounce", np.linspace(0, 0.5, 20), front(64))[:, 0, ..., 3] > 0
    height, width = alpha.any(2).sum(1), alpha.any(1).sum(1)
    slim = height / width
    assert slim.max() > 1.5 * slim.min()
    # It leaves the ground.
    lowest = [np.nonzero(rows)[0].max() for rows in alpha.any(2)]
    assert max(lowest) - min(lowest) >= 5


def test_flower_opens():
    width = (suite.render("flower", [0.0, 1.0], front(96))[:, 0, :36, :, 3] > 0).any(1).sum(1)
    assert width[1] > 2 * width[0]


def test_rotations_turn_right_handed():
    assert rot_x(90) @ [0, 1, 0] == pytest.approx([0, 0, 1])
    assert rot_y(90) @ [0, 0, 1] == pytest.approx([1, 0, 0])
    assert rot_z(90) @ [1, 0, 0] == pytest.approx([0, 1, 0])


def test_place_moves_a_copy():
    ball = sphere((1, 0, 0), 0.2, plain("#ffffff"))
    moved = place([ball], rot_z(90), (0, 0, 3))[0]
    assert moved[6:9] == pytest.approx([0, 1, 3])
    assert ball[6:9] == pytest.approx([1, 0, 0])


def test_fit_keeps_every_pose_in_its_ball():
    for name in SINGLE:
        found = suite.get_object(name)
        for time in (0.03, 0.41, 0.77):
            parts = assemble(found.pose(time))
            balls = parts[parts[:, 0] == 0]  # for balls center and radius are exact
            if len(balls):
                far = np.linalg.norm((balls[:, 6:9] - found.fit.center) / found.fit.unit, axis=1)
                assert (far + balls[:, 18] / found.fit.unit).max() < 0.79
