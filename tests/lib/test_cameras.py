"""Literal facts: a suite that shares our camera code would cancel a sign error."""

from __future__ import annotations

import numpy as np
import pytest

from stages.lib.cameras import orbit


@pytest.mark.parametrize(
    ("azimuth", "elevation", "position"),
    [
        (0, 0, (0, 0, 2)),
        (90, 0, (2, 0, 0)),
        (180, 0, (0, 0, -2)),
        (-90, 0, (-2, 0, 0)),
        (0, 90, (0, 2, 0)),
        (0, -90, (0, -2, 0)),
    ],
)
def test_position(azimuth, elevation, position):
    assert np.allclose(orbit(azimuth, elevation, 2.0, 49.1, 100, 100).positions[0], position, atol=1e-12)


def test_one_pixel_by_hand():
    # tan(45 deg / 2) = 0.41421356; focal = 50 / 0.41421356 = 120.71068; x: 50 + 120.71068 * 0.5 / 2 = 80.17767.
    pixel = orbit(0, 0, 2.0, 45.0, 100, 100).project(np.array([[0.5, 0.25, 0.0]]))[0, 0]
    assert pixel == pytest.approx((80.17767, 34.911165), abs=1e-5)


def test_azimuth_90_has_minus_z_on_the_right():
    # Standing on +x and looking at the origin with y up, -z lies on the right.
    pixel = orbit(90, 0, 2.0, 49.1, 100, 100).project(np.array([[0.0, 0.0, -0.3]]))[0, 0]
    assert pixel[0] > 55
    assert pixel[1] == pytest.approx(50)


def test_elevation_90_has_minus_z_at_the_top():
    pixel = orbit(0, 90, 2.0, 49.1, 100, 100).project(np.array([[0.0, 0.0, -0.3]]))[0, 0]
    assert pixel[0] == pytest.approx(50)
    assert pixel[1] < 45


def test_rotation_is_proper():
    rotation = orbit([10, 200], [30, -70], 2.0, 49.1, 64, 48).world_to_camera[:, :3, :3]
    assert np.allclose(rotation @ rotation.swapaxes(1, 2), np.eye(3))
    assert np.allclose(np.linalg.det(rotation), 1)


def test_subset_keeps_the_view_axis():
    cameras = orbit([0, 90, 180], 0, 2.0, 49.1, 64, 48)
    assert len(cameras[1]) == 1
    assert np.allclose(cameras[1].positions[0], (2, 0, 0))
    assert len(cameras[[0, 2]]) == 2
